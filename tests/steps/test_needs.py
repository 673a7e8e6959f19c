"""What jobs ask for follows from the study, and grows with the attempt."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from factories import DATASET_CARD, STUDY, TINY_NETWORK, write_study, write_yaml
from transferscope.costs.needs import CUDA_MB, LEAST_MINUTES
from transferscope.costs.network_costs import KnownCosts, NetworkCost
from transferscope.costs.sizes import Sizes
from transferscope.raw.sheets import SampleSheet
from transferscope.runtime import gpus
from transferscope.steps.data import FETCHED_FIELDS
from transferscope.steps.plan import Plan
from transferscope.stores.manifest import TILES_FORMAT, Manifest
from transferscope.study.loading import load_study

SMALL = NetworkCost(operations=10**9, parameters=5 * 10**6, width=192)
LARGE = NetworkCost(operations=10**12, parameters=10**9, width=1536)


@pytest.fixture
def needs_of(tmp_path, repository):
    """Return a function that makes the steps of a study whose network costs as told."""
    write_study(tmp_path)

    def make(cost=SMALL, n_tiles=36, tile=(2, 64, 64), **changes):
        config = {**STUDY, "results": str(tmp_path / "results"), **changes}
        study = load_study(config, [tmp_path, repository], "study.yaml")
        costs = KnownCosts(tmp_path / f"{cost}.json")
        if cost is not None:
            located = study.backbones["tiny"]
            costs.learn(located.card, located.path, lambda: cost)
        manifest = Manifest(TILES_FORMAT, "", (n_tiles, *tile), "", "")
        manifest.write(study.paths.tiles("cells"))
        return Plan(study, Sizes(study, costs)).steps

    return make


def wildcards(**values):
    given = {"dataset": "cells", "backbone": "tiny", "representation": "tiny", "channels": "map"}
    return SimpleNamespace(**{**given, **values})


def test_memory_and_time_double_with_each_attempt(needs_of):
    needs = needs_of()
    resources = needs["embed"].resources()
    for ask in (resources["mem_mb"], resources["runtime"]):
        first, second, third = (ask(wildcards(), attempt=n) for n in (1, 2, 3))
        assert (second, third) == (2 * first, 4 * first)


def test_an_embedding_needs_its_weights_and_its_tiles(needs_of):
    small, large = (needs_of(cost)["embed"].need(wildcards()) for cost in (SMALL, LARGE))
    # Weights of 4 bytes each, of which there are several copies while the number format is tried.
    assert large.mem_mb - small.mem_mb > 2 * 4 * 10**9 / 2**20
    assert (
        needs_of(LARGE, n_tiles=10**6)["embed"].need(wildcards()).minutes
        > 1000 * large.minutes / 15
    )
    assert needs_of(None)["embed"].need(wildcards()).mem_mb > 2 * small.mem_mb


def test_more_passes_take_longer_and_the_processor_longest(needs_of):
    one, two = (
        needs_of(LARGE, n_tiles=10**5, channel_strategies=[c])["embed"].need(wildcards(channels=c))
        for c in ("map", "replicate")
    )
    assert two.minutes - LEAST_MINUTES == pytest.approx(2 * (one.minutes - LEAST_MINUTES), rel=0.01)
    gpu = needs_of(LARGE, n_tiles=10**5, compute={"device": "auto"})["embed"].need(wildcards())
    assert gpu.minutes < one.minutes
    assert gpu.mem_mb > one.mem_mb
    features = needs_of(LARGE)["embed"].need(wildcards(backbone="handcrafted", channels="features"))
    assert features.mem_mb < one.mem_mb


def test_probes_need_their_matrix(needs_of):
    for name in ("heads", "knn", "aggregate"):
        few, many = (
            needs_of(LARGE, n_tiles=n, aggregate={"levels": ["fov"]})[name].need(wildcards())
            for n in (10, 10**6)
        )
        matrix = 4 * 10**6 * 1536 / 2 / 2**20
        assert many.mem_mb - few.mem_mb > 2 * matrix
        assert many.minutes > few.minutes


def test_steps_on_pixels_need_a_few_fields_whatever_their_number(needs_of, tmp_path):
    one_thread, many_threads = (
        needs_of(compute={"device": "cpu", "threads": n})["tiles"].need(wildcards())
        for n in (1, 1024)
    )
    assert many_threads.mem_mb > one_thread.mem_mb
    cells = {"segmentation": {"method": "watershed"}, "crop": {"size": 24}}
    card = {**DATASET_CARD, "sheet": "../../raw/samples.tsv", "cells": cells}
    write_yaml(tmp_path / "cards/datasets/cells.yaml", card)
    assert needs_of()["cells"].need(wildcards()).mem_mb >= one_thread.mem_mb


def test_fields_that_wait_from_an_object_store_are_counted(needs_of, monkeypatch):
    monkeypatch.setattr(Sizes, "field_bytes", lambda *_: 100.0 * 2**20)
    near = needs_of()["tiles"].need(wildcards())
    monkeypatch.setattr(SampleSheet, "is_remote", True)
    far = needs_of()["tiles"].need(wildcards())
    assert far.mem_mb - near.mem_mb == 100 * FETCHED_FIELDS


def test_a_network_that_is_shown_more_pixels_takes_longer(needs_of, tmp_path):
    fit = needs_of(LARGE, n_tiles=10**5)["embed"].need(wildcards())
    physical = {**TINY_NETWORK, "name": "tiny", "scale": "physical", "pixel_size_um": 0.25}
    write_yaml(tmp_path / "cards/backbones/tiny.yaml", physical)
    # 64 px at 0.5 um are 128 px at 0.25 um, where the card alone says 32 px.
    larger = needs_of(LARGE, n_tiles=10**5)["embed"].need(wildcards())
    assert larger.minutes == pytest.approx(16 * fit.minutes, rel=0.02)


def test_equal_networks_are_looked_at_once_and_remembered(tmp_path, needs_of):
    needs = needs_of()
    located, path = needs["embed"].study.backbones["tiny"], tmp_path / "costs.json"
    KnownCosts(path).learn(located.card, located.path, lambda: LARGE)
    renamed = located.card.model_copy(update={"name": "other"})
    known = KnownCosts(path)
    assert known.of(renamed, located.path) == LARGE
    known.learn(renamed, located.path, lambda: pytest.fail("it is known"))
    other = located.card.model_copy(update={"input_size": 64})
    assert known.of(other, located.path) is None
    path.write_text("[]")
    assert KnownCosts(path).of(renamed, located.path) is None


def test_a_fine_tuning_needs_more_than_the_embedding_and_takes_longer_with_each_epoch(needs_of):
    def need(epochs, mode="full"):
        settings = {"backbones": ["cards/backbones/tiny.yaml"], "epochs": epochs}
        needs = needs_of(LARGE, n_tiles=10**4, finetune=settings)
        return needs["finetune"].need(wildcards(tuned_head=f"finetune-{mode}")), needs

    (short, needs), (long, _) = need(10), need(20)
    embedding, once = needs["embed"].need(wildcards()), need(10, "head")[0]
    assert short.mem_mb > embedding.mem_mb
    assert embedding.minutes < once.minutes < short.minutes
    assert long.minutes - once.minutes == pytest.approx(
        2 * (short.minutes - once.minutes), rel=0.01
    )


def test_every_step_that_a_cluster_runs_says_what_it_needs(needs_of):
    steps = needs_of(
        aggregate={"levels": ["fov"]},
        figures={"gallery": 4},
        finetune={"backbones": ["cards/backbones/tiny.yaml"]},
    )
    for step in steps.values():
        values = {**wildcards().__dict__, **step.planned[0]}
        assert step.need(SimpleNamespace(**values)).mem_mb > 500
    assert len(steps) >= 15


def test_a_study_that_is_yet_to_be_fetched_asks_no_network(tmp_path, repository, monkeypatch):
    monkeypatch.setattr("socket.socket", None)
    config = {**STUDY, "datasets": ["opencell"], "results": str(tmp_path)}
    write_study(tmp_path)
    study = load_study(config, [tmp_path, repository], "study.yaml")
    steps = Plan(study, Sizes(study, KnownCosts(tmp_path))).steps
    assert steps["tiles"].need(wildcards(dataset="opencell")).minutes > LEAST_MINUTES


def test_the_comparison_knows_the_operations_of_each_store(needs_of):
    strategies = ["replicate", "map", "mean", "only-protein"]
    compare = needs_of(channel_strategies=strategies)["compare"]
    stores = {"replicate": 2e9, "map": 1e9, "mean": 2e9, "only-protein": 1e9}
    expected = {f"tiny / {name}": n for name, n in stores.items()}
    assert compare.operations() == {"cells": {**expected, "handcrafted": 0}}
    assert compare.settings().operations == compare.operations()
    assert needs_of(cost=None)["compare"].operations() == {"cells": {"handcrafted": 0}}


def resources_of(step, *, here, attempt=1):
    found = step.resources(lambda: here)
    gpu = found["gpu"]
    return {
        "gpu": gpu(wildcards()) if callable(gpu) else gpu,
        "mem_mb": found["mem_mb"](wildcards(), attempt=attempt),
    }


@pytest.mark.parametrize("name", ["heads", "knn"])
@pytest.mark.parametrize("has_gpu", [True, False])
@pytest.mark.parametrize(
    ("compute", "n_tiles", "device"),
    [
        ({}, 36, "cpu"),
        ({}, 10**5, "auto"),
        ({"probe_threads": 1024}, 10**5, "cpu"),
        ({"device": "cpu"}, 10**5, "cpu"),
        ({"device": "mps"}, 10**5, "cpu"),
        ({"device": "cuda"}, 10**5, "auto"),
        ({"probes": "cpu"}, 10**5, "cpu"),
        ({"probes": "cuda"}, 36, "cuda"),
        ({"device": "cpu", "probes": "cuda"}, 36, "cuda"),
    ],
)
def test_a_probe_asks_for_a_gpu_where_it_is_faster_and_there_is_one(
    needs_of, monkeypatch, name, has_gpu, compute, n_tiles, device
):
    monkeypatch.setattr(gpus, "may_be_here", lambda: has_gpu)
    given = {"device": "auto", **compute}
    step = needs_of(LARGE, n_tiles=n_tiles, compute=given, knn={"k": [5]}, heads={})[name]
    assert step.device(wildcards()) == device
    arguments = step.unrecorded(wildcards())
    assert arguments == ([] if device == "cpu" else ["--device", device])
    asked = int(device != "cpu")
    elsewhere, here = (resources_of(step, here=here) for here in (False, True))
    assert elsewhere["gpu"] == asked
    # On this machine none is waited for in vain; a missing one that it must have is an error there.
    assert here["gpu"] == (asked if has_gpu or device == "cuda" else 0)
    on_cpu = needs_of(LARGE, n_tiles=n_tiles, compute={"device": "cpu"})[name]
    plain = resources_of(on_cpu, here=True)["mem_mb"]
    assert elsewhere["mem_mb"] - plain == (CUDA_MB if asked else 0)


def test_where_probes_run_makes_nothing_again(needs_of):
    """Neither a GPU nor the key that rules it changes what jobs depend on."""
    before = needs_of(LARGE, n_tiles=10**5, compute={"device": "auto"})
    after = needs_of(LARGE, n_tiles=10**5, compute={"device": "auto", "probes": "cpu"})
    for name, step in before.items():
        assert step.planned == after[name].planned
        for job in step.planned:
            assert step.made_from()(job) == after[name].made_from()(job)
            assert step.parameters(job) == after[name].parameters(job)


def test_probes_of_other_packages_are_given_no_gpu(needs_of):
    step = needs_of(LARGE, n_tiles=10**6, compute={"device": "auto", "probes": "cuda"})["heads"]
    step.probe = replace(step.probe, on_gpu=False)
    assert step.device(wildcards()) == "cpu"
    assert resources_of(step, here=False)["gpu"] == 0


def test_a_machine_has_a_gpu_where_a_driver_is_loaded_and_it_is_not_hidden(tmp_path, monkeypatch):
    driver, missing = tmp_path / "nvidiactl", tmp_path / "none"
    driver.touch()
    monkeypatch.setattr(gpus, "version", lambda _package: "2.11.0+cu130")
    assert gpus.may_be_here([missing, driver], {})
    assert gpus.may_be_here([driver], {"CUDA_VISIBLE_DEVICES": "0,1"})
    assert not gpus.may_be_here([missing], {})
    assert not gpus.may_be_here([driver], {"CUDA_VISIBLE_DEVICES": ""})
    assert not gpus.may_be_here([driver], {"CUDA_VISIBLE_DEVICES": "-1"})
    monkeypatch.setattr(gpus, "version", lambda _package: "2.11.0+cpu")
    assert not gpus.may_be_here([driver], {})
