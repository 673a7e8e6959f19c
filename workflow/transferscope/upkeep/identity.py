"""Whether stores were made from what their place, and the study, say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transferscope.config.paths import StudyPaths
from transferscope.config.probed import CORRECTED_BY, UNCORRECTED, Probed
from transferscope.steps.plan import Plan
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.reader import StoreReader
from transferscope.stores.target_store import TargetStore
from transferscope.stores.tile_store import REDUCED_TO, TILES_SHA256, TileStore
from transferscope.study.reductions import reduced_side

# What it means where a store does not say it; anything else is not known then.
UNSAID = {CORRECTED_BY: UNCORRECTED, REDUCED_TO: None}


def differences(
    paths: StudyPaths, readers: Mapping[Path, StoreReader], plan: Plan | None
) -> Iterator[tuple[Path, str]]:
    """Yield the manifest of each store that was made from something else, and what that is.

    Parameters
    ----------
    paths
        Paths of the study.
    readers
        Its sound stores by manifest.
    plan
        What the study asks for; None: only the places are compared.
    """
    for manifest, reader in readers.items():
        if isinstance(reader, TileStore):
            expected = _of_tiles(manifest, reader, plan)
            if manifest != paths.tiles(manifest.stem):
                expected |= _made_from(readers.get(paths.tiles(manifest.stem)))
                if manifest.parent.name != str(reader.reduced_to):
                    yield manifest, f"its tiles are not of {manifest.parent.name} px"
        elif isinstance(reader, TargetStore):
            expected = _of_masks(paths, manifest, readers, plan)
        else:
            tiles = readers.get(paths.tiles(manifest.parents[1].name))
            expected = _of_embeddings(manifest, tiles, plan)
        for key, value in expected.items():
            # Stores of older versions do not say everything.
            found = reader.attributes.get(key, UNSAID.get(key, value))
            if found != value:
                yield manifest, f"its {key} is {found}, not {value}"
        if isinstance(reader, EmbeddingStore):
            tiles = readers.get(paths.tiles(manifest.parents[1].name))
            if tiles is not None and tiles.manifest.ids_sha256 != reader.manifest.ids_sha256:
                yield manifest, "its tile ids are not those of the tile store"


def _of_tiles(manifest: Path, reader: TileStore, plan: Plan | None) -> dict[str, Any]:
    # Published tiles have the name of another study's dataset.
    expected: dict[str, Any] = {} if reader.is_remote else {"dataset": manifest.stem}
    datasets = plan.study.all_datasets if plan is not None else {}
    if manifest.stem in datasets:
        expected["channels"] = datasets[manifest.stem].card.channels
    return expected


def _made_from(tiles: StoreReader | None) -> dict[str, Any]:
    """Return what a store is expected to say of the tiles that it was made from."""
    return {} if tiles is None else {TILES_SHA256: tiles.content_sha256}


def _of_masks(
    paths: StudyPaths, manifest: Path, readers: Mapping[Path, StoreReader], plan: Plan | None
) -> dict[str, Any]:
    """Return what true masks are expected to say of themselves, or predicted ones."""
    expected: dict[str, Any] = {"dataset": manifest.stem}
    is_true = manifest == paths.targets(manifest.stem)
    if not is_true:
        dataset, backbone, _ = manifest.parts[-3:]
        expected = {"dataset": dataset, "backbone": backbone, "channels": manifest.stem}
    expected |= _made_from(readers.get(paths.tiles(expected["dataset"])))
    datasets = plan.study.all_datasets if plan is not None else {}
    named = datasets.get(expected["dataset"]) if is_true else None
    masks = named.card.masks if named is not None else None
    if masks is not None:
        expected |= {"kind": masks.kind, "classes": list(masks.names)}
    return expected


def _of_embeddings(manifest: Path, tiles: StoreReader | None, plan: Plan | None) -> dict[str, Any]:
    probed = Probed(manifest.parents[1].name, manifest.parent.name, manifest.stem)
    backbone, expected = probed.backbone, {**probed.origin, **_made_from(tiles)}
    backbones = plan.study.backbones if plan is not None else {}
    if backbone in backbones:
        card = backbones[backbone].card
        # The card that runs has the size of the tiles, or the weights that were trained here.
        if not card.trained_here and getattr(card, "scale", "fit") == "fit":
            expected["card_fingerprint"] = card.fingerprint()
        is_corrected = probed.correction is not None
        if plan and not is_corrected and probed.dataset in plan.study.image_datasets:
            expected[REDUCED_TO] = reduced_side(plan.study, probed.dataset, backbone)
    return expected
