"""Masks of whole fields, of any size: a decoder trained on all masks of a dataset, in windows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from transferscope.backbones.precision import choose_precision
from transferscope.cards import DatasetCard, MaskSettings, NetworkCard
from transferscope.config.compute import ComputeSettings
from transferscope.config.segmentation import SCHEME, SegmentationSettings
from transferscope.errors import Problem, UserError
from transferscope.finetuning.network import open_backbone
from transferscope.probes.evaluation import Division
from transferscope.probes.head_training import reduced_precision
from transferscope.raw.file_checks import first_problems, scan_headers
from transferscope.raw.float_values import as_stored
from transferscope.raw.images import FieldHeader, decode_field
from transferscope.raw.masks import CELL_MASK, NUCLEUS_MASK
from transferscope.raw.sheets import SampleSheet
from transferscope.runtime.arrays import Floats32, Integers, Pixels, Values
from transferscope.runtime.seeds import derive_rng
from transferscope.segmentation.decoder_training import MapProblem, Trained, train_decoders
from transferscope.segmentation.decoders import Decoder, resized
from transferscope.segmentation.features import MapReader, compute_maps
from transferscope.segmentation.instances import instances_in_blocks
from transferscope.segmentation.masks import TrueMasks
from transferscope.segmentation.object_maps import FULL, LEARNED, TrueObjects, least_pixels_of
from transferscope.segmentation.tiled_inference import Output, Windows, predict_field
from transferscope.segmentation.views import mean_of_views, possible_views, turned
from transferscope.stores.origin import FIX, check_origin, check_tiles
from transferscope.stores.parquet import read_tile_table
from transferscope.stores.target_store import TargetStore
from transferscope.stores.tile_store import TileStore
from transferscope.tiles.contact_sheets import file_name
from transferscope.tiles.tiling import nearest, resample, resampled_shape
from transferscope.training.tiles import TrainingTiles

# One group of so many tells when to stop.
GROUPS_PER_VALIDATION = 5
# Of the side of a window: what is not used on each side, and over what windows fade.
MARGIN, FADE = 1 / 8, 1 / 4
# Windows at once: a field may be large, and so are its maps.
WINDOWS = 8
WHITE = 255
# Columns of a sheet that name masks.
MASKS = (CELL_MASK, NUCLEUS_MASK)
HALF = 0.5


@dataclass(frozen=True)
class LabelledTiles:
    """What a decoder learns from.

    Parameters
    ----------
    card
        The dataset; it has `masks`.
    tiles, targets, table
        Manifests of its tile store and target store, and its tile table.
    """

    card: DatasetCard
    tiles: Path
    targets: Path
    table: Path


class MaskPredictor:
    """Probabilities of classes or maps, of raw windows of the size of the tiles.

    Parameters
    ----------
    read
        The backbone, fed with raw tiles.
    decoder
        Kind of the decoders.
    trained
        Decoders, each alone in its training, whose outputs are put next to one another.
    device
        Where they lie.
    views
        Of each window, over which logits are averaged.
    """

    def __init__(
        self,
        read: MapReader,
        decoder: Decoder,
        trained: Sequence[Trained],
        device: torch.device,
        views: int = 1,
    ) -> None:
        self._read, self._decoder, self._trained = read, decoder, trained
        self._device, self._views = device, views

    @property
    def n_out(self) -> int:
        """Probabilities per pixel."""
        return len(self._trained) * self._decoder.n_out

    @torch.inference_mode()
    def __call__(self, raw: Pixels) -> Floats32:
        """Return probabilities [B, K, H, W] of raw windows [B, C, H, W].

        Of a decoder for one class, there is one; for several, the first is the background.
        """
        windows = torch.from_numpy(raw)
        levels = [self._read(turned(windows, view)) for view in range(self._views)]
        found = [self._probabilities(levels, one, raw.shape[-2:]) for one in self._trained]
        return torch.cat(found, dim=1).cpu().numpy()

    def _probabilities(
        self, of_views: Sequence[Sequence[Tensor]], trained: Trained, size: tuple[int, ...]
    ) -> Tensor:
        logits = mean_of_views(self._logits(levels, trained) for levels in of_views)
        logits = resized(logits, size)[:, 0]
        return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)

    def _logits(self, levels: Sequence[Tensor], trained: Trained) -> Tensor:
        inputs = [
            (levels[number][:, None] - mean[:, :, None, None]) / deviation[:, :, None, None]
            for number, mean, deviation in zip(
                self._decoder.used, trained.scale.means, trained.scale.deviations, strict=True
            )
        ]
        with reduced_precision(self._device):
            return self._decoder(inputs, trained.layers).float()


@dataclass(frozen=True)
class TrainedPredictor:
    """A predictor, and what its training came to.

    Parameters
    ----------
    predict
        See `MaskPredictor`.
    summary
        What was trained on, and the loss on the rest.
    min_pixels
        Smaller objects are left out; in px of the tiles.
    """

    predict: MaskPredictor
    summary: str
    min_pixels: int = 1


def train_predictor(
    source: LabelledTiles,
    card: NetworkCard,
    card_path: Path,
    channels: str,
    settings: SegmentationSettings,
    compute: ComputeSettings,
    device: torch.device,
    folder: Path,
) -> TrainedPredictor:
    """Train one decoder on all tiles that have a mask; a fifth of the groups tells when to stop.

    Parameters
    ----------
    source
        The dataset.
    card, card_path, channels
        The backbone, its file, and the channel strategy.
    settings
        Of the training; of its decoders the first is trained.
    compute, device
        How and where networks run.
    folder
        Where a temporary file goes if maps do not fit into memory.

    Raises
    ------
    UserError
        Where the files do not belong together, or backbone and decoder do not fit.
    """
    store, targets, table = _opened(source)
    division = _everything(targets, table, source.targets)
    rows = np.sort(np.concatenate([division.train, division.validation]))
    precision = "fp32" if compute.precision == "auto" else compute.precision
    backbone, tile_input = open_backbone(
        store, card, card_path, channels, None, choose_precision(device, precision), None, device
    )
    name = settings.decoders[0]
    read = MapReader(backbone, tile_input, [name])
    batch_size = compute.images_per_batch(on_gpu=device.type != "cpu")
    views = possible_views(settings.views, store.tile_size, source.card.name)
    maps = compute_maps(TrainingTiles.open(source.tiles, rows), read, batch_size, folder, views)
    learned = learned_masks(targets, rows, settings)
    decoder = Decoder(name, maps.described, learned[0][0].n_out)
    if reason := decoder.lacks:
        fix = "Take conv, which every network serves."
        raise UserError(Problem("--decoder", f"{card.name}: {name} {reason}", fix))
    trained: list[Trained] = []
    for number, (masks, how) in enumerate(learned):
        problem = MapProblem(maps, masks, decoder, how, device)
        names = ("masks predict", source.card.name, number)
        trained.append(train_decoders(problem, [division], names))
    summary = f"trained on {len(division.train):,} tiles"
    if len(division.validation):
        losses = ", ".join(f"{one.losses[0]:.3f}" for one in trained)
        summary += f", loss on {len(division.validation):,} others {losses}"
    least = least_pixels_of(targets, division.train) if targets.kind == "instances" else 1
    return TrainedPredictor(MaskPredictor(read, decoder, trained, device, views), summary, least)


def learned_masks(
    targets: TargetStore, rows: Integers, settings: SegmentationSettings
) -> list[tuple[TrueMasks, SegmentationSettings]]:
    """Return what decoders learn: one of classes, or of objects one for each of `MAPS`.

    Parameters
    ----------
    targets, rows
        The masks, and the tiles that have one.
    settings
        Of the training; centre and depth, which are no areas, are learned by cross-entropy alone.
    """
    masks = TrueMasks.read(targets, rows, settings.size)
    if targets.kind != "instances":
        return [(masks, settings)]
    by_entropy = settings.model_copy(update={"loss": "ce"})
    found = TrueObjects.read(targets, rows, masks.known.shape[1:])
    return [
        (masks, settings),
        *(
            (replace(masks, shares=found.maps[:, [number]], known=found.known), by_entropy)
            for number in range(LEARNED)
        ),
    ]


def _opened(source: LabelledTiles) -> tuple[TileStore, TargetStore, pd.DataFrame]:
    store, targets = TileStore(source.tiles), TargetStore.open(source.targets)
    table = read_tile_table(source.table)
    check_tiles(source.table, table, store, source.card.name)
    made_from = {"dataset": source.card.name, "tiles_sha256": store.content_sha256}
    check_origin(source.targets, targets.attributes, made_from)
    if targets.tile_ids != store.tile_ids or targets.tile_size != store.tile_size:
        raise UserError(Problem(str(source.targets), f"is of other tiles than {store.path}", FIX))
    return store, targets, table


def _everything(targets: TargetStore, table: pd.DataFrame, manifest: Path) -> Division:
    """Return all tiles with a mask; the groups for validation are drawn."""
    rows = np.flatnonzero(targets.has_mask).astype(np.int64)
    if not len(rows):
        raise UserError(Problem(str(manifest), "no tile has a mask", "Name masks in the sheet."))
    group = table["group"].astype(str).to_numpy()[rows]
    names = np.unique(group)
    drawn = derive_rng("masks predict", "validation").permutation(names)
    n_groups = max(1, len(names) // GROUPS_PER_VALIDATION) if len(names) > 1 else 0
    is_validation = np.isin(group, drawn[:n_groups])
    none: Integers = np.zeros(0, dtype=np.int64)
    train = rows[~is_validation]
    return Division(
        SCHEME, 0, 0, 1.0, train, rows[is_validation], none, np.zeros(len(train), np.float64)
    )


def check_fields(sheet: SampleSheet, card: DatasetCard, dtype: np.dtype[Any]) -> list[Problem]:
    """Return what the headers of the fields to predict show to be wrong.

    Parameters
    ----------
    sheet, card
        The fields; they may be of any size.
    dtype
        Type of the tiles that the decoder was trained on.
    """
    problems: list[Problem] = []
    for position, header in scan_headers(sheet, card, range(len(sheet))):
        if not isinstance(header, FieldHeader):
            problems += header
        elif header.dtype != dtype:
            what = f"holds {header.dtype} values, but the tiles {dtype}: black and white differ"
            problems.append(Problem(sheet.place(position), what, "Export it as the tiles were."))
    return first_problems(problems, str(sheet.path), "fields have problems")


def windows_of(size: tuple[int, int], margin: int | None, fade: int | None) -> Windows:
    """Return how fields are covered by windows of the size of the tiles.

    Parameters
    ----------
    size
        Height and width of a tile in px; the shorter side counts for margin and fade.
    margin, fade
        In px; None: an eighth and a quarter of the side.

    Raises
    ------
    UserError
        Where nothing is left of a window.
    """
    side = min(size)
    chosen = int(side * MARGIN) if margin is None else margin
    faded = int(side * FADE) if fade is None else fade
    try:
        return Windows(size, chosen, faded, fixed=True)
    except ValueError as error:
        fix = "Give a smaller --margin or --fade."
        raise UserError(Problem("--margin", str(error), fix)) from None


def mask_paths(sheet: SampleSheet, folder: Path, suffix: str) -> list[Path]:
    """Return where the mask of each field is written, named after its tile id.

    Parameters
    ----------
    sheet
        The fields.
    folder
        Where masks go.
    suffix
        `.png` or `.ome.tif`.

    Raises
    ------
    UserError
        Where two ids give one name, or a mask would be written over a file of the sheet.
    """
    names = [file_name(tile_id, "field") + suffix for tile_id in sheet.tile_ids]
    columns = [*sheet.file_columns, *(name for name in MASKS if name in sheet.table)]
    cells = {cell for column in columns for cell in sheet.table[column] if cell}
    named = {os.path.realpath(sheet.places.target(cell)) for cell in cells}
    first: dict[str, str] = {}
    problems = []
    for position, (tile_id, name) in enumerate(zip(sheet.tile_ids, names, strict=True)):
        if (other := first.setdefault(name.casefold(), tile_id)) != tile_id:
            what = f'"{tile_id}" and "{other}" would both be written to {name}'
            problems.append(Problem(sheet.place(position), what, "Give them other tile ids."))
        elif os.path.realpath(folder / name) in named:
            what = f"{folder / name} is a file of the sheet, and would be lost"
            problems.append(Problem(sheet.place(position), what, "Give another --output."))
    if problems:
        raise UserError(first_problems(problems, str(sheet.path), "masks have no place"))
    return [folder / name for name in names]


class _Classes:
    """Takes probabilities, [K, H, W], and keeps the class of each pixel, uint16 [H, W]."""

    def __init__(self, n_out: int, shape: tuple[int, int]) -> None:
        self.shape = (n_out, *shape)
        self.classes = np.zeros(shape, np.uint16)

    def __setitem__(self, where: Any, values: Values) -> None:
        found = values[0] > HALF if len(values) == 1 else values.argmax(axis=0)
        self.classes[where[1:]] = found


class _Maps:
    """Takes maps of 0 to 1, [K, H, W], and keeps them as shares of `FULL`, uint8."""

    def __init__(self, n_out: int, shape: tuple[int, int]) -> None:
        self.shape = (n_out, *shape)
        self.maps = np.zeros(self.shape, np.uint8)

    def __setitem__(self, where: Any, values: Values) -> None:
        self.maps[where] = np.rint(values * FULL)


def field_mask(
    trained: TrainedPredictor,
    windows: Windows,
    sheet: SampleSheet,
    card: DatasetCard,
    masks: MaskSettings,
    position: int,
) -> Pixels:
    """Return the mask of a field, at its own size and with the values that masks of a dataset have.

    Parameters
    ----------
    trained, windows
        The predictor, and how fields are covered.
    sheet, card
        The fields.
    masks
        What values mean.
    position
        Of the field in the sheet.

    Returns
    -------
    ndarray
        [H, W] uint8, uint16 or uint32: 255 in the foreground of `binary`, numbers of objects for
        `instances`, values of the card for `classes`.

    Raises
    ------
    UserError
        Where the field cannot be read.
    """
    files = sheet.files(position)
    raw = decode_field(files, card, one_file_per_channel=sheet.one_file_per_channel)
    height, width = raw.shape[1:]
    field = resample(as_stored(raw, card), resampled_shape((height, width), card))
    size = field.shape[1], field.shape[2]

    def fill(output: Output) -> None:
        predict_field(
            lambda rows, columns: field[:, rows, columns],
            trained.predict,
            output,
            windows,
            WINDOWS,
        )

    if masks.kind == "instances":
        maps = _Maps(trained.predict.n_out, size)
        fill(maps)
        found = instances_in_blocks(maps.maps, trained.min_pixels)
    else:
        classes = _Classes(trained.predict.n_out, size)
        fill(classes)
        known = [*masks.classes] if masks.kind == "classes" else [WHITE]
        found = np.array([0, *known])[classes.classes]
    mask = nearest(found, (height, width))
    return mask.astype(np.min_scalar_type(max(1, int(mask.max(initial=0)))))
