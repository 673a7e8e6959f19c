"""Write a simulated data set the way a lab has one: raw files and a sample sheet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import tifffile

from transferscope.runtime.atomic_files import make_folder, replacing
from transferscope.runtime.worker_processes import process_pool

from .domains import DOMAINS, Domain
from .fov import fov_name, simulate_fov
from .proteins import Protein, draw_proteins
from .screen import Screen, Well, draw_wells

SHEET = "samples.tsv"
IMAGES, MASKS = "images", "masks"
SMALLEST_FOV = 32
LARGEST_FOV = 4096
UM_PER_CM = 1e4

Progress = Callable[[int, int], None]


class ImpossibleSettingError(ValueError):
    """A number that is out of bounds."""


@dataclass(frozen=True)
class _Job:
    """All FOVs of one group: large enough a piece to be worth sending to a process.

    `fovs` holds, for each, what its cells look like, its number, and further cells of its row.
    """

    domain: Domain
    fovs: list[tuple[Protein, int, dict[str, str]]]
    fov_size: int
    seed: int
    output: Path
    masks: bool
    screened: float | None


def simulate_dataset(
    domain: str,
    output: Path,
    n_groups: int | None = None,
    fovs_per_group: int | None = None,
    fov_size: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    masks: bool = False,
    progress: Progress | None = None,
    screen: Screen | None = None,
) -> Path:
    """Write the raw FOVs and the sample sheet of a simulated study.

    The same arguments give the same bytes, whatever ``workers`` is, and the first groups stay the
    same when ``n_groups`` or ``fovs_per_group`` grows. The sheet is written last: a folder with a
    sheet is complete, and a killed run is completed by running it again.

    Parameters
    ----------
    domain
        ``opencell`` (one two-channel file per FOV) or ``hpa`` (four one-channel files per FOV).
    output
        Folder for the files; made where it is missing.
    n_groups
        Number of proteins; the domain's default where None.
    fovs_per_group
        FOVs of each protein; the domain's default where None.
    fov_size
        Edge of a FOV in pixels; the domain's default where None.
    seed
        Seed of every random number.
    workers
        Processes; all available cores where None, and no extra process where 1. More than one are
        spawned, so a script calls this under ``if __name__ == "__main__"``.
    masks
        Whether to write the instance masks of the cells, too, and their ``mask`` column.
    progress
        Called as ``progress(done, total)``, in FOVs, in this process.
    screen
        Make a perturbation screen: groups are genes, each on ``fovs_per_group`` of its plates, and
        the wells of controls are one more group.

    Returns
    -------
    pathlib.Path
        The sample sheet.

    Raises
    ------
    ValueError
        If an argument is out of range; the message says what is allowed.
    """
    chosen = _domain(domain)
    n_groups = chosen.n_groups if n_groups is None else n_groups
    n_fovs = chosen.fovs_per_group if fovs_per_group is None else fovs_per_group
    edge = chosen.fov_size if fov_size is None else fov_size
    workers = _cores() if workers is None else workers
    _check("n_groups", n_groups, 1, 10_000)
    _check("fovs_per_group", n_fovs, 1, 100)
    _check("fov_size", edge, SMALLEST_FOV, LARGEST_FOV)
    _check("seed", seed, 0, 2**63 - 1)
    _check("workers", workers, 1, 1024)
    groups: list[list[tuple[Protein, int, dict[str, str]]]]
    if screen is None:
        proteins = draw_proteins(chosen, n_groups, seed)
        groups = [[(protein, index, {}) for index in range(n_fovs)] for protein in proteins]
    else:
        groups = _groups_of(draw_wells(chosen, screen, n_groups, n_fovs, seed))
    output = Path(output)
    make_folder(output / IMAGES)
    if masks:
        make_folder(output / MASKS)
    sheet = output / SHEET
    sheet.unlink(missing_ok=True)  # from here on the folder is incomplete, and says so
    screened = None if screen is None else screen.plate_effects
    jobs = [_Job(chosen, fovs, edge, seed, output, masks, screened) for fovs in groups]
    done, total = 0, sum(map(len, groups))
    for n_written in _run(jobs, workers):
        done += n_written
        if progress is not None:
            progress(done, total)
    rows = [row for job in jobs for row in _rows(job)]
    with replacing(sheet) as temporary:
        pd.DataFrame(rows).to_csv(temporary, sep="\t", index=False, lineterminator="\n")
    return sheet


def _cores() -> int:
    """Return the cores that this process may use; not every system tells, so else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _domain(name: str) -> Domain:
    if name not in DOMAINS:
        raise ValueError(f"unknown domain {name!r}: choose one of {', '.join(DOMAINS)}")
    return DOMAINS[name]


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}: set it to a whole number from {low} to {high}")


def _groups_of(wells: list[Well]) -> list[list[tuple[Protein, int, dict[str, str]]]]:
    """Return the wells of each gene, and of the controls."""
    found: dict[str, list[tuple[Protein, int, dict[str, str]]]] = {}
    for well in wells:
        found.setdefault(well.name, []).append((well.cells, well.index, well.columns))
    return list(found.values())


def _run(jobs: list[_Job], workers: int) -> Iterator[int]:
    """Do the jobs, yielding the number of FOVs of each that is done."""
    if min(workers, len(jobs)) == 1:
        yield from map(_write_group, jobs)
        return
    with process_pool(min(workers, len(jobs))) as pool:
        futures = [pool.submit(_write_group, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _write_group(job: _Job) -> int:
    """Simulate and write all FOVs of one group; return their number."""
    for protein, index, _ in job.fovs:
        image, mask = simulate_fov(job.domain, protein, index, job.fov_size, job.seed, job.screened)
        name = fov_name(protein, index)
        paths = _image_paths(job.domain, name)
        planes = [image] if len(paths) == 1 else list(image)
        images = dict(zip(paths.values(), planes, strict=True))
        if job.masks:
            images[_mask_path(name)] = mask
        for path, plane in images.items():
            _write_tiff(job.output / path, plane, job.domain.optics.pixel_size_um)
    return len(job.fovs)


def _image_paths(domain: Domain, name: str) -> dict[str, str]:
    """Return the files of a FOV by the sheet's column, relative to the sheet."""
    if not domain.suffixes:
        return {"path": f"{IMAGES}/{name}.tif"}
    pairs = zip(domain.channels, domain.suffixes, strict=True)
    return {f"path_{channel}": f"{IMAGES}/{name}_{suffix}.tif" for channel, suffix in pairs}


def _mask_path(name: str) -> str:
    return f"{MASKS}/{name}_mask.tif"


def _rows(job: _Job) -> Iterator[dict[str, str]]:
    """Yield the sheet's rows for one group."""
    for protein, index, more in job.fovs:
        name = fov_name(protein, index)
        mask = {"mask": _mask_path(name)} if job.masks else {}
        yield {
            "tile_id": name,
            **_image_paths(job.domain, name),
            "group": protein.name,
            "labels": ";".join(protein.labels),
            "batch": protein.batch,
            "fov": name,
            **more,
            **mask,
        }


def _write_tiff(path: Path, image: npt.NDArray[np.uint16], pixel_size_um: float) -> None:
    """Write a TIFF in place at once; it holds the pixel size and no time of day."""
    per_cm = UM_PER_CM / pixel_size_um
    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            image,
            photometric="minisblack",
            compression="zlib",
            resolution=(per_cm, per_cm),
            resolutionunit="CENTIMETER",
            metadata={"axes": "CYX" if image.ndim == 3 else "YX"},
            software=False,
        )
