"""What a study trains on one of its datasets and tests on another one, and what it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations

from transferscope.cards import DatasetCard
from transferscope.config.channel_strategies import FEATURES, REPLICATE
from transferscope.config.probed import Probed
from transferscope.config.transfer import SharedClass
from transferscope.study.study import Study

MIN_CLASSES = 2
# Strategies whose columns are those of one channel after the other.
CONCATENATED = (REPLICATE, FEATURES)


@dataclass(frozen=True, order=True)
class Transfer:
    """Probes that are trained on one dataset and tested on another one.

    Parameters
    ----------
    source
        The dataset that is trained on.
    probed
        What is tested: dataset, representation and channel strategy.
    """

    source: str
    probed: Probed

    @property
    def trained(self) -> Probed:
        """What is trained on."""
        return replace(self.probed, dataset=self.source)


def transfers(study: Study) -> list[Transfer]:
    """Return everything that is trained on one dataset and tested on another one."""
    return [found for found in _considered(study) if isinstance(found, Transfer)]


def not_transferred(study: Study) -> list[str]:
    """Return why datasets, or representations, are not tested on others, one sentence each."""
    return list(dict.fromkeys(found for found in _considered(study) if isinstance(found, str)))


def shared_classes(source: DatasetCard, target: DatasetCard) -> list[SharedClass]:
    """Return the classes that two datasets share, in the order of the second.

    Examples
    --------
    >>> from transferscope.cards import DatasetCard
    >>> about = {"sheet": "s.csv", "channels": ["dna"]}
    >>> one = DatasetCard(name="a", labels=["G1", "G2", "M"], **about)
    >>> mapped = {"class_names": {"mitosis": "M"}}
    >>> other = DatasetCard(name="b", labels=["mitosis", "G1"], **mapped, **about)
    >>> [(each.name, each.source, each.target) for each in shared_classes(one, other)]
    [('M', ['M'], ['mitosis']), ('G1', ['G1'], ['G1'])]
    """
    both = [_by_name(card) for card in (source, target)]
    return [
        SharedClass(name=name, source=both[0][name], target=labels)
        for name, labels in both[1].items()
        if name in both[0]
    ]


def _by_name(card: DatasetCard) -> dict[str, list[str]]:
    """Return the labels of each class, by its name in other datasets."""
    found: dict[str, list[str]] = {}
    for label in card.labels:
        found.setdefault(card.class_names.get(label, label), []).append(label)
    return found


def _considered(study: Study) -> Iterator[Transfer | str]:
    """Yield what is transferred, and sentences on what is not."""
    settings = study.config.transfer
    if settings is None or not study.config.scored:
        return
    chosen = [
        name for name in study.datasets if settings.datasets is None or name in settings.datasets
    ]
    for source, target in permutations(chosen, 2):
        # What stands in the way does so in both directions.
        first, second = sorted((source, target))
        if reason := _of_pair(study, source, target):
            yield f"`{first}` and `{second}` are not tested on each other: {reason}."
            continue
        trained = {(p.representation, p.channels) for p in study.probed() if p.dataset == source}
        for probed in study.probed():
            if probed.dataset != target:
                continue
            what = f"{probed.representation} / {probed.channels}"
            if (probed.representation, probed.channels) not in trained:
                yield f"`{what}` is not on both `{first}` and `{second}`."
            elif reason := _of_store(study, source, probed):
                yield f"`{what}` is not tested between `{first}` and `{second}`: {reason}."
            else:
                yield Transfer(source, probed)


def _of_pair(study: Study, source: str, target: str) -> str:
    """Return why nothing of two datasets is transferred; empty if there is no reason."""
    cards = [study.datasets[name].card for name in (source, target)]
    n_shared = len(shared_classes(cards[0], cards[1]))
    if n_shared < MIN_CLASSES:
        return f"they share {n_shared} classes (`class_names` of a card maps them)"
    if cards[0].task != cards[1].task:
        return "one has several labels per tile, the other one"
    if study.is_table(source) != study.is_table(target):
        return "one is a table of features, the other has images"
    if source in study.same_images(target):
        return "they show the same images"
    return ""


def _of_store(study: Study, source: str, probed: Probed) -> str:
    """Return why a store is not transferred; empty if there is no reason."""
    channels = [study.datasets[name].card.channels for name in (source, probed.dataset)]
    concatenated = probed.channels in CONCATENATED
    if concatenated and not study.is_table(source) and channels[0] != channels[1]:
        named = " and ".join(", ".join(each) for each in channels)
        return f"its columns are of one channel after the other, and channels differ ({named})"
    if probed.backbone in study.trained:
        return "the backbone is trained in this study, on some of these images"
    return ""
