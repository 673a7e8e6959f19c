import threading

import numpy as np
import pytest
import torch

from transferscope.backbones.cores import CALLS_AHEAD, IMAGES_PER_CORE, Cores, results


def doubled(part: torch.Tensor) -> torch.Tensor:
    return 2 * part


def test_results_are_in_order_whatever_the_parts() -> None:
    cores = Cores(3)
    calls = [np.arange(n, dtype=np.float32)[:, None] + 100 * n for n in (1, 8, 9, 40, 3)]
    found = results([cores.computed(doubled, tiles, 32) for tiles in calls])
    np.testing.assert_array_equal(found.numpy(), 2 * np.concatenate(calls))
    cores.close()


def test_a_part_is_never_larger_than_a_batch() -> None:
    cores, sizes = Cores(2), []
    for most in (3, 1000):
        calls = [cores.computed(lambda part: sizes.append(len(part)) or part, np.zeros(20), most)]
        results(calls)
    assert sorted(sizes) == sorted([3] * 6 + [2] + [IMAGES_PER_CORE] * 2 + [4])
    cores.close()


def test_a_buffer_is_free_when_all_of_it_has_been_computed() -> None:
    cores, go_on = Cores(1), threading.Event()

    def held(part: torch.Tensor) -> torch.Tensor:
        go_on.wait(10)
        return part.clone()

    buffer, other = np.ones(9, np.float32), np.ones(9, np.float32)
    call = cores.computed(held, buffer[:5], 32)
    cores.wait(other)  # nothing of it is under way
    waiting = threading.Thread(target=cores.wait, args=(buffer,))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    go_on.set()
    waiting.join(10)
    assert not waiting.is_alive()
    assert all(part.done() for part in call)
    cores.close()


def test_at_most_two_calls_are_under_way() -> None:
    """Where tiles are read faster than they are computed, they do not fill the memory."""
    cores, begun, go_on = Cores(1), [], threading.Event()

    def held(part: torch.Tensor) -> torch.Tensor:
        go_on.wait(10)
        return part

    def call_often() -> None:
        for number in range(CALLS_AHEAD + 2):
            cores.computed(held, np.zeros(1), 1)
            begun.append(number)

    calling = threading.Thread(target=call_often)
    calling.start()
    calling.join(0.05)
    assert len(begun) == CALLS_AHEAD
    go_on.set()
    calling.join(10)
    assert len(begun) == CALLS_AHEAD + 2
    cores.close()


def test_an_error_in_a_part_is_raised_where_results_are_wanted() -> None:
    cores = Cores(1)

    def failing(part: torch.Tensor) -> torch.Tensor:
        raise ValueError("broken")

    call = cores.computed(failing, np.zeros(1), 1)
    with pytest.raises(ValueError, match="broken"):
        results([call])
    cores.close()
