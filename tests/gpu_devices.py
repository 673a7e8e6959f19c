"""The devices that a test of a GPU's results runs on: the processor as well, wherever it runs."""

import pytest
import torch

CPU = torch.device("cpu")
GPU = pytest.param(
    torch.device("cuda", 0),
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU"),
    ],
)
# Of `pytest -m gpu`, the processor's are left out: they test the code of the test.
DEVICES = [CPU, GPU]
