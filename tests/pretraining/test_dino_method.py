"""DINO against the equations of Caron et al., ICCV 2021, section 3.1 and algorithm 1."""

import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from scipy.special import log_softmax, softmax
from torch import nn

from transferscope.cards import Normalization, Slot
from transferscope.cards.methods import DinoSettings
from transferscope.pretraining.methods.base import Batch, Parts
from transferscope.pretraining.methods.dino import (
    Crops,
    Dino,
    entropies,
    teacher_momentum,
    teacher_temperature,
)
from transferscope.pretraining.methods.inputs import NetworkInputs

WIDTH = 5
BATCH = 3
SETTINGS = DinoSettings(
    method="dino",
    local_crops=2,
    output_width=7,
    hidden_width=6,
    bottleneck_width=4,
    teacher_momentum=0.9,
    center_momentum=0.8,
    teacher_temperature=0.05,
    student_temperature=0.1,
    warmup_teacher_temperature=0.05,
)


class Pooled(nn.Module):
    """The smallest encoder that takes images of any size."""

    num_features = WIDTH

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(2, WIDTH)

    def forward(self, images):
        return self.mix(images.mean(dim=(2, 3)))


def unchanged(size, scale, channels):
    return lambda images, generator: images[..., :size, :size]


def method(settings=SETTINGS, n_datasets=1):
    torch.manual_seed(0)
    inputs = NetworkInputs([Slot(name="nucleus"), Slot(name="protein")], Normalization(kind="none"))
    parts = Parts(Pooled, 2, 8, inputs, unchanged, n_datasets=n_datasets)
    return Dino(settings.model_copy(update={"local_size": 4}), parts)


def views(dataset=0):
    generator = torch.Generator().manual_seed(1)
    sizes = [
        torch.randn(2 * BATCH, 2, 8, 8, generator=generator),
        torch.randn(SETTINGS.local_crops * BATCH, 2, 4, 4, generator=generator),
    ]
    return Crops(sizes, dataset)


def published_head(network, images):
    """Three layers with GELU, l2 normalisation, a layer of weights of length one."""
    encoder, head = network
    state = {name: value.detach().double().numpy() for name, value in head.state_dict().items()}
    values = encoder(images).detach().double().numpy()
    for layer in (0, 2):
        values = values @ state[f"layers.{layer}.weight"].T + state[f"layers.{layer}.bias"]
        values = values * 0.5 * (1 + np.vectorize(math.erf)(values / math.sqrt(2)))
    values = values @ state["layers.4.weight"].T + state["layers.4.bias"]
    values = values / np.linalg.norm(values, axis=1, keepdims=True)
    last = state["last_layer.weight_v"]
    return values @ (last / np.linalg.norm(last, axis=1, keepdims=True)).T


def published_loss(taught, learned, center):
    """Algorithm 1: the mean over all pairs of a global crop and another crop, and over images."""
    terms = []
    for i in range(2):
        p = softmax((taught[i] - center) / SETTINGS.teacher_temperature, axis=1)
        for j in range(2 + SETTINGS.local_crops):
            if i != j:
                log_q = log_softmax(learned[j] / SETTINGS.student_temperature, axis=1)
                terms.append(-(p * log_q).sum(axis=1).mean())
    return np.mean(terms)


def test_the_loss_and_the_centre_are_those_that_were_published():
    dino = method()
    with torch.no_grad():
        for parameter in (p for p in dino.student.parameters() if p.requires_grad):
            parameter.add_(torch.randn(parameter.shape) * 0.1)
        dino.criteria[0].center.copy_(torch.randn(1, 1, 7) * 0.02)
    center = dino.criteria[0].center[0, 0].double().numpy()
    crops = views()
    loss, parts = dino.loss(crops, 0.5, torch.Generator())

    taught = published_head(dino.teacher, crops.sizes[0]).reshape(2, BATCH, -1)
    learned = np.concatenate([published_head(dino.student, one) for one in crops.sizes])
    expected = published_loss(taught, learned.reshape(4, BATCH, -1), center)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert parts["dino"].item() == loss.item()
    momentum = SETTINGS.center_momentum
    moved = momentum * center + (1 - momentum) * taught.mean(axis=(0, 1))
    np.testing.assert_allclose(dino.criteria[0].center[0, 0].numpy(), moved, atol=1e-6)


def test_the_teacher_learns_from_the_student_alone():
    dino = method()
    loss, _ = dino.loss(views(), 0.5, torch.Generator())
    loss.backward()
    assert all(p.grad is None for p in dino.teacher.parameters())
    assert all(p.grad is not None for p in dino.student.parameters() if p.requires_grad)
    assert dino.encoder is dino.teacher[0]
    trained = {id(p) for group in dino.parameter_groups() for p in group["params"]}
    assert trained == {id(p) for p in dino.student.parameters() if p.requires_grad}


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_the_teacher_is_a_moving_average_along_a_cosine(progress):
    dino = method()
    with torch.no_grad():
        for parameter in dino.student.parameters():
            parameter.add_(1.0)
    before = [p.clone() for p in dino.teacher.parameters()]
    dino.after_step(progress)
    share = 1 - 0.5 * (1 - 0.9) * (1 + math.cos(math.pi * progress))
    assert teacher_momentum(0.9, progress) == pytest.approx(share)
    for old, new, student in zip(
        before, dino.teacher.parameters(), dino.student.parameters(), strict=True
    ):
        torch.testing.assert_close(new, share * old + (1 - share) * student)


def test_the_teachers_temperature_warms_up_linearly():
    settings = SETTINGS.model_copy(
        update={"warmup": 0.3, "warmup_teacher_temperature": 0.04, "teacher_temperature": 0.07}
    )
    found = [teacher_temperature(settings, progress) for progress in (0, 0.15, 0.3, 0.9)]
    assert found == pytest.approx([0.04, 0.055, 0.07, 0.07])


@pytest.mark.parametrize(("progress", "moves"), [(0.05, False), (0.15, True)])
def test_the_last_layer_is_kept_at_first(progress, moves):
    dino = method(SETTINGS.model_copy(update={"freeze_last_layer": 0.1}))
    dino.loss(views(), progress, torch.Generator())[0].backward()
    assert bool(dino.student[1].last_layer.weight_v.grad.any()) is moves
    assert bool(dino.student[1].layers[0].weight.grad.any())


def found_entropies(probabilities):
    names = ["teacher_entropy", "teacher_diversity", "teacher_information"]
    found = entropies(probabilities)
    assert list(found) == names
    return [value.item() for value in found.values()]


def test_every_kind_of_collapse_is_seen():
    uniform = torch.full((6, 4), 0.25)
    assert found_entropies(uniform) == pytest.approx([1, 1, 0])
    one = torch.eye(4)[torch.zeros(6, dtype=torch.long)]
    assert found_entropies(one) == pytest.approx([0, 0, 0])
    # What every image tells is neither uniform nor one output, but it is the same.
    alike = torch.tensor([[0.5, 0.5, 0.0, 0.0]]).expand(6, -1)
    assert found_entropies(alike) == pytest.approx([0.5, 0.5, 0])
    assert found_entropies(torch.eye(4)) == pytest.approx([0, 1, 1])


def test_what_is_watched_is_that_of_the_last_batch():
    dino = method()
    assert dino.watch() == {}
    dino.loss(views(), 0.5, torch.Generator())
    assert 0 < dino.watch()["teacher_entropy"] <= dino.watch()["teacher_diversity"] <= 1


def test_each_image_has_two_global_and_several_local_crops():
    batch = Batch(torch.rand(BATCH, 2, 8, 8), ("nucleus", "protein"))
    shapes = [tuple(one.shape) for one in method().views(batch, torch.Generator()).sizes]
    assert shapes == [(2 * BATCH, 2, 8, 8), (2 * BATCH, 2, 4, 4)]
    without = SETTINGS.model_copy(update={"local_crops": 0})
    assert len(method(without).views(batch, torch.Generator()).sizes) == 1


def test_each_dataset_has_a_centre_of_its_own():
    dino = method(n_datasets=2)
    batch = Batch(torch.rand(BATCH, 2, 8, 8), ("nucleus", "protein"), dataset=1)
    crops = dino.views(batch, torch.Generator())
    dino.loss(crops, 0.5, torch.Generator())
    assert not dino.criteria[0].center.any()
    assert dino.criteria[1].center.any()


def centre_of_one_process(rank, address, taught, found):
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    try:
        dino = method()
        dino.criteria[0].update_center(taught[:, rank::2])
        found[rank] = dino.criteria[0].center[0, 0]
    finally:
        dist.destroy_process_group()


def test_two_processes_have_the_centre_of_the_whole_batch(tmp_path):
    taught = torch.randn(2, 6, 7, generator=torch.Generator().manual_seed(0))
    found = torch.zeros(2, 7).share_memory_()
    address = f"file://{tmp_path / 'meeting-point'}"
    mp.spawn(centre_of_one_process, (address, taught, found), nprocs=2)
    alone = method()
    alone.criteria[0].update_center(taught)
    torch.testing.assert_close(found, alone.criteria[0].center[0].expand(2, -1))
