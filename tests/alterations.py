"""Random changes to the files of a finished study, each of which `verify` has to notice."""

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from transferscope.runtime.job_records import JobRecord

# Records of a run and raw files, for which `verify` does not vouch.
LEFT_OUT = {"logs", "benchmarks", "raw", "parts"}
LISTS = "checksums"


def files_of(root: Path) -> list[Path]:
    """Return every file of a study, those of its stores and of its list included."""
    found = (path for path in sorted(root.rglob("*")) if path.is_file())
    return [
        path
        for path in found
        if path.relative_to(root).parts[0] not in LEFT_OUT and not path.name.startswith(".")
    ]


def kind_of(root: Path, path: Path) -> tuple[str, ...]:
    """Return what kind of file it is, so that each kind is drawn as often as any other."""
    parts = path.relative_to(root).parts
    within = [part for part in parts if part.endswith(".zarr")]
    array = parts[parts.index(within[0]) + 1 : -1][:1] if within else ()
    return parts[0], path.suffix, *array


def flip_a_bit(chance: random.Random, path: Path, _: list[Path]) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def change_a_byte(chance: random.Random, path: Path, _: list[Path]) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= chance.randrange(1, 256)
    path.write_bytes(content)


def truncate(chance: random.Random, path: Path, _: list[Path]) -> None:
    content = path.read_bytes()
    path.write_bytes(
        content[: chance.choice([0, len(content) - 1, chance.randrange(len(content))])]
    )


def lengthen(chance: random.Random, path: Path, _: list[Path]) -> None:
    path.write_bytes(path.read_bytes() + chance.randbytes(chance.randrange(1, 100)))


def delete(_: random.Random, path: Path, __: list[Path]) -> None:
    path.unlink()


def _sibling(chance: random.Random, path: Path, files: list[Path]) -> Path | None:
    content = path.read_bytes()
    others = [p for p in files if p.suffix == path.suffix and p.name[:3] == path.name[:3]]
    others += [p for p in files if p.parent == path.parent]
    others = [p for p in others if p.read_bytes() != content]
    return chance.choice(others) if others else None


def take_a_sibling(chance: random.Random, path: Path, files: list[Path]) -> None:
    other = _sibling(chance, path, files)
    path.unlink() if other is None else shutil.copyfile(other, path)


def swap(chance: random.Random, path: Path, files: list[Path]) -> None:
    other = _sibling(chance, path, files)
    if other is None:
        path.unlink()
        return
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


CHANGES = (flip_a_bit, change_a_byte, truncate, lengthen, delete, take_a_sibling, swap)


@contextmanager
def altered(root: Path, kept: Path, seed: int) -> Iterator[str]:
    """Make one change to a study, name it, and undo it at the end.

    Parameters
    ----------
    root, kept
        Folder of the study, and a copy of it.
    seed
        Of the change.
    """
    chance = random.Random(seed)
    files = files_of(root)
    kinds: dict[tuple[str, ...], list[Path]] = {}
    for path in files:
        kinds.setdefault(kind_of(root, path), []).append(path)
    stores = sorted(path for path in root.rglob("*.zarr"))
    try:
        if seed % 10 == 0 and len(stores) > 1:
            yield swap_stores(root, *chance.sample(stores, 2))
        else:
            change: Callable[..., None] = chance.choice(CHANGES)
            path = chance.choice(kinds[chance.choice(sorted(kinds))])
            if not path.stat().st_size:
                change = lengthen
            change(chance, path, files)
            yield f"{change.__name__} {path.relative_to(root)}"
    finally:
        shutil.rmtree(root)
        shutil.copytree(kept, root)


def swap_stores(root: Path, one: Path, other: Path) -> str:
    """Swap two stores with their manifests and with their entries in the list."""
    for suffix in (".zarr", ".json"):
        a, b = one.with_suffix(suffix), other.with_suffix(suffix)
        c = a.with_name("swapped")
        a.rename(c)
        b.rename(a)
        c.rename(b)
    sums: dict[str, str] = {}
    records: dict[Path, JobRecord] = {}
    for path in (root / LISTS).rglob("*.sha256"):
        job = path.relative_to(root / LISTS).with_suffix("").as_posix()
        records[path] = JobRecord.read(path, job)
        sums |= records[path].sums or {}
    names = [s.with_suffix(".json").relative_to(root).as_posix() for s in (one, other)]
    swapped = dict(zip(names, (sums[name] for name in reversed(names)), strict=True))
    for path, record in records.items():
        own = {name: swapped.get(name, sum_) for name, sum_ in (record.sums or {}).items()}
        replace(record, sums=own).write(path)
    return f"swap {names[0]} {names[1]}"
