"""Masks of whole fields, of any size: a decoder trained on all masks of a dataset, in windows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from transferscope.backbones.precision import choose_precision
from transferscope.cards import DatasetCard, MaskSettings, NetworkCard
from transferscope.cells.segmentation.provided import connected
from transferscope.config.compute import ComputeSettings
from transferscope.config.segmentation import SCHEME, DecoderName, SegmentationSettings
from transferscope.errors import Problem, UserError
from transferscope.finetuning.network import open_backbone
from transferscope.probes.evaluation import Division
from transferscope.probes.head_training import reduced_precision
from transferscope.raw.file_checks import first_problems, scan_headers
from transferscope.raw.images import FieldHeader, decode_field
from transferscope.raw.sheets import SampleSheet
from transferscope.runtime.arrays import Floats32, Integers, Pixels, Values
from transferscope.runtime.seeds import derive_rng
from transferscope.segmentation.decoder_training import MapProblem, Trained, train_decoders
from transferscope.segmentation.decoders import Decoder, resized
from transferscope.segmentation.features import MapReader, compute_maps
from transferscope.segmentation.masks import TrueMasks
from transferscope.segmentation.tiled_inference import Windows, predict_field
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
    """Probabilities of classes, of raw windows of the size of the tiles.

    Parameters
    ----------
    read
        The backbone, fed with raw tiles.
    decoder, trained
        Its decoder, trained on one division.
    device
        Where they lie.
    """

    def __init__(
        self, read: MapReader, decoder: Decoder, trained: Trained, device: torch.device
    ) -> None:
        self._read, self._decoder, self._trained = read, decoder, trained
        self._device = device

    @torch.inference_mode()
    def __call__(self, raw: Pixels) -> Floats32:
        """Return probabilities [B, K, H, W] of raw windows [B, C, H, W].

        Of one class, K is 1; of several, the first is the background.
        """
        levels = self._read(torch.from_numpy(raw))
        scale = self._trained.scale
        inputs = [
            (levels[number][:, None] - mean[:, :, None, None]) / deviation[:, :, None, None]
            for number, mean, deviation in zip(
                self._decoder.used, scale.means, scale.deviations, strict=True
            )
        ]
        with reduced_precision(self._device):
            logits = self._decoder(inputs, self._trained.layers)
        logits = resized(logits.float(), raw.shape[-2:])[:, 0]
        return _probabilities(logits).cpu().numpy()


def _probabilities(logits: Tensor) -> Tensor:
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)


@dataclass(frozen=True)
class TrainedPredictor:
    """A predictor, and what its training came to.

    Parameters
    ----------
    predict
        See `MaskPredictor`.
    n_out
        Probabilities per pixel.
    size
        Height and width of its windows in px.
    dtype
        Type of the raw tiles.
    summary
        A sentence on the training.
    """

    predict: MaskPredictor
    n_out: int
    size: tuple[int, int]
    dtype: np.dtype[Any]
    summary: str


def train_predictor(
    source: LabelledTiles,
    card: NetworkCard,
    card_path: Path,
    channels: str,
    decoder_name: DecoderName,
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
    decoder_name
        Kind of decoder.
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
    read = MapReader(backbone, tile_input)
    batch_size = compute.images_per_batch(on_gpu=device.type != "cpu")
    maps = compute_maps(TrainingTiles.open(source.tiles, rows), read, batch_size, folder)
    settings = SegmentationSettings(decoders=[decoder_name])
    masks = TrueMasks.read(targets, rows, settings.size)
    decoder = Decoder(
        decoder_name,
        tuple(level.shape[1] for level in maps.levels),
        tuple(level.shape[-1] for level in maps.levels),
        tuple(maps.strides),
        masks.n_out,
    )
    if not decoder.is_possible:
        what = f"unet needs maps of several resolutions, and {card.name} has one"
        raise UserError(Problem("--decoder", what, "Take conv, or a convolutional network."))
    problem = MapProblem(maps, masks, decoder, settings, device)
    [trained] = train_decoders(problem, [division], ("masks predict", source.card.name))
    summary = f"trained on {len(division.train):,} tiles, {int(trained.steps[0])} steps"
    if len(division.validation):
        of_rest = f"{trained.losses[0]:.3f} on {len(division.validation):,} others"
        summary += f"; loss {of_rest}"
    predictor = MaskPredictor(read, decoder, trained, device)
    return TrainedPredictor(predictor, masks.n_out, store.tile_size, store.array.dtype, summary)


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


def mask_names(sheet: SampleSheet, suffix: str) -> list[str]:
    """Return the name of each field's mask, from its tile id.

    Parameters
    ----------
    sheet
        The fields.
    suffix
        `.png` or `.ome.tif`.

    Raises
    ------
    UserError
        Where two ids give one name.
    """
    first: dict[str, str] = {}
    problems = []
    for position, tile_id in enumerate(sheet.tile_ids):
        name = file_name(tile_id, "field") + suffix
        if (other := first.setdefault(name.casefold(), tile_id)) != tile_id:
            what = f'"{tile_id}" and "{other}" would both be written to {name}'
            problems.append(Problem(sheet.place(position), what, "Give them other tile ids."))
    if problems:
        raise UserError(first_problems(problems, str(sheet.path), "names are given twice"))
    return [file_name(tile_id, "field") + suffix for tile_id in sheet.tile_ids]


class _Classes:
    """Takes probabilities, [K, H, W], and keeps the class of each pixel, uint8 or uint16 [H, W]."""

    def __init__(self, n_out: int, shape: tuple[int, int]) -> None:
        self.shape = (n_out, *shape)
        self.classes = np.zeros(shape, np.uint16)

    def __setitem__(self, where: Any, values: Values) -> None:
        _, rows, columns = where
        found = values[0] > 0.5 if len(values) == 1 else values.argmax(axis=0)
        self.classes[rows, columns] = found


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
        [H, W] uint8, uint16 or uint32: 255 in the foreground of `binary`, connected pieces
        numbered from 1 for `instances`, values of the card for `classes`.

    Raises
    ------
    UserError
        Where the field cannot be read.
    """
    raw = decode_field(sheet.files(position), card, one_file_per_channel=sheet.one_file_per_channel)
    shape: tuple[int, int] = raw.shape[1:]
    field = resample(raw, resampled_shape(shape, card))
    found = _Classes(trained.n_out, field.shape[1:])
    predict_field(
        lambda rows, columns: field[:, rows, columns], trained.predict, found, windows, WINDOWS
    )
    return _as_in(masks, nearest(found.classes, shape))


def _as_in(settings: MaskSettings, classes: Pixels) -> Pixels:
    """Return classes, [H, W], as the values that masks of a dataset have."""
    if settings.kind == "instances":
        values = connected(classes > 0)
    else:
        known = [*settings.classes] if settings.kind == "classes" else [WHITE]
        values = np.array([0, *known])[classes]
    largest = int(values.max(initial=0))
    return values.astype(np.min_scalar_type(max(largest, 1)))
