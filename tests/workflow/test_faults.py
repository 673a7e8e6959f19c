"""Whatever befalls a study between or during its runs, it ends with the results of a quiet one."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import tifffile

from disturbances import assert_equal_results, results_of
from factories import environment, planned_jobs, run_command, run_snakemake, snakemake_command

pytestmark = pytest.mark.workflow
ROOT = "results/tiny"
EMBEDDINGS = f"{ROOT}/embeddings/cells"
DAY = 24 * 3600


def refusal(folder, *arguments):
    """Run, expect a failure that is told in words, and return what was said."""
    done = run_snakemake(folder, *arguments, check=False)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in text, text
    return text


def transferscope(folder, *arguments, check=True):
    return run_command(["transferscope", *arguments], folder, check=check)


def chunk_of(store):
    """Return the largest chunk of a store's main array; the first of several, which probes read."""
    main = "images" if (store / "images").exists() else "embeddings"
    files = (path for path in (store / main / "c").rglob("*") if path.is_file())
    return min(files, key=lambda path: (-path.stat().st_size, path))


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def damage(folder):
    """Damage four stores and a table, each in a way of its own; return what verify must name."""
    chunk_of(folder / f"{EMBEDDINGS}/tiny/map.zarr").unlink()
    truncate(chunk_of(folder / f"{EMBEDDINGS}/tiny/replicate.zarr"))
    flip_a_bit(chunk_of(folder / f"{EMBEDDINGS}/handcrafted/features.zarr"))
    flip_a_bit(chunk_of(folder / f"{ROOT}/tiles/cells.zarr"))
    table = folder / f"{ROOT}/scores/knn/cells/tiny/map.parquet"
    table.write_bytes(table.read_bytes()[:100])
    stores = [f"{EMBEDDINGS}/tiny/map", f"{EMBEDDINGS}/tiny/replicate"]
    stores += [f"{EMBEDDINGS}/handcrafted/features", f"{ROOT}/tiles/cells"]
    return {f"{store}.json" for store in stores}, str(table.relative_to(folder))


def test_damage_is_found_named_and_repaired(copied_study, finished_study):
    folder = copied_study()
    manifests, table = damage(folder)
    found = transferscope(folder, "verify", "study.yaml", "--json", check=False)
    assert found.returncode == 1
    faults = json.loads(found.stdout)["faults"]
    assert {fault["file"] for fault in faults} == {*manifests, table}
    assert all(fault["block"] == 0 for fault in faults if fault["file"] in manifests)
    assert all(fault["file"] in fault["repair"] for fault in faults)
    shown = transferscope(folder, "verify", "study.yaml", "--repair")
    assert "rm -rf" in shown.stdout
    assert not any((folder / manifest).exists() for manifest in manifests)
    run_snakemake(folder)
    assert_equal_results(folder / ROOT, finished_study / ROOT)
    assert transferscope(folder, "verify", "study.yaml").stdout.startswith("Sound")


def test_no_probe_reads_a_damaged_store(copied_study):
    folder = copied_study()
    damages = {
        "tiny/map": Path.unlink,
        "tiny/replicate": truncate,
        "handcrafted/features": flip_a_bit,
    }
    scores = [f"{ROOT}/scores/heads/cells/{store}.parquet" for store in damages]
    for (store, damaged), table in zip(damages.items(), scores, strict=True):
        damaged(chunk_of(folder / f"{EMBEDDINGS}/{store}.zarr"))
        (folder / table).unlink()
    text = refusal(folder, "--keep-going", *scores)
    for store in damages:
        assert f"{EMBEDDINGS}/{store}.zarr, block 0" in text
        assert f"rm -rf {EMBEDDINGS}/{store}.json" in text
    assert not any((folder / table).exists() for table in scores)


def test_two_runs_at_once_write_a_deleted_manifest_and_deleted_scores_again(
    copied_study, finished_study
):
    folder = copied_study()
    (folder / f"{EMBEDDINGS}/handcrafted/features.json").unlink()
    shutil.rmtree(folder / f"{ROOT}/scores/knn")
    first = subprocess.Popen(
        snakemake_command(folder),
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    locks = folder / ".snakemake/locks"
    while not (locks.is_dir() and any(locks.iterdir())):
        assert first.poll() is None, "it ended before the second run began"
        time.sleep(0.02)
    assert "locked" in refusal(folder)
    assert first.wait() == 0
    assert_equal_results(folder / ROOT, finished_study / ROOT)


def test_a_clock_that_is_set_back(copied_study, finished_study):
    folder = copied_study()
    shift(folder / ROOT, DAY)
    assert planned_jobs(folder) == {}
    shutil.rmtree(folder / f"{EMBEDDINGS}/handcrafted/features.zarr")
    (folder / f"{EMBEDDINGS}/handcrafted/features.json").unlink()
    # What is made now would look older than what it is made from: Snakemake says so and stops.
    refused = run_snakemake(folder, check=False)
    assert refused.returncode != 0
    assert f"{EMBEDDINGS}/handcrafted/features.json has older modification time" in refused.stderr
    assert "clock" in refused.stderr
    # The day has passed, or the clock is put right.
    shift(folder / ROOT, -DAY)
    run_snakemake(folder)
    assert_equal_results(folder / ROOT, finished_study / ROOT)
    assert planned_jobs(folder) == {}


def shift(folder, seconds):
    """Move the times of all files of a folder."""
    for path in folder.rglob("*"):
        moved = path.stat().st_mtime + seconds
        os.utime(path, (moved, moved))


def test_a_raw_file_that_is_replaced_and_put_back(copied_study, finished_study):
    folder = copied_study()
    targets = [f"{ROOT}/tiles/cells.json", f"{EMBEDDINGS}/handcrafted/features.json"]
    kept = (folder / "raw/P01_0.tif").read_bytes()
    pixels = tifffile.imread(folder / "raw/P01_0.tif")
    tifffile.imwrite(folder / "raw/P01_0.tif", pixels[..., ::-1].copy())
    run_snakemake(folder, *targets)
    changed, quiet = (results_of(f / f"{EMBEDDINGS}/handcrafted") for f in (folder, finished_study))
    assert changed != quiet
    (folder / "raw/P01_0.tif").write_bytes(kept)
    run_snakemake(folder, *targets)
    assert results_of(folder / f"{EMBEDDINGS}/handcrafted") == quiet


@pytest.fixture
def mounted():
    """Return a function that mounts something and takes it away at the end."""
    places = []

    def mount(place, *options):
        command = ["mount", *options, str(place)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("this machine lets no test mount a file system")
        places.append(place)

    yield mount
    for place in reversed(places):
        subprocess.run(["umount", "--lazy", str(place)], capture_output=True, check=False)


def test_a_results_folder_that_is_read_only(copied_study, finished_study, mounted):
    folder = copied_study()
    results, tiles = folder / "results", f"{ROOT}/tiles/cells.json"
    shutil.rmtree(results / "tiny")
    mounted(results, "--bind", str(results))
    subprocess.run(["mount", "-o", "remount,ro,bind", str(results)], check=True)
    text = refusal(folder)
    assert "results: the file system is read-only" in text
    assert "point `results:` at another folder" in text
    subprocess.run(["mount", "-o", "remount,rw,bind", str(results)], check=True)
    run_snakemake(folder, tiles)
    expected = results_of(finished_study / ROOT / "tiles/cells.zarr")
    assert results_of(folder / ROOT / "tiles/cells.zarr") == expected


def test_a_disk_that_fills_up(copied_study, finished_study, mounted):
    folder = copied_study()
    results = folder / "results"
    for made in ("tiles/cells", "embeddings/cells/tiny/map", "scores/heads/cells/tiny/map"):
        for path in (folder / ROOT).glob(f"{made}.*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (folder / f"{ROOT}/summary.md").unlink()
    results.rename(folder / "kept")
    results.mkdir()
    mounted(results, "-t", "tmpfs", "-o", "size=100m", "tmpfs")
    shutil.copytree(folder / "kept", results, dirs_exist_ok=True)
    steps = {
        f"{ROOT}/tiles/cells.json": 96 << 10,
        f"{EMBEDDINGS}/tiny/map.json": 24 << 10,
        f"{ROOT}/scores/heads/cells/tiny/map.parquet": 24 << 10,
    }
    for target, left in steps.items():
        filler = fill(results, left)
        text = refusal(folder, target)
        assert "the disk is full" in text
        assert "Free some space" in text
        assert not (folder / target).exists()
        filler.unlink()
        run_snakemake(folder, target)
    run_snakemake(folder)
    assert_equal_results(folder / ROOT, finished_study / ROOT)


def fill(folder, left):
    """Fill a file system up to some bytes; return the file that does."""
    filler = folder / "filler"
    free = shutil.disk_usage(folder).free
    filler.write_bytes(bytes(max(0, free - left)))
    return filler
