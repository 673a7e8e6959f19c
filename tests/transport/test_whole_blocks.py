"""Any rows in any order are the array's; in turn, each block is read once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from transferscope.transport.whole_blocks import WholeBlocks

TOTAL = 23
ROWS = np.arange(TOTAL * 2).reshape(TOTAL, 2)


def reader(block_rows: int, read: list[int]) -> WholeBlocks:
    def block(number: int) -> np.ndarray:
        read.append(number)
        return ROWS[number * block_rows : (number + 1) * block_rows]

    return WholeBlocks(lambda start, stop: ROWS[start:stop], block, block_rows, TOTAL)


places = st.tuples(st.integers(0, TOTAL - 1), st.integers(1, TOTAL))


@given(st.integers(1, TOTAL + 2), st.lists(places, max_size=8))
def test_any_rows_in_any_order(block_rows: int, asked: list[tuple[int, int]]) -> None:
    blocks = reader(block_rows, [])
    for start, count in asked:
        stop = min(start + count, TOTAL)
        np.testing.assert_array_equal(blocks.read(start, stop), ROWS[start:stop])


@given(st.integers(1, TOTAL + 2), st.lists(places, max_size=8))
def test_rows_that_cannot_be_verified_alone_come_from_whole_blocks(
    block_rows: int, asked: list[tuple[int, int]]
) -> None:
    alone: list[tuple[int, int]] = []

    def rows(start: int, stop: int) -> np.ndarray:
        alone.append((start, stop))
        return ROWS[start:stop]

    def block(number: int) -> np.ndarray:
        return ROWS[number * block_rows : (number + 1) * block_rows]

    blocks = WholeBlocks(rows, block, block_rows, TOTAL, verified=False)
    for start, count in asked:
        stop = min(start + count, TOTAL)
        np.testing.assert_array_equal(blocks.read(start, stop), ROWS[start:stop])
        assert not alone or stop == start + 1
        alone.clear()


@given(st.integers(2, TOTAL + 2), st.integers(2, 9))
def test_in_turn_each_block_is_read_once(block_rows: int, step: int) -> None:
    read: list[int] = []
    blocks = reader(block_rows, read)
    parts = [blocks.read(start, min(start + step, TOTAL)) for start in range(0, TOTAL, step)]
    np.testing.assert_array_equal(np.concatenate(parts), ROWS)
    assert read == sorted(set(read))
    # A part of a single row, at the border of blocks, is not taken for the beginning of a block.
    borders = [
        (row, min(row + block_rows, row - row % step + step, TOTAL))
        for row in range(0, TOTAL, block_rows)
    ]
    assert {first // block_rows for first, end in borders if end - first > 1} <= set(read)
