"""What can be known to be wrong with a fetch before it starts, and after it is done."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from transferscope.cards import DatasetCard
from transferscope.config.probes import SplitSettings
from transferscope.datasets.annotations import read_annotations, unknown_classes
from transferscope.datasets.fetch import NO_FIELD, annotation_file, plan
from transferscope.datasets.planned import named_files
from transferscope.errors import Problem, UnreachableError, UserError
from transferscope.probes.splits import check_splits
from transferscope.raw.names import name_problems, warn
from transferscope.raw.text_tables import read_table
from transferscope.transport.patience import QUICK

logger = logging.getLogger(__name__)


def check_fetch(
    card: DatasetCard,
    card_path: Path,
    sheet: Path,
    settings: SplitSettings,
    names: Literal["warn", "strict"] = "warn",
) -> list[Problem]:
    """Check annotation table or list, class list and counts, without opening any image.

    The one thing that may be fetched is the annotation table, which is small. Where it cannot be
    had now, the log says so and the rest is left to the fetch.

    Parameters
    ----------
    card, card_path
        A card with `fetch`, and its file.
    sheet
        Where the sample sheet is, or will be.
    settings, names
        The study's `splits` and `names`.
    """
    source = card.fetch
    try:
        if source is not None and source.kind == "opencell":
            annotations = read_annotations(annotation_file(source, card_path, QUICK))
            if problems := unknown_classes(annotations, card.labels, str(card_path)):
                return problems
        planned = plan(card, card_path, sheet, patience=QUICK)
    except UnreachableError as error:
        # A machine without a network is no mistake of the user.
        logger.warning("not checked before the fetch: %s", error.problems[0])
        return []
    except UserError as error:
        return error.problems
    if planned.table.empty:
        return [Problem(str(card_path), *NO_FIELD)]
    where = f"{card_path}: what it fetches"
    alike = name_problems(planned.table.set_axis(planned.table.index + 1), where)
    if names == "strict" and alike:
        return alike
    warn(alike)
    if card.label_table is not None:
        # Its labels count, not those of the source; they are checked where the tiles are known.
        return []
    if not planned.complete:
        # How many fields a protein has is not known yet.
        known = {"group"}.intersection(settings.schemes)
        settings = settings.model_copy(update={"schemes": list(known)})
    return check_splits(planned.table, card, settings, where)


def check_fetched(sheet: Path, manifest: Path) -> list[Problem]:
    """Return whether raw files are gone that an earlier fetch has brought.

    Parameters
    ----------
    sheet
        The sample sheet of the fetch; where there is none, nothing has been fetched.
    manifest
        Its manifest.
    """
    if not sheet.is_file() or not manifest.is_file():
        return []
    try:
        table = read_table(sheet)
    except UserError as error:
        fix = f"Delete {manifest}: then it is fetched again."
        return [Problem(problem.where, problem.what, fix) for problem in error.problems]
    gone = [name for name in named_files(table) if not (sheet.parent / name).exists()]
    if not gone:
        return []
    what = f"{len(gone)} fetched files are gone, first {gone[0]}"
    return [Problem(str(sheet), what, f"Delete {manifest}: then what is missing is fetched again.")]
