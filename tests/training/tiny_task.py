"""A tiny task that draws at random, has a moving average, and can be run as a program."""

import argparse
import copy
import os
import signal
from pathlib import Path

import torch
from torch import nn

from transferscope.config.compute import ComputeSettings
from transferscope.config.training import OptimiserSettings
from transferscope.training.fabric import training_fabric
from transferscope.training.loop import EarlyStop, StopTraining, TrainingPlan, train
from transferscope.training.order import BatchOrder

SETTINGS = OptimiserSettings(learning_rate=0.05, warmup=0.2, final_weight_decay=0.4, clip=1.0)


class TinyTask:
    """Learns to undo noise on 8 numbers; its target is a moving average of itself."""

    def __init__(self, *, kill_at=None, terminate_at=None, rank=0, world_size=1, noisy=True):
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 8))
        if not noisy:
            self.network[2] = nn.Identity()
        self.teacher = copy.deepcopy(self.network).requires_grad_(False)
        self.data = torch.randn(24, 8)
        self.order = BatchOrder(24, 8, seed=1, rank=rank, world_size=world_size)
        self.kill_at, self.terminate_at, self.noisy = kill_at, terminate_at, noisy
        self.collapse_at = self.enough_at = None
        self.steps = []

    def modules(self):
        return {"network": self.network, "teacher": self.teacher}

    def parameter_groups(self):
        weights = [w for n, w in self.network.named_parameters() if n.endswith("weight")]
        biases = [w for n, w in self.network.named_parameters() if n.endswith("bias")]
        return [{"params": weights}, {"params": biases, "wd_scale": 0.0, "lr_scale": 0.5}]

    def loss(self, step, generator):
        self.steps.append(step)
        if step == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if step == self.terminate_at:
            os.kill(os.getpid(), signal.SIGTERM)
        images = self.data[self.order.rows(step)]
        noise = torch.randn(images.shape, generator=generator) if self.noisy else 0.0
        found = self.network(images + noise)
        drift = (found - self.teacher(images)).square().mean()
        loss = (found - images).square().mean() + 0.1 * drift
        return loss, {"drift": drift.detach()}

    def after_step(self, step):
        for mean, weight in zip(self.teacher.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(weight.detach(), 0.1)

    def at_epoch_end(self, epoch):
        if epoch == self.collapse_at:
            raise StopTraining("all embeddings are alike")
        if epoch == self.enough_at:
            raise EarlyStop("no better for long", {"norm": 0.5})
        return {"norm": float(self.network[0].weight.detach().norm())}

    def waited(self):
        return 0.0


def plan(folder, **changes):
    """Return a plan of 30 steps, 3 an epoch, that saves after every step."""
    values = {
        "name": "tiny",
        "n_steps": 30,
        "steps_an_epoch": 3,
        "batch_size": 8,
        "seed": 3,
        "fingerprint": "f" * 64,
        "checkpoint": folder / "tiny.checkpoint.pt",
        "history": folder / "tiny.history.parquet",
        "checkpoint_minutes": 0.0,
    }
    return TrainingPlan(**{**values, **changes})


def run(task, folder, **changes):
    """Train a task on the processor, in fp32."""
    fabric = training_fabric(ComputeSettings(device="cpu", precision="fp32", threads=1))
    return train(task, SETTINGS, plan(folder, **changes), fabric)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kill-at", type=int)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    settings = ComputeSettings(device="cpu", precision="fp32", threads=1)
    fabric = training_fabric(settings, given.processes)
    task = TinyTask(
        kill_at=given.kill_at,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        noisy=given.processes == 1,
    )
    train(task, SETTINGS, plan(given.folder, checkpoint_minutes=given.minutes), fabric)


if __name__ == "__main__":
    main()
