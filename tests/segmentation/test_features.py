"""Feature maps are what embeddings are pooled from, through the same preprocessing."""

import numpy as np
import pytest
import torch
from tiny_masks import COMPUTE, squares, write_mask_job

from factories import TINY_NETWORK
from transferscope.backbones.network_embedder import NetworkEmbedder
from transferscope.backbones.readout import Backbone
from transferscope.channels.assignment import assign
from transferscope.errors import UserError
from transferscope.finetuning.network import open_backbone
from transferscope.segmentation.features import MapReader, compute_maps, maps_of
from transferscope.stores.tile_store import TileStore
from transferscope.training.tiles import TrainingTiles

CPU = torch.device("cpu")


def reader(job, channels="map", decoders=()):
    store = TileStore(job.files.tiles)
    return MapReader(
        *open_backbone(store, job.card, job.card_path, channels, None, "fp32", None, CPU), decoders
    )


def embedded(job, channels="map"):
    """Return the output `mean` of the first tiles as embedding makes it, by pass."""
    store = TileStore(job.files.tiles)
    found = NetworkEmbedder(
        job.card,
        job.card_path,
        store.channels,
        store.intensity_range,
        assign(channels, store.channels, job.card.named_slots),
        COMPUTE,
    )
    rows = found.collected([found(store.read(0, 3))])
    columns = [c for c in found.columns() if c["output"] == "mean"]
    found.close()
    return np.concatenate([rows[:, c["start"] : c["stop"]] for c in columns], axis=1)


@pytest.fixture
def job(tmp_path):
    return write_mask_job(tmp_path, *squares())


@pytest.mark.parametrize("channels", ["map", "replicate"])
def test_the_mean_of_a_map_is_the_embedding(job, channels):
    raw = torch.from_numpy(TileStore(job.files.tiles).read(0, 3))
    (found,) = reader(job, channels)(raw)
    passes = 2 if channels == "replicate" else 1
    assert found.shape == (3, 48 * passes, 4, 4)
    np.testing.assert_allclose(found.mean(dim=(2, 3)), embedded(job, channels), atol=1e-4)


def test_passes_are_joined_averaged_or_chosen(job):
    raw = torch.from_numpy(TileStore(job.files.tiles).read(0, 3))
    ((joined,), (averaged,), (one,)) = (
        reader(job, channels)(raw) for channels in ("replicate", "mean", "only-protein")
    )
    first, second = joined.split(48, dim=1)
    torch.testing.assert_close(averaged, (first + second) / 2)
    torch.testing.assert_close(one, second)


def test_changing_the_mean_of_the_card_changes_embedding_and_segmentation_alike(tmp_path):
    found = []
    for mean in (0.5, 0.1):
        network = {"normalization": {"kind": "mean-std", "mean": [mean], "std": [0.25]}}
        job = write_mask_job(tmp_path / str(mean), *squares(), network=network)
        raw = torch.from_numpy(TileStore(job.files.tiles).read(0, 3))
        (maps,) = reader(job)(raw)
        np.testing.assert_allclose(maps.mean(dim=(2, 3)), embedded(job), atol=1e-4)
        found.append(maps)
    assert (found[0] - found[1]).abs().max() > 0.1


def test_a_convolutional_network_has_a_pyramid(tmp_path):
    network = {"architecture": "resnet18", "arguments": {}, "input_size": 64}
    network["outputs"] = [{"name": "pool", "pooling": "pool"}]
    job = write_mask_job(tmp_path, *squares(), network=network)
    read = reader(job)
    tiles = TrainingTiles.open(job.files.tiles, np.array([1, 5, 7]))
    maps = compute_maps(tiles, read, 2, tmp_path)
    assert [level.shape[2] for level in maps.levels] == [16, 8, 4, 2]
    assert [level.stride for level in maps.described] == [4, 8, 16, 32]
    assert maps.places(np.array([7, 1])).tolist() == [2, 0]
    whole = read(torch.from_numpy(TileStore(job.files.tiles).read(5, 6)))
    for level, values in zip(maps.levels, whole, strict=True):
        np.testing.assert_allclose(level[1], values[0], atol=2e-3, rtol=2e-3)


def test_unetr_reads_four_blocks_and_conv_image_what_the_backbone_is_fed(tmp_path):
    arguments = {**TINY_NETWORK["arguments"], "patch_size": 8, "depth": 6}
    job = write_mask_job(tmp_path, *squares(), network={"arguments": arguments})
    raw = torch.from_numpy(TileStore(job.files.tiles).read(0, 3))
    read = reader(job, decoders=["unetr", "conv-image", "linear"])
    found, network, tokens = read(raw), read.backbone.network, []
    for block in network.blocks:
        block.register_forward_hook(lambda *given: tokens.append(given[-1]))
    images = read.source.evaluated(raw)
    ((filled, _),) = read.source.of_each_pass(images)
    with torch.inference_mode():
        network(filled)
        # Blocks 2, 3, 4 and 6 of 6, each after the last layer norm, without the class token.
        wanted = [network.norm(tokens[n])[:, 1:].mT.unflatten(2, (4, 4)) for n in (1, 2, 3, 5)]
    for level, expected in zip(found, [images, *wanted], strict=True):
        torch.testing.assert_close(level, expected)
    described = [(one.kind, one.width, one.side, one.stride) for one in read.described(found)]
    assert described == [("image", 2, 32, 1), *[("block", 48, 4, 8)] * 3, ("map", 48, 4, 8)]
    torch.testing.assert_close(reader(job)(raw)[0], found[-1])


def test_the_image_has_no_channel_that_the_strategy_leaves_out(job):
    raw = torch.from_numpy(TileStore(job.files.tiles).read(0, 3))
    of_both, _ = reader(job, "replicate", ["conv-image"])(raw)
    of_one, _ = reader(job, "only-protein", ["conv-image"])(raw)
    torch.testing.assert_close(of_both[:, 1:], of_one)


def test_maps_that_do_not_fit_go_to_a_file_of_equal_values(job, tmp_path, monkeypatch):
    tiles = TrainingTiles.open(job.files.tiles)
    in_memory = compute_maps(tiles, reader(job), 8, tmp_path)
    monkeypatch.setattr("transferscope.segmentation.features.MEMORY_SHARE", 0.0)
    in_file = compute_maps(tiles, reader(job), 8, tmp_path)
    assert isinstance(in_file.levels[0], np.memmap)
    assert np.array_equal(in_memory.levels[0], in_file.levels[0])


def test_tokens_of_several_channels_become_one_map():
    class OfChannels(torch.nn.Module):
        num_prefix_tokens, leaves_out_empty_slots, blocks = 1, True, [None]

        def forward_intermediates(self, images, indices, norm, channels):
            pooled = torch.nn.functional.avg_pool2d(images, 4).flatten(1)
            return None, [(pooled[:, None, :, None], pooled[:, :1])]

    images = torch.rand(2, 3, 8, 8)
    (found,) = maps_of(Backbone(OfChannels(), []), images, [0, 2])
    wanted = torch.nn.functional.avg_pool2d(images[:, [0, 2]], 4).mean(dim=1, keepdim=True)
    torch.testing.assert_close(found, wanted)


def test_a_network_without_maps_is_refused():
    with pytest.raises(UserError, match="gives out no maps"):
        maps_of(Backbone(torch.nn.Linear(2, 2), []), torch.rand(1, 3, 8, 8))
