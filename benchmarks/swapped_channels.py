"""Exchange two channels of a few fields of simulated, or of one's own, datasets; count the alarms.

Fields are described once: a description follows its plane, so that to exchange two channels is to
exchange two rows. Each repeat exchanges two random channels of 3 % of the fields, and looks for
them as the tile step does.

    python benchmarks/swapped_channels.py --planted 1000 --output swaps.csv
    python benchmarks/swapped_channels.py --images folder --channels red green --crop 512 ...
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from skimage.io import imread

from transferscope.simulate import DOMAINS, draw_proteins, simulate_fov
from transferscope.tiles.swaps import describe_planes, swapped_fields

SHARE, FOVS, SIZE = 0.03, 3, 128


def simulated(name: str, n_groups: int, seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return descriptions and groups of simulated fields, and the names of their channels."""
    domain = DOMAINS[name]
    planes, groups = [], []
    for protein in draw_proteins(domain, n_groups, seed):
        for index in range(FOVS):
            image, _ = simulate_fov(domain, protein, index, SIZE, seed)
            planes.append(describe_planes([image]))
            groups.append(protein.name)
    return np.array(planes), np.array(groups, dtype=object), list(domain.channels)


def own(folder: Path, channels: Sequence[str], crop: int) -> tuple[np.ndarray, np.ndarray]:
    """Return descriptions of crops of fields, each a group of its own.

    Parameters
    ----------
    folder
        Of images of one channel each, `<field>_<channel>.<extension>`, or RGB images, whose planes
        are `channels`.
    channels
        Names of the channels, as the file names end; or `0`, `1`, `2`.
    crop
        Side of the crops in px; 0: whole images.
    """
    planes = [
        describe_planes([part])
        for image in _images(folder, channels)
        for part in _crops(image, crop)
        if min(part.shape[1:]) >= 16
    ]
    return np.array(planes), np.arange(len(planes)).astype(object)


def _images(folder: Path, channels: Sequence[str]) -> Iterator[np.ndarray]:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    if all(channel.isdigit() for channel in channels):
        for path in files:
            yield np.moveaxis(imread(path)[..., [int(c) for c in channels]], -1, 0)
        return
    fields: dict[str, dict[str, Path]] = {}
    for path in files:
        for channel in channels:
            if re.search(rf"_{channel}(_|\.)", path.name):
                fields.setdefault(path.name.replace(channel, ""), {})[channel] = path
    for found in fields.values():
        if len(found) == len(channels):
            images = [imread(found[channel]) for channel in channels]
            yield np.stack([image[..., 0] if image.ndim == 3 else image for image in images])


def _crops(image: np.ndarray, side: int) -> Iterator[np.ndarray]:
    if not side:
        yield image
        return
    _, height, width = image.shape
    for top in range(0, height - side + 1, side):
        for left in range(0, width - side + 1, side):
            yield image[:, top : top + side, left : left + side]


def planted(
    planes: np.ndarray, groups: np.ndarray, channels: Sequence[str], n_planted: int, seed: int
) -> pd.DataFrame:
    """Return one row per field of each repeat: which channels were exchanged, and the alarm."""
    rng = np.random.default_rng(seed)
    n_fields, n_channels = planes.shape[:2]
    per_repeat = max(1, round(SHARE * n_fields))
    rows = []
    for repeat in range(-(-n_planted // per_repeat)):
        changed, exchanged = planes.copy(), {}
        for field in rng.choice(n_fields, per_repeat, replace=False).tolist():
            one, other = sorted(rng.choice(n_channels, 2, replace=False).tolist())
            changed[field, [one, other]] = planes[field, [other, one]]
            exchanged[field] = f"{channels[one]}, {channels[other]}"
        alarms = {found.field for found in swapped_fields(changed, groups)}
        rows += [
            {
                "repeat": repeat,
                "field": field,
                "exchanged": exchanged.get(field, ""),
                "alarm": field in alarms,
            }
            for field in range(n_fields)
        ]
    return pd.DataFrame(rows)


def main() -> None:
    """Plant, count and write one row per field and repeat."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planted", type=int, default=1000, help="fields in all")
    parser.add_argument("--groups", type=int, default=120, help="of a simulated dataset")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=Path, help="folder of images in place of simulated ones")
    parser.add_argument("--channels", nargs="+", default=[], help="of --images, in order")
    parser.add_argument("--crop", type=int, default=0, help="side of crops of --images in px")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    if options.images is not None:
        channels = list(options.channels)
        named = {options.images.name: (*own(options.images, channels, options.crop), channels)}
    else:
        named = {name: simulated(name, options.groups, options.seed) for name in DOMAINS}
    parts = []
    for name, (planes, groups, channels) in named.items():
        share = options.planted // len(named)
        rows = planted(planes, groups, channels, share, options.seed).assign(dataset=name)
        parts.append(rows)
        was = rows["exchanged"] != ""
        caught, false = rows[was]["alarm"], rows[~was]["alarm"]
        print(
            f"{name}: {len(planes)} fields; caught {caught.sum()} of {len(caught)} "
            f"({caught.mean():.1%}); "
            f"false alarms {false.sum()} of {len(false)} ({false.mean():.2%})"
        )
        print(rows[was].groupby("exchanged")["alarm"].mean().round(3).to_string(), flush=True)
    pd.concat(parts, ignore_index=True).to_csv(options.output, index=False)


if __name__ == "__main__":
    main()
