"""All checks before a run; all problems are reported at once, before any job starts."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd

from transferscope.cards import BackboneCard, DatasetCard
from transferscope.cards.lookup import Located, card_roots
from transferscope.checkpoints.sources import stamp
from transferscope.config.channel_strategies import ADAPT
from transferscope.config.correction import HARMONY, CorrectionJob
from transferscope.config.probed import backbone_of, output_of
from transferscope.correction.harmonising import check_installed as check_harmony
from transferscope.correction.role_checks import role_problems, roles_in
from transferscope.costs.fields import expected_fields
from transferscope.costs.network_costs import TIMM_VERSION, KnownCosts
from transferscope.costs.sizes import find_cost
from transferscope.datasets.inputs import fetch_inputs
from transferscope.errors import Problem, UserError
from transferscope.labelling.label_table import (
    check_label_table,
    label_table_of,
    with_hand_labels,
)
from transferscope.probes import splits
from transferscope.probes.exclusion import exclusion_problems
from transferscope.probes.labels import label_problems
from transferscope.probes.nuisance_columns import nuisance_problems, usual_columns
from transferscope.probes.splits import one_image_per_group
from transferscope.raw.file_checks import check_files
from transferscope.raw.masks import (
    CELL_MASK,
    check_all_masks,
    check_mask_cells,
    check_target_cells,
    mask_columns,
)
from transferscope.raw.names import (
    class_problems,
    collisions,
    name_problems,
    shared_name_problems,
    warn,
)
from transferscope.raw.text_tables import missing_columns
from transferscope.relations.sources import source_files
from transferscope.runtime.fingerprint import fingerprint
from transferscope.runtime.json_cache import JsonCache
from transferscope.study.ablations import not_ablated
from transferscope.study.joinings import not_joined
from transferscope.study.reductions import not_reduced, reduced_stores
from transferscope.study.study import Study
from transferscope.study.transfers import not_transferred
from transferscope.tiles.doubts import DOUBTS_VERSION, judge
from transferscope.tiles.looking import look_at_fields
from transferscope.tiles.published import TABLE, PublishedTiles
from transferscope.tiles.tiling import REDUCED_FIX, too_small

# Raw files of a dataset that are opened before a run, spread evenly; the step that makes the tiles
# checks all of them before it decodes the first.
MAX_FILES_OPENED = 10_000
SAME_SPLITS = Problem(
    "",
    "each group has one image, so that the split by image is one by group, too",
    "Set `splits: {schemes: [group]}` in the study: their difference says nothing.",
)
# A wildcard of Snakemake, with or without a constraint.
WILDCARD = re.compile(r"\{\s*\w+\s*(,.*)?\}")
logger = logging.getLogger(__name__)
CACHE = Path(".snakemake") / "transferscope" / "checked.json"


class Passed(JsonCache):
    """Checks that have passed, so that a dry run need not open every file again.

    Parameters
    ----------
    path
        A JSON file with the digest of each check.
    """

    def __init__(self, path: Path = CACHE) -> None:
        super().__init__(path, bool)

    def once(self, digest: str, check: Callable[[], Sequence[Problem]]) -> list[Problem]:
        """Run a check, unless it has passed with the same digest."""
        if digest in self.values:
            return []
        try:
            problems = list(check())
        except UserError as error:
            problems = error.problems
        if not problems:
            self.put(digest, True)
        return problems


def preflight(study: Study, passed: Passed | None = None, *, scored: bool = True) -> None:
    """Check sample sheets, raw files, labels, groups and backbones of a study.

    Parameters
    ----------
    study
        The study.
    passed
        Checks that have passed before; None: those of the working folder.
    scored
        Whether the run computes scores; if not, labels may be missing.

    Raises
    ------
    UserError
        With every problem found, each with file, row or key, and fix.
    """
    passed = passed or Passed()
    scored = scored and study.config.scored
    problems = _check_maps(study) + _check_relations(study) + _check_corrections(study)
    problems += _check_nuisance(study)
    problems += _check_braces(study)
    problems += _judged(study, _check_names(study))
    _warn_of_tables(study)
    for reason in not_transferred(study):
        logger.warning("key transfer: %s", reason)
    for reason in not_ablated(study):
        logger.warning("key ablation: %s", reason)
    for reason in not_joined(study):
        logger.warning("key joining: %s", reason)
    for reason in not_reduced(study):
        logger.warning("key reduced_tiles: %s", reason)
    for located in study.all_datasets.values():
        problems += _check_segmentation(located)
        if located.card.source == "table":
            problems += _check_given(study, located, scored=scored)
        elif located.card.sheet is not None:
            problems += _check_dataset(study, located, passed, scored=scored)
            problems += _check_targets(study, located, passed)
            problems += _check_reduced(study, located)
        elif located.card.published is not None:
            problems += _check_published(study, located, scored=scored)
        else:
            problems += check_label_table(located.card, located.path)
        if located.card.fetch is not None:
            problems += _check_fetch(study, located)
    costs = KnownCosts()
    for located_backbone in study.backbones.values():
        problems += _check_backbone(located_backbone, passed, costs)
        if ADAPT in study.config.channel_strategies:
            problems += _check_adaptation(located_backbone, passed)
    if not problems:
        # A card that is wrong in itself would be reported twice.
        for representation in study.tuned_representations:
            problems += _check_tuning(study, representation, passed)
    if problems:
        # The cells of a grid share what is wrong with their card.
        raise UserError(list(dict.fromkeys(problems)))


def why_not_scored(study: Study) -> list[str]:
    """Return why each dataset of a study cannot be scored, where it makes no scores.

    Parameters
    ----------
    study
        A study that has passed `preflight`.
    """
    if study.config.scored:
        return []
    reasons = []
    for name, table in _sheets(study):
        card = study.datasets[name].card
        where = str(study.sheet_of(name))
        reasons.append(splits.why_not_scored(name, table, card, study.config.splits, where))
    return reasons


def _check_braces(study: Study) -> list[Problem]:
    """Return the files that Snakemake cannot be told: it has no way to write a brace."""
    located = study.all_datasets.values()
    files = [*(each.path for each in located), *(each.path for each in study.backbones.values())]
    files += [study.sheet_of(each.card.name) for each in located if each.card.sheet is not None]
    files += [label_table_of(each.card, each.path) for each in located if each.card.label_table]
    for each in located:
        files += fetch_inputs(each.card, each.path) if each.card.fetch is not None else []
    with suppress(UserError):  # reported elsewhere
        for ref in study.config.relations.sources:
            files += source_files(ref, card_roots())
    what = "has a name in braces in its path, which Snakemake takes for a wildcard"
    fix = "Rename the file or folder."
    return [Problem(str(path), what, fix) for path in files if WILDCARD.search(str(path))]


def _warn_of_tables(study: Study) -> None:
    """Say what of a study is left out, because a dataset is a table without images."""
    config, tables = study.config, [name for name in study.datasets if study.is_table(name)]
    if config.backbones and not study.image_datasets:
        logger.warning("no dataset has images: the backbones of the study are not used")
    asked = {"figures.gallery": config.figures.gallery, "finetune": config.finetune.backbones}
    for key, value in asked.items():
        if value and tables:
            logger.warning("key %s: not for %s, without images", key, ", ".join(tables))


def _judged(study: Study, alike: list[Problem]) -> list[Problem]:
    """Return names that read as one, if they stop the study; else warn of them."""
    if study.config.names == "strict":
        return alike
    warn(alike)
    return []


def _check_names(study: Study) -> list[Problem]:
    """Return the names that differ but read as one; sheets that cannot be read are passed over."""
    where = f"study {study.config.study}"
    problems = collisions(study.all_datasets, "datasets", where)
    sets = [name for each in study.datasets.values() for name in each.card.feature_sets]
    problems += collisions([*study.backbones, *dict.fromkeys(sets)], "backbones", where)
    groups: dict[str, list[str]] = {}
    for name, located in study.all_datasets.items():
        problems += class_problems(located.card, str(located.path))
        if located.card.sheet is not None or located.card.table is not None:
            # What is wrong with the sheet itself is reported elsewhere.
            with suppress(UserError):
                table = _rows(study, name)
                problems += name_problems(table, str(study.sheet_of(name)))
                groups[name] = table["group"].unique().tolist()
    # Elsewhere, groups of different datasets are not compared.
    return problems + (shared_name_problems(groups, where) if study.trained else [])


def _check_relations(study: Study) -> list[Problem]:
    """Return the problems of the sources of known pairs, and of the columns they are told by."""
    settings, problems = study.config.relations, []
    for ref in settings.sources:
        try:
            source_files(ref, card_roots())
        except UserError as error:
            problems += error.problems
    for name, table in _sheets(study):
        if settings.sources:
            roles = study.config.roles
            wanted = [*settings.columns, *roles.named(), roles_in(table, roles).perturbation]
            wanted = list(dict.fromkeys(wanted))
            problems += missing_columns(study.sheet_of(name), list(table.columns), wanted)
    return problems


def _check_corrections(study: Study) -> list[Problem]:
    """Return which datasets lack batches or controls that a correction of the study needs."""
    config, problems = study.config, []
    related = config.relations.corrections if config.relations.sources else None
    methods = dict.fromkeys([*config.correction.methods, *(related or [])])
    if HARMONY in methods:
        problems += check_harmony(f"study {config.study}, key correction.methods")
    for name, table in _sheets(study):
        for method in methods:
            job = CorrectionJob(method=method, roles=config.roles)
            problems += role_problems(table, job, study.sheet_of(name))
    return list(dict.fromkeys(problems))


def _check_nuisance(study: Study) -> list[Problem]:
    """Return which columns that are to be predicted, or compared with, a sheet lacks."""
    settings, problems = study.config.nuisance, []
    if settings is None:
        return []
    for name, table in _sheets(study):
        where = str(study.sheet_of(name))
        problems += nuisance_problems(table, settings.named, where)
        if settings.robustness is None and not usual_columns(table, study.config.roles)[1]:
            logger.warning("%s: no column of batches, so no robustness index", name)
    return problems


def _sheets(study: Study) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the rows of each dataset with a sheet or table; what is wrong is told elsewhere."""
    for name, located in study.datasets.items():
        if located.card.sheet is not None or located.card.table is not None:
            with suppress(UserError):
                yield name, _rows(study, name)


def _rows(study: Study, name: str) -> pd.DataFrame:
    return study.given(name).table if study.is_table(name) else study.sheet(name).table


def _check_given(study: Study, located: Located[DatasetCard], *, scored: bool) -> list[Problem]:
    """Check a table of features, and say what of it is left out."""
    name = located.card.name
    try:
        given = study.given(name)
    except UserError as error:
        return error.problems
    for note in given.notes:
        logger.warning("%s", note)
    return _check_table(study, located, given.table, str(study.sheet_of(name)), scored=scored)


def _check_dataset(
    study: Study, located: Located[DatasetCard], passed: Passed, *, scored: bool
) -> list[Problem]:
    path = study.sheet_of(located.card.name)
    try:
        sheet = study.sheet(located.card.name)
    except UserError as error:
        return error.problems
    problems = _check_table(study, located, sheet.table, str(path), scored=scored)
    wrong_cells = check_mask_cells(sheet, located.card)
    problems += wrong_cells
    raw = study.raw_digest(located.card.name)
    digest = fingerprint(["files", raw, located.card.image_fingerprint()])
    if study.config.bad_tiles == "skip":
        return problems or _check_pixels(study, located, passed, digest)
    problems += passed.once(digest, lambda: check_files(sheet, located.card, MAX_FILES_OPENED))
    if wrong_cells:
        return problems
    columns = mask_columns(sheet, located.card)
    masks = fingerprint(["masks", digest])
    problems += passed.once(masks, lambda: check_all_masks(sheet, located.card, columns))
    return problems or _check_pixels(study, located, passed, digest)


def _check_targets(study: Study, located: Located[DatasetCard], passed: Passed) -> list[Problem]:
    """Check the masks that a study learns to segment, as far as headers show."""
    name, card = located.card.name, located.card
    if name not in study.with_targets:
        return []
    try:
        sheet = study.sheet(name)
    except UserError:  # reported elsewhere
        return []
    if problems := check_target_cells(sheet, card):
        return problems
    digest = fingerprint(["targets", study.raw_digest(name), study.mask_digest(name)])
    return passed.once(digest, lambda: check_all_masks(sheet, card, [CELL_MASK]))


def _check_reduced(study: Study, located: Located[DatasetCard]) -> list[Problem]:
    """Check that tiles are large enough to be reduced; of others, their step finds out."""
    name, problems = located.card.name, []
    where = f"study {study.config.study}, key reduced_tiles"
    with suppress(UserError):  # reported elsewhere
        for side in (side for dataset, side in reduced_stores(study) if dataset == name):
            if what := too_small(expected_fields(study, name).tile_shape[-2:], side):
                problems.append(Problem(where, f"{name}: {what}", REDUCED_FIX))
    return problems


def _check_pixels(
    study: Study, located: Located[DatasetCard], passed: Passed, files: str
) -> list[Problem]:
    """Look at some fields, and say what cannot be right about them."""
    card, sheet = located.card, study.sheet(located.card.name)
    digest = fingerprint(["pixels", DOUBTS_VERSION, files])
    doubts = passed.once(digest, lambda: look_at_fields(sheet, card))
    return judge(doubts, str(located.path), study.config.quality)


def _check_published(study: Study, located: Located[DatasetCard], *, scored: bool) -> list[Problem]:
    """Check that published tiles can be read, are complete, and match the card."""
    try:
        published = PublishedTiles(located.card, located.path)
        table = published.table()
    except UserError as error:
        return error.problems
    where = published.url(TABLE)
    alike = _judged(study, name_problems(table.set_axis(table.index + 1), where))
    return alike + _check_table(study, located, table, where, scored=scored)


def _check_table(
    study: Study, located: Located[DatasetCard], table: pd.DataFrame, where: str, *, scored: bool
) -> list[Problem]:
    """Check a table of tiles, or of fields, of a dataset that is evaluated."""
    if located.card.name not in study.datasets:
        return []
    if scored:
        problems = _check_labels(study, located, table, where)
    else:
        problems = label_problems(table, located.card, where)
    if scored and not problems:
        for text in splits.classes_of_few_groups(table, located.card, study.config.splits):
            logger.warning("%s, key splits.groups_per_class: %s", where, text)
    both = scored and {"group", "image"} <= set(study.config.splits.schemes)
    if both and one_image_per_group(table):
        problems += judge([SAME_SPLITS], where, study.config.quality)
    knn = study.config.knn
    return problems + (exclusion_problems(table, knn.exclude, where) if knn.k else [])


def _check_labels(
    study: Study, located: Located[DatasetCard], rows: pd.DataFrame, where: str
) -> list[Problem]:
    """Check the labels, the sheet's or those given by hand, and their division."""
    card, settings = located.card, study.config.splits
    if card.label_table is None:
        return splits.check_splits(rows, card, settings, where)
    if card.cells is not None or not card.tiles.one_per_field:
        # The ids of the tiles are not known before the fields are read: the job checks the rest.
        return check_label_table(card, located.path)
    skip = study.config.bad_tiles == "skip"
    try:
        table = with_hand_labels(rows, card, located.path, skip=skip)
    except UserError as error:
        return error.problems
    return splits.check_splits(table, card, settings, str(label_table_of(card, located.path)))


def _check_maps(study: Study) -> list[Problem]:
    """Check that the packages for the maps of embeddings are installed."""
    if study.config.figures.map == "tsne":
        return []
    # Imports scikit-learn: only for a study that needs it.
    from transferscope.figures.projection import check_installed

    return check_installed(study.config.figures.map)


def _check_segmentation(located: Located[DatasetCard]) -> list[Problem]:
    """Check that the packages for a dataset's segmentation are installed."""
    cells = located.card.cells
    if cells is None or not cells.segmentation.runs_network:
        return []
    # Imports SciPy: only for a study that needs it.
    from transferscope.cells.segmentation.cellpose import check_installed

    return check_installed(f"{located.path}, key cells.segmentation.method")


def _check_fetch(study: Study, located: Located[DatasetCard]) -> list[Problem]:
    """Check the table or list of a fetch.

    A dry run opens none of the thousands of files; the job that decodes them reads their headers.
    """
    # Imports an HTTP client: only for studies that fetch.
    from transferscope.study.fetch_checks import check_fetch, check_fetched

    name, paths = located.card.name, study.paths
    sheet = study.sheet_of(name)
    config = study.config
    problems = check_fetch(located.card, located.path, sheet, config.splits, config.names)
    if paths.tiles(name).is_file():
        # The raw files are no longer needed and may have been deleted.
        return problems
    return problems + check_fetched(sheet, paths.fetched(name))


def _check_backbone(
    located: Located[BackboneCard], passed: Passed, costs: KnownCosts
) -> list[Problem]:
    card = located.card
    if not card.is_network:
        return []

    def check() -> list[Problem]:
        # Imports torch and timm, which takes seconds: only for unchecked cards.
        if card.trained_here:
            from transferscope.pretraining.methods.fit import check_trained

            return check_trained(card, located.path)
        from transferscope.backbones import checks

        return checks.check_backbone(card, located.path)

    # Most cells of a grid are the same network with other data.
    own = card.network_fingerprint() if card.trained_here else card.fingerprint()
    digest = fingerprint(["backbone", TIMM_VERSION, own, stamp(card, located.path)])
    problems = passed.once(digest, check)
    if not problems:
        costs.learn(card, located.path, lambda: find_cost(card, located.path))
    return problems


def _check_adaptation(located: Located[BackboneCard], passed: Passed) -> list[Problem]:
    card = located.card
    if not card.is_network or card.takes_any_channels:
        return []

    def check() -> list[Problem]:
        from transferscope.backbones import checks

        return checks.check_adaptation(card, located.path)

    return passed.once(fingerprint([ADAPT, TIMM_VERSION, card.fingerprint()]), check)


def _check_tuning(study: Study, representation: str, passed: Passed) -> list[Problem]:
    """Check that a backbone can be fine-tuned in each of the modes."""
    output = output_of(representation)
    located = study.backbones[backbone_of(representation)]
    card, modes = located.card, study.config.finetune.modes
    if not card.is_network:
        return []

    def check() -> list[Problem]:
        from transferscope.finetuning.checks import check_tuning

        return check_tuning(card, located.path, output, modes)

    digest = fingerprint(["finetune", TIMM_VERSION, card.fingerprint(), output, modes])
    return passed.once(digest, check)
