"""No manifest ever stands before its data: the order of writes, as the system sees it.

A process that writes is traced, and the worst disk is assumed: of each file it has what was synced,
of each folder the names that it had when it was synced last.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WRITER = """
import sys
from pathlib import Path
import numpy as np
import pandas as pd
from tile_stores import SETTINGS, card, write_tiles
from transferscope.backbones.embed import embed
from transferscope.runtime.job_records import JobRecord
from transferscope.stores.parquet import write_parquet

folder = Path(sys.argv[1]) / "new" / "results"
tiles = write_tiles(folder / "tiles", 20)
embed(tiles, card(), "map", folder / "embeddings/map.json", SETTINGS, block_rows=8)
write_parquet(pd.DataFrame({"a": [1]}), folder / "a.parquet", {})
JobRecord("job", {}, ("a.parquet",), {"a.parquet": "0"}).write(folder / "checksums/job.sha256")
"""
CALLS = "openat,open,creat,rename,renameat,renameat2,fsync,fdatasync,unlink,unlinkat"
CALL = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)")
NAMES = re.compile(r'"((?:[^"\\]|\\.)*)"')


class Disk:
    """What the worst disk has after a power cut at any time."""

    def __init__(self) -> None:
        self.inodes: dict[str, int] = {}  # names, as running programs see them
        self.synced: set[int] = set()  # files whose content is on disk
        self.durable: dict[str, dict[str, int]] = {}  # folder -> names on disk
        self.descriptors: dict[int, str] = {}
        self.newest = 0

    def open(self, name: str, flags: str, descriptor: int) -> None:
        if "O_CREAT" in flags and (name not in self.inodes or "O_TRUNC" in flags):
            self.newest += 1
            self.inodes[name] = self.newest
        elif "O_WRONLY" in flags or "O_RDWR" in flags:
            self.synced.discard(self.inodes.get(name, 0))
        self.descriptors[descriptor] = name

    def sync(self, descriptor: int) -> None:
        name = self.descriptors.get(descriptor, "")
        if name in self.inodes:
            self.synced.add(self.inodes[name])
        else:
            self.durable[name] = {
                path: inode
                for path, inode in self.inodes.items()
                if path.rpartition("/")[0] == name
            }

    def rename(self, old: str, new: str) -> None:
        if old in self.inodes:
            self.inodes[new] = self.inodes.pop(old)

    def has(self, name: str) -> bool:
        """Return whether a file, whole and under this name, survives a power cut now."""
        inode = self.durable.get(name.rpartition("/")[0], {}).get(name)
        return inode is not None and inode == self.inodes.get(name) and inode in self.synced


def traced(tmp_path: Path) -> list[str]:
    if shutil.which("strace") is None:
        pytest.skip("strace is not on this machine")
    log, folder = tmp_path / "trace", tmp_path / "work"
    folder.mkdir()
    command = ["strace", "-f", "-s", "500", "-e", f"trace={CALLS}", "-o", str(log)]
    done = subprocess.run(
        [*command, sys.executable, "-c", WRITER, str(folder)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and "PTRACE" in done.stderr:
        pytest.skip("this machine lets no test trace a process")
    assert done.returncode == 0, done.stderr
    return _whole(log.read_text(errors="replace").splitlines())


def _whole(lines: list[str]) -> list[str]:
    """Join calls during which another thread was written down."""
    begun: dict[str, str] = {}
    found = []
    for line in lines:
        thread, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            begun[thread] = call.removesuffix("<unfinished ...>")
        elif " resumed>" in call:
            found.append(begun.pop(thread, "") + call.partition(" resumed>")[2])
        else:
            found.append(call)
    return found


def test_no_manifest_and_no_record_is_on_disk_before_its_data(tmp_path: Path) -> None:
    disk, work = Disk(), str(tmp_path / "work")
    checked = {"manifests": 0, "flags": 0, "records": 0}
    for line in traced(tmp_path):
        call = CALL.match(line)
        if call is None or int(call[3]) < 0:
            continue
        kind, arguments, result = call[1], call[2], int(call[3])
        names = NAMES.findall(arguments)
        if kind in ("open", "openat", "creat"):
            if names and names[0].startswith(work):
                disk.open(names[0], arguments, result)
            else:
                disk.descriptors.pop(result, None)
        elif kind.startswith("rename") and names[0].startswith(work):
            # A name may reach the disk at once: what it stands for must be there before.
            assert disk.inodes[names[0]] in disk.synced, (
                f"{names[1]} is renamed before it is synced"
            )
            _check(disk, names[1], checked)
            disk.rename(*names)
        elif kind.startswith("unlink") and names and names[0] in disk.inodes:
            del disk.inodes[names[0]]
        elif kind in ("fsync", "fdatasync"):
            disk.sync(int(arguments.split(",")[0]))
    results = f"{work}/new/results"
    for name in ("tiles/cells.json", "embeddings/map.json", "a.parquet", "checksums/job.sha256"):
        assert disk.has(f"{results}/{name}"), name
    assert checked == {"manifests": 2, "flags": 2 + 3, "records": 1}


def _check(disk: Disk, name: str, checked: dict[str, int]) -> None:
    """Check that all that a file vouches for is on disk when it gets its name."""
    folder = name.rpartition("/")[0]
    if name.endswith(("/cells.json", "/map.json")):
        store = f"{name.removesuffix('.json')}.zarr/"
        files = [path for path in disk.inodes if path.startswith(store) and "/." not in path]
        assert len(files) > 10
        assert [path for path in files if not disk.has(path)] == []
        checked["manifests"] += 1
    elif "/done/c/" in name:
        store, block = name.partition("/done/c/")[::2]
        of_block = re.compile(rf"{re.escape(store)}/\w+/c/{block}(/|$)")
        files = [path for path in disk.inodes if of_block.match(path)]
        assert len(files) > 2 - (folder == "")
        assert [path for path in files if not disk.has(path)] == []
        checked["flags"] += 1
    elif name.endswith(".sha256"):
        assert disk.has(f"{folder.rpartition('/')[0]}/a.parquet")
        checked["records"] += 1
