"""Conflicts between the config and the cards of a study, each of which is valid by itself."""

from __future__ import annotations

from collections.abc import Iterator

from transferscope.cards import TrainCard
from transferscope.channels.assignment import assign
from transferscope.config.channel_strategies import MAP
from transferscope.config.probed import BLOCKS, OUTPUT, backbone_of, output_of
from transferscope.errors import Problem, UserError, suggest
from transferscope.study.ablations import (
    ablated_stores,
    not_ablated,
    unknown_names,
    weighted_probed,
)
from transferscope.study.joinings import joined_stores, not_joined, unknown_parts
from transferscope.study.study import Study
from transferscope.study.transfers import not_transferred, transfers

MIN_CLASSES = 2
NO_IMAGES = "is a table of features, without images"


def conflicts(study: Study, where: str) -> list[Problem]:
    """Return every conflict, each once.

    Parameters
    ----------
    study
        The study; cards that could not be read are missing in it.
    where
        Name of the config file, for messages.
    """
    found = [
        *_without_scores(study, where),
        *_about_tables(study, where),
        *_unavailable(study, where),
        *_without_pixel_size(study),
        *_unknown_fields(study, where),
        *_nothing_to_reduce(study, where),
        *_not_trainable(study, where),
        *_too_few_classes(study),
        *_nothing_to_segment(study, where),
        *_wrong_out_of_domain(study, where),
        *_nothing_to_transfer(study, where),
        *_nothing_to_ablate(study, where),
        *_nothing_to_join(study, where),
        *(problem for name in study.trained for problem in _training_conflicts(study, name)),
        *_trained_on_twice(study, where),
    ]
    return list(dict.fromkeys(found))


def _without_scores(study: Study, where: str) -> Iterator[Problem]:
    """Yield what a study asks for that needs scores, although it has none."""
    config = study.config
    asked = {
        "finetune.backbones": config.finetune.backbones,
        "aggregate.levels": config.aggregate.levels,
        "relations.sources": config.relations.sources,
        "segmentation": config.segmentation,
        "transfer": config.transfer,
        "nuisance": config.nuisance,
        "ablation": config.ablation,
        "joining": config.joining,
        "figures.gallery": config.figures.gallery,
        "backbones": [name for name, card in study.trained.items() if card.held_out is not None],
    }
    for key, value in asked.items():
        if value and not config.scored:
            what = "needs scores or their splits, but `scored: false` makes none"
            yield Problem(f"{where}, key {key}", what, "Leave it out, or remove `scored: false`.")


def _unavailable(study: Study, where: str) -> Iterator[Problem]:
    """Yield outputs that a backbone lacks, and channel strategies that it cannot serve."""
    for representation in study.uncorrected:
        backbone, output = backbone_of(representation), output_of(representation)
        known = study.backbones[backbone].card.output_names
        if output == BLOCKS and output not in known:
            what = f'the card of "{backbone}" does not say how many blocks it has'
            path = study.backbones[backbone].path
            yield Problem(f"{where}, key backbones", what, f"Add `blocks: 12`, say, to {path}.")
        elif output and output not in known:
            what = f'backbone "{backbone}" has no output "{output}"'
            yield Problem(f"{where}, key backbones", what, suggest(output, known))
        for dataset in study.image_datasets:
            for strategy, reason in study.strategies(representation, dataset)[1].items():
                what = f"{strategy} cannot be served by {backbone} on {dataset}: {reason}"
                fix = "Remove one of the three from the study."
                yield Problem(f"{where}, key channel_strategies", what, fix)


def _about_tables(study: Study, where: str) -> Iterator[Problem]:
    """Yield what a study asks of tables of features that needs images, and names given twice."""
    if study.image_datasets and not study.config.backbones:
        yield Problem(f"{where}, key backbones", "required, but missing", "Add `backbones:`.")
    for name, located in study.datasets.items():
        for given in located.card.feature_sets:
            if given in study.backbones:
                what = f'the set of features "{given}" of {name} has the name of a backbone'
                yield Problem(f"{located.path}, key features", what, "Rename one of them.")
    for name in study.training_datasets:
        if study.is_table(name):
            what = f"{name} {NO_IMAGES}, on which nothing can be trained"
            yield Problem(f"{where}, key training_datasets", what, "Remove it from the list.")
    for cells, fields in study.config.aggregate.fields.items():
        known = {cells, fields} <= set(study.datasets)
        if known and not _alike(study, cells, fields):
            what = f"{cells} and {fields} have no features in common: one is a table"
            fix = "Remove the pair, or give both the same images, or sets of features of one name."
            yield Problem(f"{where}, key aggregate.fields", what, fix)
    if study.config.finetune.backbones and study.datasets and not study.image_datasets:
        what = f"none of the datasets has images to train on: {', '.join(study.datasets)}"
        yield Problem(f"{where}, key finetune.backbones", what, "Empty the list.")
    if study.config.figures.gallery and study.datasets and not study.image_datasets:
        what = f"none of the datasets has images to show: {', '.join(study.datasets)}"
        yield Problem(f"{where}, key figures.gallery", what, "Set it to 0.")


def _alike(study: Study, *datasets: str) -> bool:
    """Return whether two datasets are both of images, or share a set of features."""
    first, second = (set(study.datasets[name].card.feature_sets) for name in datasets)
    return first == second or bool(first & second)


def _without_pixel_size(study: Study) -> Iterator[Problem]:
    for dataset in study.image_datasets.values():
        for name, backbone in study.backbones.items():
            if backbone.card.needs_pixel_size and dataset.card.pixel_size_um is None:
                what = f"is missing, but {name} resamples tiles to a pixel size (scale: physical)"
                fix = f"Give it, or set `scale: fit` in {backbone.path}."
                yield Problem(f"{dataset.path}, key pixel_size_um", what, fix)


def _unknown_fields(study: Study, where: str) -> Iterator[Problem]:
    known = list(study.datasets)
    for name in [name for pair in study.config.aggregate.fields.items() for name in pair]:
        if name not in known:
            what = f'"{name}" is not a dataset of the study'
            yield Problem(f"{where}, key aggregate.fields", what, suggest(name, known))


def _nothing_to_reduce(study: Study, where: str) -> Iterator[Problem]:
    """Yield datasets in `reduced_tiles` that the study lacks, or that have no images."""
    known = list(study.image_datasets)
    for name in study.config.reduced_tiles:
        if name not in study.datasets:
            what = f'"{name}" is not a dataset of the study'
            yield Problem(f"{where}, key reduced_tiles", what, suggest(name, known))
        elif name not in known:
            yield Problem(f"{where}, key reduced_tiles", f"{name} {NO_IMAGES}", "Take it out.")


def _not_trainable(study: Study, where: str) -> Iterator[Problem]:
    """Yield what cannot be fine-tuned, as far as it is known without building a network."""
    place, known = f"{where}, key finetune.backbones", study.config.backbones
    for ref in study.config.finetune.backbones:
        if ref.endswith(f"{OUTPUT}{BLOCKS}"):
            what = f"{ref} stands for all blocks, of which each would be fine-tuned"
            yield Problem(place, what, "Name one of them, and the same in `backbones`.")
        if ref not in known:
            what = f'"{ref}" is not one of the backbones of the study'
            yield Problem(place, what, suggest(ref, known))
    for representation in study.tuned_representations:
        card = study.backbones[backbone_of(representation)].card
        if not card.is_network:
            what = f"{card.name} has no trainable weights"
            yield Problem(place, what, "Remove it from the list.")


def _nothing_to_segment(study: Study, where: str) -> Iterator[Problem]:
    if study.config.segmentation is None or not study.datasets:
        return
    if not study.with_targets:
        what = f"none of the datasets says what masks mean: {', '.join(study.datasets)}"
        fix = "Add `masks:` to a dataset card, or take `segmentation:` out of the study."
        yield Problem(f"{where}, key segmentation", what, fix)
    elif study.config.segmentation.objects and not study.with_objects:
        what = "no masks number their objects (`kind: instances`)"
        yield Problem(f"{where}, key segmentation.objects", what, "Set it to false.")
    elif study.backbones and not any(b.card.is_network for b in study.backbones.values()):
        what = f"none of the backbones is a network: {', '.join(study.backbones)}"
        yield Problem(f"{where}, key segmentation", what, "Add a backbone that is one.")


def _wrong_out_of_domain(study: Study, where: str) -> Iterator[Problem]:
    settings = study.config.segmentation
    for name, others in (settings.out_of_domain if settings else {}).items():
        key = f"{where}, key segmentation.out_of_domain.{name}"
        for one in (name, *others):
            if one not in study.with_targets:
                what = f'"{one}" is no dataset of the study with masks'
                yield Problem(key, what, suggest(one, study.with_targets))
        for other in others:
            if other == name:
                yield Problem(key, "is tested on itself", "Name another dataset.")
            elif {name, other} <= set(study.with_targets):
                yield from _differ(study, key, name, other)


def _nothing_to_transfer(study: Study, where: str) -> Iterator[Problem]:
    """Yield datasets of `transfer` that are none, and why nothing can be tested elsewhere."""
    settings = study.config.transfer
    if settings is None:
        return
    unknown = [name for name in settings.datasets or [] if name not in study.datasets]
    for name in unknown:
        what = f'"{name}" is no dataset of the study'
        yield Problem(f"{where}, key transfer.datasets", what, suggest(name, [*study.datasets]))
    if study.config.scored and not unknown and not transfers(study):
        reasons = " ".join(not_transferred(study)) or "The study has one dataset."
        what = f"no dataset can be tested on another one. {reasons}"
        yield Problem(f"{where}, key transfer", what, "Leave it out, or change what is in the way.")


def _nothing_to_ablate(study: Study, where: str) -> Iterator[Problem]:
    """Yield names in `ablation` that the study lacks, and why no channel can be ablated."""
    if study.config.ablation is None:
        return
    unknown = list(unknown_names(study))
    for key, name, known in unknown:
        what = f'"{name}" is none of the study'
        yield Problem(f"{where}, key ablation.{key}", what, suggest(name, known))
    if study.config.scored and not unknown and not ablated_stores(study):
        reasons = " ".join(not_ablated(study)) or "No store that it names is evaluated."
        what = f"no channel can be ablated. {reasons}"
        yield Problem(f"{where}, key ablation", what, "Leave it out, or change what is in the way.")
    if study.config.ablation.occlusion is not None and not study.config.heads.kinds:
        what = "needs trained heads, and heads.kinds names none"
        fix = "Write `heads: {kinds: [logreg]}`, or leave it out."
        yield Problem(f"{where}, key ablation.occlusion", what, fix)
    if study.config.ablation.weights and study.config.scored and not weighted_probed(study):
        what = "no store of `replicate` is ablated: others have no features of single channels"
        fix = "Name replicate among channel_strategies, or leave it out."
        yield Problem(f"{where}, key ablation.weights", what, fix)


def _nothing_to_join(study: Study, where: str) -> Iterator[Problem]:
    """Yield names in `joining` that the study lacks, and why nothing can be joined."""
    if study.config.joining is None:
        return
    unknown = list(unknown_parts(study))
    for key, name, known in unknown:
        what = f'"{name}" is none of the study'
        yield Problem(f"{where}, key joining.{key}", what, suggest(name, known))
    if study.config.scored and not unknown and not joined_stores(study):
        what = f"nothing can be joined. {' '.join(not_joined(study))}"
        yield Problem(f"{where}, key joining", what, "Leave it out, or change what is in the way.")


def _differ(study: Study, key: str, name: str, other: str) -> Iterator[Problem]:
    """Yield what makes decoders of one dataset useless on another one."""
    here, there = (study.datasets[one].card for one in (name, other))
    classes = [card.masks.names for card in (here, there) if card.masks is not None]
    if classes[0] != classes[1]:
        shown = " and ".join(", ".join(names) for names in classes)
        fix = "Name the classes alike, in the same order."
        yield Problem(key, f'masks of "{other}" have other classes: {shown}', fix)
    if here.channels != there.channels:
        what = f'"{other}" has other channels: {", ".join(there.channels)}'
        yield Problem(key, what, f"Name them as those of {name}: {', '.join(here.channels)}.")


def _too_few_classes(study: Study) -> Iterator[Problem]:
    for dataset in study.datasets.values() if study.config.scored else ():
        if len(dataset.card.labels) < MIN_CLASSES:
            what = "fewer than two classes: there is nothing to evaluate"
            fix = (
                "List the classes, set `scored: false` in the config for tiles, embeddings and "
                "maps alone, or name the dataset under its `training_datasets`."
            )
            yield Problem(f"{dataset.path}, key labels", what, fix)


def _trained_on_twice(study: Study, where: str) -> Iterator[Problem]:
    for name in study.training_datasets:
        if name in study.datasets:
            what = f'"{name}" is also one of `datasets`, all of which can be trained on'
            yield Problem(f"{where}, key training_datasets", what, "List it under `datasets` only.")


def _training_conflicts(study: Study, name: str) -> Iterator[Problem]:
    """Yield the datasets that a backbone cannot be trained on, and unknown divisions."""
    card, path, known = study.trained[name], study.backbones[name].path, study.all_datasets
    for dataset in card.datasets:
        if dataset not in known:
            what = f'"{dataset}" is not a dataset of the study'
            yield Problem(f"{path}, key datasets", what, suggest(dataset, list(known)))
        elif study.is_table(dataset):
            what = f"{dataset} {NO_IMAGES}, on which nothing can be trained"
            yield Problem(f"{path}, key datasets", what, "Remove it from the list.")
        elif not card.takes_any_channels:
            # No channel, or none that is imaged, fits a slot.
            try:
                assign(MAP, known[dataset].card.channels, card.slots)
            except UserError as error:
                fix = "Let a slot accept one of its channels, or remove it from `datasets`."
                for problem in error.problems:
                    yield Problem(f"{path}, key slots", f"{dataset}: {problem.what}", fix)
    yield from _unknown_division(study, card, f"{path}, key exclude_test_groups")


def _unknown_division(study: Study, card: TrainCard, where: str) -> Iterator[Problem]:
    held_out, splits = study.held_out(card), study.config.splits
    if held_out is None:
        return
    if "group" not in splits.schemes:
        what = "the study has no division by group (splits.schemes)"
        yield Problem(where, what, "Add `group` to splits.schemes, or set this to false.")
        return
    for key, value, known in (
        ("seed", held_out.seed, splits.seeds),
        ("fold", held_out.fold, range(splits.folds["group"])),
    ):
        if value not in known:
            shown = ", ".join(map(str, known))
            yield Problem(where, f"the study has no {key} {value}", f"Known: {shown}.")
