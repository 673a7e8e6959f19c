import numpy as np
import torch
from scipy.optimize import rosen

from transferscope.probes.lbfgs import minimise


def identity(gradients: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return gradients


def test_many_quadratics_are_solved_each_at_its_own_pace() -> None:
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(6, 8, 8))
    matrices = torch.from_numpy(roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(8))
    targets = torch.from_numpy(rng.normal(size=(6, 8)))

    def objective(x: torch.Tensor, which: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        product = torch.einsum("pij,pj->pi", matrices[which], x)
        values = (x * product).sum(dim=1) / 2 - (x * targets[which]).sum(dim=1)
        return values, product - targets[which]

    start = torch.zeros(6, 8, dtype=torch.float64)
    found, ended = minimise(objective, identity, start, 1e-7, 500)
    assert ended.all()
    expected = torch.linalg.solve(matrices, targets)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    alone, _ = minimise(
        lambda x, which: objective(x, which + 3), identity, start[:1].clone(), 1e-7, 500
    )
    np.testing.assert_allclose(alone[0], found[3], atol=1e-6)


def test_a_curved_valley_is_followed_to_its_minimum() -> None:
    def objective(x: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            a, b = x[:, 0], x[:, 1]
            values = 100 * (b - a**2) ** 2 + (1 - a) ** 2
            (gradients,) = torch.autograd.grad(values.sum(), x)
        return values.detach(), gradients

    start = torch.tensor([[-1.2, 1.0], [2.0, 2.0]], dtype=torch.float64)
    found, ended = minimise(objective, identity, start, 1e-8, 500)
    assert ended.all()
    assert max(rosen(x) for x in found.numpy()) < 1e-8


def test_running_out_of_steps_is_told() -> None:
    def objective(x: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (x**4).sum(dim=1), 4 * x**3

    start = torch.full((2, 3), 0.7, dtype=torch.float64)
    _, ended = minimise(objective, identity, start, 1e-12, 2)
    assert not ended.any()
