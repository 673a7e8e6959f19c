import torch
from torch import nn

from transferscope.backbones.weights import weights_sha256


def test_the_digest_of_weights_sees_values_and_names() -> None:
    torch.manual_seed(0)
    a = nn.Linear(3, 3)
    before = weights_sha256(a)
    assert before == weights_sha256(a)
    assert weights_sha256(nn.Sequential(a)) != before
    a.weight.data[0, 0] += 1e-6
    assert weights_sha256(a) != before
