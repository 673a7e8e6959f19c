import pytest

from transferscope.config.modes import check_mode, described, head_of_mode, mode_of_head


@pytest.mark.parametrize("mode", ["full", "lora", "head", "last-1", "last-12"])
def test_a_mode_is_found_again_in_its_head(mode):
    assert mode_of_head(head_of_mode(check_mode(mode))) == mode
    assert described(mode)


@pytest.mark.parametrize("mode", ["last-0", "last", "fulll", "last-x", ""])
def test_unknown_modes_are_refused(mode):
    with pytest.raises(ValueError, match="no such mode"):
        check_mode(mode)


def test_a_frozen_head_has_no_mode():
    with pytest.raises(ValueError, match="no head of a fine-tuning"):
        mode_of_head("mlp")
