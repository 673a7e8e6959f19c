from __future__ import annotations

import pytest
import torch
from timm.layers import resample_abs_pos_embed

from checkpoint_files import Values
from reference_networks import resized_positions
from transferscope.checkpoints.positions import resample_positions, sincos_positions


@pytest.mark.parametrize("prefix", [0, 1, 5])
@pytest.mark.parametrize(("old", "new"), [(14, 32), (14, 7), (3, 5), (28, 14), (14, 15)])
def test_each_family_s_rule_equals_its_equation(old: int, new: int, prefix: int) -> None:
    positions = Values()(1, prefix + old * old, 8)
    scaled = resample_positions(positions, new, prefix, "scale-factor")
    expected = resized_positions(positions, new, (new + 0.1) / old, prefix)
    torch.testing.assert_close(scaled, expected, rtol=1e-5, atol=1e-5)
    sized = resample_positions(positions, new, prefix, "size")
    torch.testing.assert_close(
        sized, resized_positions(positions, new, None, prefix), rtol=1e-5, atol=1e-5
    )
    antialiased = resample_positions(positions, new, prefix, "antialiased")
    timms = resample_abs_pos_embed(positions, [new, new], num_prefix_tokens=prefix)
    torch.testing.assert_close(antialiased, timms)
    for found in (scaled, sized, antialiased):
        assert torch.equal(found[:, :prefix], positions[:, :prefix])


def test_the_rules_differ_by_far_more_than_rounding() -> None:
    """So that none of them can stand in for another."""
    positions = Values()(1, 1 + 14 * 14, 8)
    rules = ("scale-factor", "size", "antialiased")
    for new in (7, 32):
        found = [resample_positions(positions, new, 1, rule) for rule in rules]
        assert (found[0] - found[1]).abs().max() > 1e-3
        if new < 14:
            assert (found[1] - found[2]).abs().max() > 1e-2


def test_positions_of_the_same_size_are_not_touched() -> None:
    positions = Values()(1, 10, 8)
    for rule in ("scale-factor", "size", "antialiased", "sin-cos"):
        assert resample_positions(positions, 3, 1, rule) is positions
    moved = resample_positions(positions, 3, 1, "scale-factor-always")
    expected = resized_positions(positions, 3, 3.1 / 3)
    torch.testing.assert_close(moved, expected, rtol=1e-5, atol=1e-5)
    assert (moved - positions).abs().max() > 1e-3


def test_positions_off_a_square_grid_are_refused() -> None:
    with pytest.raises(ValueError, match="no square grid"):
        resample_positions(torch.zeros(1, 12, 8), 4, 1, "size")


def test_fixed_codes_are_computed_anew() -> None:
    positions = torch.cat([torch.zeros(1, 1, 8), sincos_positions(3, 8)], dim=1)
    found = resample_positions(positions, 4, 1, "sin-cos")
    row, column, i = 2, 3, 1
    w = 10000 ** -(i / 2)
    values = torch.tensor([row * w, column * w])
    token = found[0, 1 + row * 4 + column]
    torch.testing.assert_close(token[i], values[0].sin())
    torch.testing.assert_close(token[2 + i], values[0].cos())
    torch.testing.assert_close(token[4 + i], values[1].sin())
    torch.testing.assert_close(token[6 + i], values[1].cos())
