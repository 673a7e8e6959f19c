"""Which images an OME-Zarr holds: one, the fields of a plate (HCS), or the series of a file.

Only metadata are read, as NGFF 0.4 (`.zattrs`) and 0.5 (`zarr.json`) write them; a plate has a
group per well, and bioformats2raw a group per series.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

ZARR = ".zarr"
SERIES = "bioformats2raw.layout"


def images_in(folder: Path) -> tuple[list[str], list[str]]:
    """Return the paths of the images of an OME-Zarr, below it, and what is wrong with others.

    Parameters
    ----------
    folder
        The folder.

    Returns
    -------
    paths
        Of the fields of a plate, `A/1/0`, or of series, `0`; empty where the folder is one image,
        or something else.
    faults
        A sentence per well or image that is left out.
    """
    paths, faults = [], []
    for path, fault in _images(folder):
        if fault:
            faults.append(f'"{folder.name}/{path}" {fault}')
        else:
            paths.append(path)
    return paths, faults


def _images(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield paths, each with what is wrong with it or nothing."""
    metadata = _metadata(folder)
    if "plate" in metadata:
        for well in _paths(metadata["plate"], "wells"):
            if not _is_inside(well):
                yield well, "lies outside the plate"
                continue
            fields = _paths(_metadata(folder / well).get("well"), "images")
            if not fields:
                yield well, "is a well that names no images"
            for field in fields:
                path = f"{well}/{field}"
                yield path, _fault(folder, path)
    elif SERIES in metadata and "multiscales" not in metadata:
        series = _metadata(folder / "OME").get("series")
        if not isinstance(series, list):
            numbers = (entry.name for entry in folder.iterdir() if entry.name.isdecimal())
            series = sorted(numbers, key=int)
        for path in map(str, series):
            yield path, _fault(folder, path)


def _fault(folder: Path, path: str) -> str:
    if not _is_inside(path):
        return "lies outside the OME-Zarr"
    return "" if (folder / path).is_dir() else "is not there"


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path)
    return bool(parts.parts) and not parts.is_absolute() and ".." not in parts.parts


def _paths(described: Any, key: str) -> list[str]:
    entries = described.get(key) if isinstance(described, dict) else None
    entries = entries if isinstance(entries, list) else []
    return [str(entry["path"]) for entry in entries if isinstance(entry, dict) and "path" in entry]


def _metadata(group: Path) -> dict[str, Any]:
    """Return the attributes of a group, of either version; empty where there are none."""
    for name, keys in (("zarr.json", ("attributes", "ome")), (".zattrs", ())):
        try:
            found = json.loads((group / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, dict):
            return found
    return {}
