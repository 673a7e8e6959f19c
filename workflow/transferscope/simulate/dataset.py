"""Write a simulated data set the way a lab has one: raw files and a sample sheet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import tifffile

from transferscope.runtime.atomic_files import make_folder, replacing
from transferscope.runtime.worker_processes import process_pool

from .domains import DOMAINS, Domain
from .fov import fov_name, simulate_fov
from .histology import Specimen, draw_specimens, image_name, simulate_glands
from .labs import LABS, Lab
from .proteins import Protein, draw_proteins
from .screen import Screen, draw_wells

SHEET = "samples.tsv"
IMAGES, MASKS = "images", "masks"
SMALLEST_FOV = 32
LARGEST_FOV = 4096
UM_PER_CM = 1e4

Progress = Callable[[int, int], None]


class ImpossibleSettingError(ValueError):
    """A number that is out of bounds."""


# What the cells of a FOV look like, its number in its group, and further cells of its row.
Fov = tuple[Protein, int, dict[str, str]]


class _Job(Protocol):
    """All FOVs of one group: large enough a piece to be worth sending to a process."""

    def write(self) -> int:
        """Simulate and write them; return their number."""

    def rows(self) -> Iterator[dict[str, str]]:
        """Yield their rows of the sheet."""


@dataclass(frozen=True)
class _ProteinJob:
    """The FOVs of one protein, or of one gene of a screen."""

    domain: Domain
    fovs: list[Fov]
    fov_size: int
    seed: int
    output: Path
    masks: bool
    screened: float | None

    def write(self) -> int:
        """Simulate and write them; return their number."""
        for protein, index, _ in self.fovs:
            image, mask = simulate_fov(
                self.domain, protein, index, self.fov_size, self.seed, self.screened
            )
            name = fov_name(protein, index)
            paths = _image_paths(self.domain, name)
            planes = [image] if len(paths) == 1 else list(image)
            images = dict(zip(paths.values(), planes, strict=True))
            if self.masks:
                images[_mask_path(name)] = mask
            for path, plane in images.items():
                _write_tiff(self.output / path, plane, self.domain.optics.pixel_size_um)
        return len(self.fovs)

    def rows(self) -> Iterator[dict[str, str]]:
        """Yield their rows of the sheet."""
        for protein, index, more in self.fovs:
            name = fov_name(protein, index)
            mask = {"mask": _mask_path(name)} if self.masks else {}
            yield {
                "tile_id": name,
                **_image_paths(self.domain, name),
                "group": protein.name,
                "labels": ";".join(protein.labels),
                "batch": protein.batch,
                "fov": name,
                **more,
                **mask,
            }


@dataclass(frozen=True)
class _SpecimenJob:
    """The stained images of one specimen, with the masks of their glands."""

    lab: Lab
    specimen: Specimen
    n_fovs: int
    fov_size: int
    seed: int
    output: Path

    def write(self) -> int:
        """Simulate and write them; return their number."""
        for index in range(self.n_fovs):
            image, mask = simulate_glands(self.lab, self.specimen, index, self.fov_size, self.seed)
            name = image_name(self.specimen, index)
            for path, pixels in ((_image_path(name), image), (_mask_path(name), mask)):
                _write_tiff(self.output / path, pixels, self.lab.pixel_size_um)
        return self.n_fovs

    def rows(self) -> Iterator[dict[str, str]]:
        """Yield their rows of the sheet."""
        for index in range(self.n_fovs):
            name = image_name(self.specimen, index)
            yield {
                "tile_id": name,
                "path": _image_path(name),
                "group": self.specimen.name,
                "labels": self.specimen.grade,
                "batch": self.specimen.batch,
                "fov": name,
                "mask": _mask_path(name),
            }


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
        ``opencell`` (one two-channel file per FOV), ``hpa`` (four one-channel files per FOV),
        ``glands`` or ``glands-other-lab`` (one RGB file and one mask per image).
    output
        Folder for the files; made where it is missing.
    n_groups
        Number of proteins, or specimens; the domain's default where None.
    fovs_per_group
        FOVs of each; the domain's default where None.
    fov_size
        Edge of a FOV in pixels; the domain's default where None.
    seed
        Seed of every random number.
    workers
        Processes; all available cores where None, and no extra process where 1. More than one are
        spawned, so a script calls this under ``if __name__ == "__main__"``.
    masks
        Whether to write the instance masks of the cells, too, and their ``mask`` column. Those of
        glands are always written.
    progress
        Called as ``progress(done, total)``, in FOVs, in this process.
    screen
        Make a perturbation screen of cells: groups are genes, each on ``fovs_per_group`` of its
        plates, and the wells of controls are one more group.

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
    output = Path(output)
    jobs: Sequence[_Job]
    if isinstance(chosen, Lab):
        specimens = draw_specimens(chosen, n_groups, seed)
        jobs = [_SpecimenJob(chosen, each, n_fovs, edge, seed, output) for each in specimens]
    else:
        groups = _groups(chosen, n_groups, n_fovs, seed, screen)
        effects = None if screen is None else screen.plate_effects
        jobs = [_ProteinJob(chosen, fovs, edge, seed, output, masks, effects) for fovs in groups]
    make_folder(output / IMAGES)
    if masks or isinstance(chosen, Lab):
        make_folder(output / MASKS)
    sheet = output / SHEET
    sheet.unlink(missing_ok=True)  # from here on the folder is incomplete, and says so
    done, controls = 0, 0 if screen is None else screen.controls_per_plate * screen.n_plates
    for n_written in _run(jobs, workers):
        done += n_written
        if progress is not None:
            progress(done, n_groups * n_fovs + controls)
    rows = [row for job in jobs for row in job.rows()]
    with replacing(sheet) as temporary:
        pd.DataFrame(rows).to_csv(temporary, sep="\t", index=False, lineterminator="\n")
    return sheet


def _cores() -> int:
    """Return the cores that this process may use; not every system tells, so else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _domain(name: str) -> Domain | Lab:
    known: dict[str, Domain | Lab] = {**DOMAINS, **LABS}
    if name not in known:
        raise ValueError(f"unknown domain {name!r}: choose one of {', '.join(known)}")
    return known[name]


def _groups(
    domain: Domain, n_groups: int, n_fovs: int, seed: int, screen: Screen | None
) -> list[list[Fov]]:
    """Return the FOVs of each protein; of a screen, those of each gene and of the controls."""
    if screen is None:
        proteins = draw_proteins(domain, n_groups, seed)
        return [[(protein, index, {}) for index in range(n_fovs)] for protein in proteins]
    found: dict[str, list[Fov]] = {}
    for well in draw_wells(domain, screen, n_groups, n_fovs, seed):
        found.setdefault(well.name, []).append((well.cells, well.index, well.columns))
    return list(found.values())


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}: set it to a whole number from {low} to {high}")


def _run(jobs: Sequence[_Job], workers: int) -> Iterator[int]:
    """Do the jobs, yielding the number of FOVs of each that is done."""
    if min(workers, len(jobs)) == 1:
        yield from map(_write, jobs)
        return
    with process_pool(min(workers, len(jobs))) as pool:
        futures = [pool.submit(_write, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _write(job: _Job) -> int:
    return job.write()


def _image_paths(domain: Domain, name: str) -> dict[str, str]:
    """Return the files of a FOV by the sheet's column, relative to the sheet."""
    if not domain.suffixes:
        return {"path": _image_path(name)}
    pairs = zip(domain.channels, domain.suffixes, strict=True)
    return {f"path_{channel}": f"{IMAGES}/{name}_{suffix}.tif" for channel, suffix in pairs}


def _image_path(name: str) -> str:
    return f"{IMAGES}/{name}.tif"


def _mask_path(name: str) -> str:
    return f"{MASKS}/{name}_mask.tif"


def _write_tiff(path: Path, image: npt.NDArray[Any], pixel_size_um: float) -> None:
    """Write a TIFF in place at once; it holds the pixel size and no time of day.

    An image in three samples, last, is red, green and blue.
    """
    is_rgb = image.dtype == np.uint8
    per_cm = UM_PER_CM / pixel_size_um
    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            image,
            photometric="rgb" if is_rgb else "minisblack",
            compression="zlib",
            resolution=(per_cm, per_cm),
            resolutionunit="CENTIMETER",
            metadata={"axes": "YXS" if is_rgb else "CYX" if image.ndim == 3 else "YX"},
            software=False,
        )
