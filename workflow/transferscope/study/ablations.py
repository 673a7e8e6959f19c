"""Which channels are taken from which stores of a study, and why others are not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from transferscope.channels.assignment import assign
from transferscope.config.ablation import PERMUTED, Ablation, AblationSettings
from transferscope.config.channel_strategies import (
    MAP_RANDOM,
    REPLICATE,
    family_of,
    single_channel,
)
from transferscope.config.probed import Probed
from transferscope.study.study import Study


@dataclass(frozen=True, order=True)
class AblatedStore:
    """What is evaluated of one store, and all that is taken from its tiles.

    Parameters
    ----------
    probed
        What heads are trained on.
    ablations
        What is done to the tiles that they are tested on, one after the other.
    """

    probed: Probed
    ablations: tuple[Ablation, ...]

    @property
    def channels(self) -> list[str]:
        """The channels that are taken, each once."""
        return list(dict.fromkeys(ablation.channel for ablation in self.ablations))


def ablated_stores(study: Study) -> list[AblatedStore]:
    """Return every store whose channels are ablated."""
    return [found for found in _considered(study) if isinstance(found, AblatedStore)]


def ablated_probed(study: Study) -> list[Probed]:
    """Return what heads are trained on that are tested without single channels."""
    return [each.probed for each in ablated_stores(study)]


def occluded_stores(study: Study) -> dict[Probed, list[str]]:
    """Return the stores of which some tiles are covered, and the channels covered alone."""
    settings = study.config.ablation
    if settings is None or settings.occlusion is None:
        return {}
    return {each.probed: each.channels for each in ablated_stores(study)}


def weighted_probed(study: Study) -> list[Probed]:
    """Return what heads are trained on that weight the channels."""
    settings = study.config.ablation
    if settings is None or not settings.weights:
        return []
    return [probed for probed in ablated_probed(study) if probed.channels == REPLICATE]


def not_ablated(study: Study) -> list[str]:
    """Return why the channels of something that was asked for are not ablated, in sentences."""
    return list(dict.fromkeys(found for found in _considered(study) if isinstance(found, str)))


def unknown_names(study: Study) -> Iterator[tuple[str, str, list[str]]]:
    """Yield key, name and the known names of everything in `ablation` that the study lacks."""
    settings = study.config.ablation
    if settings is None:
        return
    channels = {c for located in study.image_datasets.values() for c in located.card.channels}
    known = {
        "backbones": list(dict.fromkeys([*study.uncorrected, *study.backbones])),
        "channel_strategies": list(study.config.channel_strategies),
        "channels": sorted(channels),
    }
    for key, names in known.items():
        for name in getattr(settings, key) or ():
            if name not in names:
                yield key, name, names


def _considered(study: Study) -> Iterator[AblatedStore | str]:
    """Yield what is ablated, and sentences on what is not."""
    settings = study.config.ablation
    if settings is None or not study.config.scored:
        return
    for dataset, located in study.datasets.items():
        if study.is_table(dataset):
            yield f"`{dataset}` is a table of features: it has no channels."
        elif len(located.card.channels) < 2:
            yield f"`{dataset}` has one channel: nothing would be left."
        elif settings.channels and not set(settings.channels) & set(located.card.channels):
            yield f"`{dataset}` has none of the channels {', '.join(settings.channels)}."
        else:
            if PERMUTED in settings.kinds and located.card.published is not None:
                yield (
                    f"Channels of `{dataset}` are not permuted: its tiles are in an object store, "
                    "which is read in turn."
                )
            for probed in study.probed():
                if probed.dataset == dataset and _is_chosen(study, settings, probed):
                    yield from _of_store(study, settings, probed)


def _is_chosen(study: Study, settings: AblationSettings, probed: Probed) -> bool:
    """Return whether a store is asked for; corrected ones, and single channels, never are."""
    if probed.correction is not None or single_channel(probed.channels) is not None:
        return False
    if settings.backbones is None:
        named = study.backbones[probed.backbone].card.is_network
    else:
        named = bool({probed.representation, probed.backbone} & set(settings.backbones))
    family, wanted = family_of(probed.channels), settings.channel_strategies
    if not study.backbones[probed.backbone].card.is_network or wanted is None:
        return named and family != MAP_RANDOM
    return named and family in wanted


def _of_store(
    study: Study, settings: AblationSettings, probed: Probed
) -> Iterator[AblatedStore | str]:
    card = study.datasets[probed.dataset].card
    seen = _seen(study, probed)
    if len(seen) < 2:
        yield (
            f"`{probed.representation} / {probed.channels}` sees one channel of "
            f"`{probed.dataset}` only: nothing would be left."
        )
        return
    chosen = [c for c in seen if settings.channels is None or c in settings.channels]
    kinds = [k for k in settings.kinds if k != PERMUTED or card.published is None]
    ablations = tuple(Ablation(kind, channel) for kind in kinds for channel in chosen)
    if ablations:
        yield AblatedStore(probed, ablations)


def _seen(study: Study, probed: Probed) -> list[str]:
    """Return the channels of a dataset that a store sees."""
    backbone = study.backbones[probed.backbone].card
    channels = study.datasets[probed.dataset].card.channels
    if not backbone.is_network:
        return list(channels)
    dropped = assign(probed.stored_channels, channels, backbone.named_slots).dropped
    return [channel for channel in channels if channel not in dropped]
