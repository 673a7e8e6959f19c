"""DINO on fixed views, as a program of one process or several: writes its first gradients."""

import argparse
from pathlib import Path

import torch

from factories import TRAINED
from transferscope.cards import BackboneCard
from transferscope.config.compute import ComputeSettings
from transferscope.config.model import validate
from transferscope.pretraining.methods.dino import Crops
from transferscope.pretraining.methods.registry import build_method
from transferscope.training.fabric import training_fabric
from transferscope.training.loop import TrainingPlan, train

IMAGES = 8
STEPS = 2


class FixedViews:
    """Crops of eight images, of which each process sees its share."""

    def __init__(self, method, rank, world_size):
        self.method, self.rank, self.world_size = method, rank, world_size

    def modules(self):
        return {"method": self.method}

    def parameter_groups(self):
        return self.method.parameter_groups()

    def loss(self, step, generator):
        drawn = torch.Generator().manual_seed(step)
        mine = slice(*(IMAGES * part // self.world_size for part in (self.rank, self.rank + 1)))
        crops = [
            torch.randn(count, IMAGES, 3, size, size, generator=drawn)[:, mine].flatten(0, 1)
            for count, size in ((2, 32), (2, 16))
        ]
        return self.method.loss(Crops(crops, dataset=0), step / STEPS, generator)

    def after_step(self, step):
        self.method.after_step(step / STEPS)

    def at_epoch_end(self, epoch):
        return {}

    def waited(self):
        return 0.0


def keep_first_gradients(kept):
    """Make AdamW keep the gradients of its first step."""
    step = torch.optim.AdamW.step

    def noted(self, *arguments, **keywords):
        if not kept:
            groups = self.param_groups
            kept.extend(w.grad.clone() for g in groups for w in g["params"] if w.grad is not None)
        return step(self, *arguments, **keywords)

    torch.optim.AdamW.step = noted


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("processes", type=int)
    given = parser.parse_args()
    compute = ComputeSettings(device="cpu", precision="fp32", threads=1)
    fabric = training_fabric(compute, given.processes)
    card = validate({**TRAINED, "name": "own"}, BackboneCard, "own.yaml")
    torch.manual_seed(0)
    method = build_method(card, card.objective, card.augmentation, card.seed)
    kept = []
    keep_first_gradients(kept)
    plan = TrainingPlan(
        name="own",
        n_steps=STEPS,
        steps_an_epoch=STEPS,
        batch_size=IMAGES,
        seed=0,
        fingerprint="",
        checkpoint=given.output.with_suffix(".pt"),
    )
    task = FixedViews(method, fabric.global_rank, fabric.world_size)
    history = train(task, card.optimiser, plan, fabric).frame()
    if fabric.is_global_zero:
        buffers = {name: value for name, value in method.named_buffers() if "cent" in name}
        losses = torch.tensor(history["loss"].to_numpy())
        torch.save({"gradients": kept, "buffers": buffers, "losses": losses}, given.output)


if __name__ == "__main__":
    main()
