"""Which stores of a study are joined, and why others are not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from transferscope.config.channel_strategies import (
    FEATURES,
    GIVEN,
    MAP_RANDOM,
    family_of,
    single_channel,
)
from transferscope.config.joining import JoiningSettings, joined_name
from transferscope.config.model import Model
from transferscope.config.probed import Probed, backbone_of
from transferscope.config.study import StudyConfig
from transferscope.probes.probe import FrozenProbe
from transferscope.probes.registry import HEADS, KNN
from transferscope.study.study import Study

# Of stores that know no other strategy, and are joined with stores of any.
IN_ONE_WAY = (FEATURES, GIVEN)


@dataclass(frozen=True)
class JoinedStore:
    """Several stores of a dataset that are read as one.

    Parameters
    ----------
    channels
        The channel strategy that the networks among the parts have in common.
    parts
        The stores, in the order of the config.
    """

    channels: str
    parts: tuple[Probed, ...]

    @property
    def probed(self) -> Probed:
        """What is evaluated, as tables and paths name it."""
        name = joined_name([each.representation for each in self.parts])
        return Probed(self.parts[0].dataset, name, self.channels)


def joining_probes(config: StudyConfig) -> dict[FrozenProbe, Model]:
    """Return the probes of joined stores, with their settings: logistic regression and k-NN.

    To both, a store joined with its own copy is the store alone. Heads that AdamW trains for a
    number of epochs learn faster from more columns, whatever these hold.
    """
    found: dict[FrozenProbe, Model] = {HEADS: config.heads.model_copy(update={"kinds": ["logreg"]})}
    return found | ({KNN: config.knn} if KNN.wanted(config.knn) else {})


def joined_stores(study: Study) -> list[JoinedStore]:
    """Return everything that is joined."""
    return [found for found in _considered(study) if isinstance(found, JoinedStore)]


def not_joined(study: Study) -> list[str]:
    """Return why something that was asked for is not joined, in sentences."""
    return list(dict.fromkeys(found for found in _considered(study) if isinstance(found, str)))


def unknown_parts(study: Study) -> Iterator[tuple[str, str, list[str]]]:
    """Yield key, name and the known names of everything in `joining` that the study lacks."""
    settings = study.config.joining
    if settings is None:
        return
    known = list(dict.fromkeys(p.representation for p in study.probed()))
    for name in dict.fromkeys(name for names in settings.backbones for name in names):
        if name not in known:
            yield "backbones", name, known
    strategies = [s for s in study.config.channel_strategies if s != MAP_RANDOM]
    for strategy in settings.channel_strategies or ():
        if strategy not in strategies:
            yield "channel_strategies", strategy, strategies


def _considered(study: Study) -> Iterator[JoinedStore | str]:
    """Yield what is joined, and sentences on what is not."""
    settings = study.config.joining
    if settings is None or not study.config.scored:
        return
    for names in settings.backbones:
        told = " and ".join(f"`{name}`" for name in names)
        trained = [name for name in study.trained if name in set(map(backbone_of, names))]
        if trained:
            yield (
                f"{told} are not joined: `{trained[0]}` is trained in this study, on some of these "
                "images."
            )
            continue
        found = [each for name in study.datasets for each in _on(study, settings, names, name)]
        yield from found
        if not found:
            yield f"{told} are not joined: no dataset has both in one channel strategy."


def _on(
    study: Study, settings: JoiningSettings, names: list[str], dataset: str
) -> Iterator[JoinedStore]:
    """Yield the joined stores of a dataset, one per channel strategy that all parts have."""
    served = [
        [p.channels for p in study.probed() if (p.dataset, p.representation) == (dataset, name)]
        for name in names
    ]
    if not all(served):
        return
    wanted = settings.channel_strategies
    networks = [each for each in served if each[0] not in IN_ONE_WAY]
    for channels in networks[0] if networks else served[0]:
        in_all = all(channels in each for each in networks)
        is_default = family_of(channels) != MAP_RANDOM and single_channel(channels) is None
        chosen = is_default if wanted is None else channels in wanted
        if in_all and (chosen or not networks):
            of_parts = [channels if channels in each else each[0] for each in served]
            stores = zip(names, of_parts, strict=True)
            yield JoinedStore(channels, tuple(Probed(dataset, *store) for store in stores))
