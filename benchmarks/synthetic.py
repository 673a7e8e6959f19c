"""Raw fields, embeddings and labels made up for the benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import tifffile
from sklearn.model_selection import KFold

from transferscope.cards import Task
from transferscope.probes.evaluation import Division, ProbeData
from transferscope.probes.labels import LabelledTiles
from transferscope.simulate import simulate_dataset
from transferscope.stores.block_store import EMBEDDING_BLOCK_ROWS, BlockStore
from transferscope.stores.manifest import EMBEDDINGS_FORMAT, store_of

CLASSES = [f"class{i:02d}" for i in range(17)]
SYMMETRIES = 8
BLACK = 100


def write_fields(folder: Path, count: int, compression: str | None) -> list[Path]:
    """Write two-channel uint16 fields of 600 x 600 px, as OpenCell's projections are.

    A few fields are simulated; the others are their eight symmetries, with shot noise of their own.
    """
    (folder / "raw").mkdir(parents=True, exist_ok=True)
    paths = []
    for number, image in enumerate(_fields(folder / "simulated", count)):
        path = folder / "raw" / f"FOV{number:04d}_proj.tif"
        tifffile.imwrite(path, image, compression=compression, metadata={"axes": "CYX"})
        paths.append(path)
    return paths


def _fields(folder: Path, count: int) -> Iterator[npt.NDArray[np.uint16]]:
    simulate_dataset("opencell", folder, n_groups=4, fovs_per_group=1, fov_size=600, workers=1)
    simulated = [tifffile.imread(path) for path in sorted(folder.rglob("*.tif"))]
    rng = np.random.default_rng(0)
    for number in range(count):
        image = simulated[number % len(simulated)]
        turn = number // len(simulated) % SYMMETRIES
        image = np.rot90(image, turn % 4, axes=(1, 2))[:, :: -1 if turn >= 4 else 1]
        bright = np.maximum(image.astype(np.float32) - BLACK, 0)
        yield np.ascontiguousarray(rng.poisson(bright) + BLACK, dtype=np.uint16)


def write_sheet(folder: Path, paths: list[Path]) -> Path:
    """Write a sample sheet for some fields; four fields a group, one class each."""
    rows = [
        {
            "tile_id": path.stem,
            "path": path.relative_to(folder).as_posix(),
            "group": f"P{number // 4:04d}",
            "labels": CLASSES[number // 4 % len(CLASSES)],
        }
        for number, path in enumerate(paths)
    ]
    pd.DataFrame(rows).to_csv(folder / "samples.tsv", sep="\t", index=False)
    return folder / "samples.tsv"


def labels_of(rows: int, task: Task, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Return labels [rows, C]: one class each, evenly, and a second in a third if multi-label."""
    matrix = np.zeros((rows, len(CLASSES)), dtype=bool)
    matrix[np.arange(rows), rng.permutation(rows) % len(CLASSES)] = True
    if task == "multi-label":
        several = np.flatnonzero(rng.random(rows) < 1 / 3)
        matrix[several, rng.integers(len(CLASSES), size=len(several))] = True
    return matrix


def embeddings_of(
    labels: npt.NDArray[np.bool_],
    width: int,
    separation: float,
    rng: np.random.Generator,
    decay: float = 0.0,
) -> npt.NDArray[np.float32]:
    """Return embeddings [rows, width] float32: the sum of the classes' centres, and noise.

    `separation` is the length of a centre in standard deviations of the noise along it. With a
    decay, features are correlated: the i-th singular value falls as i to its negative power. Those
    of real backbones fall at about 1.
    """
    centres = rng.normal(size=(labels.shape[1], width)) * separation / np.sqrt(width)
    clean = labels.astype(np.float32) @ centres.astype(np.float32)
    values = clean + rng.standard_normal((len(labels), width), dtype=np.float32)
    if decay:
        rotation = np.linalg.qr(rng.standard_normal((width, width), dtype=np.float32))[0]
        values = values * np.arange(1, width + 1, dtype=np.float32) ** -decay @ rotation
    return values


def probe_data(
    rows: int,
    width: int,
    task: Task,
    separation: float,
    divisions: list[Division],
    decay: float = 0.0,
) -> ProbeData:
    """Return what a probe reads, with macro F1 as the only score."""
    rng = np.random.default_rng(1)
    labels = labels_of(rows, task, rng)
    names = np.array([f"tile{row:06d}" for row in range(rows)], dtype=object)
    return ProbeData(
        embeddings=embeddings_of(labels, width, separation, rng, decay),
        tiles=LabelledTiles(labels, CLASSES, task, names, names, names, names),
        divisions=divisions,
        metrics=["macro_f1"],
        identity={"dataset": "bench", "backbone": "synthetic", "channels": "map", "task": task},
    )


def folds_and_seeds(rows: int, folds: int, seeds: int) -> list[Division]:
    """Return random divisions: a fold for testing, a fifth of the others for validation."""
    return [
        _division(seed, fold, rest, test, validation=len(rest) // 5)
        for seed in range(seeds)
        for fold, (rest, test) in enumerate(
            KFold(folds, shuffle=True, random_state=seed).split(np.arange(rows))
        )
    ]


def one_division(n_train: int, n_test: int) -> Division:
    """Return a single division without validation rows."""
    return _division(0, 0, np.arange(n_train), np.arange(n_train, n_train + n_test), validation=0)


def _division(
    seed: int,
    fold: int,
    rest: npt.NDArray[np.int64],
    test: npt.NDArray[np.int64],
    validation: int,
) -> Division:
    shuffled = np.random.default_rng([seed, fold]).permutation(rest)
    train = np.sort(shuffled[validation:])
    kept = np.sort(shuffled[:validation])
    return Division("image", seed, fold, 1.0, train, kept, test, np.zeros(len(train)))


def write_embeddings(
    manifest: Path, values: npt.NDArray[np.float16], tile_ids: list[str]
) -> BlockStore:
    """Write an embedding store as the embedding step does."""
    rows, width = values.shape
    columns = [{"output": "cls", "channel": None, "start": 0, "stop": width}]
    block_rows = min(EMBEDDING_BLOCK_ROWS, rows)
    store = BlockStore.open_or_create(
        store_of(manifest),
        format=EMBEDDINGS_FORMAT,
        array="embeddings",
        fingerprint="synthetic",
        shape=(rows, width),
        dtype="float16",
        block_rows=block_rows,
        ids=tile_ids,
        attributes={"columns": columns},
    )
    for block, start, stop in store.missing():
        store.write_block(block, values[start:stop])
    store.finish(manifest)
    return store
