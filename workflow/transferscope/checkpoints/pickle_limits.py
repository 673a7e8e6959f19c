"""What the pickle of a checkpoint would build, found from its opcodes before anything is built.

A pickle of 2 kB can hold a tuple that contains itself 2^60 times by references, which is hashed for
ever where it is a key, or ask for a storage of any size. No object of the file is made here.
"""

from __future__ import annotations

import pickletools
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

MOST_PICKLE_BYTES = 256 * 2**20
# Of a tuple, which is hashed and printed as a whole: elements, each counted as often as it is met.
MOST_ELEMENTS = 1_000_000
DEEPEST_TUPLE = 50
# A file of torch.save without zip: magic number, version, system, content, names of the storages.
LEGACY_PICKLES = 5
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
# Functions that build tensors which are no plain arrays of numbers -> what these are.
NO_ARRAYS = {
    "_rebuild_sparse_tensor": "sparse",
    "_rebuild_meta_tensor_no_storage": "without values (meta)",
    "_rebuild_qtensor": "quantised",
    "_rebuild_wrapper_subclass": "without values (a wrapper)",
    "_rebuild_nested_tensor": "nested",
}
# Called with a number, these reserve that much memory.
RESERVING = ("bytearray", "Tensor", "Storage")


class PickleLimitError(ValueError):
    """A checkpoint would build what no file of weights holds; the message says what."""


@dataclass(frozen=True)
class _Value:
    """What is known of an object: its size as part of a key, largest number, and name if global."""

    elements: int = 1
    depth: int = 0
    largest: int = 0
    name: str = ""


PLAIN = _Value()


def check_pickle_limits(path: Path) -> None:
    """Refuse a file of torch.save that would take far more time or memory than its size.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    PickleLimitError
        With what it would build.
    """
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise PickleLimitError(f"its part {entry.filename} is compressed")
            for entry in archive.infolist():
                if entry.filename.rsplit("/", 1)[-1] == "data.pkl":
                    _check_length(entry.file_size)
                    with archive.open(entry) as file:
                        _check(file, size)
        return
    with path.open("rb") as file:
        is_legacy = file.read(len(LEGACY_MAGIC)) == LEGACY_MAGIC
        file.seek(0)
        for _ in range(LEGACY_PICKLES if is_legacy else 1):
            _check(file, size)


def _check_length(n_bytes: int) -> None:
    if n_bytes > MOST_PICKLE_BYTES:
        raise PickleLimitError(f"its index has {n_bytes / 2**20:.0f} MiB")


def _check(file: IO[bytes], size: int) -> None:
    """Follow the opcodes of one pickle; what is no pickle is left to the reader."""
    stack: list[_Value | None] = []  # None is a mark
    memo: dict[int, _Value] = {}
    try:
        for opcode, argument, position in pickletools.genops(file):
            if (position or 0) > MOST_PICKLE_BYTES:
                _check_length(position or 0)
            _follow(opcode.name, argument, stack, memo, size)
    except PickleLimitError:
        raise
    except (ValueError, IndexError, KeyError, EOFError, OSError):
        return


def _follow(
    name: str, argument: Any, stack: list[_Value | None], memo: dict[int, _Value], size: int
) -> None:
    """Do to the stack what an opcode of protocol 2 does, with what is known of each object."""
    match name:
        case "MARK":
            stack.append(None)
        case "GLOBAL":
            stack.append(_Value(name=argument.replace(" ", ".")))
        case "TUPLE":
            stack.append(_tuple(_to_mark(stack)))
        case "TUPLE1" | "TUPLE2" | "TUPLE3":
            stack.append(_tuple([stack.pop() for _ in range(int(name[-1]))]))
        case "BINPUT" | "LONG_BINPUT":
            memo[argument] = stack[-1] or PLAIN
        case "BINGET" | "LONG_BINGET":
            stack.append(memo[argument])
        case "REDUCE" | "NEWOBJ":
            given, called = stack.pop() or PLAIN, stack.pop() or PLAIN
            _check_call(called.name, given)
            stack.append(_Value(given.elements, given.depth))
        case "BINPERSID":
            _check_storage(stack.pop() or PLAIN, size)
            stack.append(PLAIN)
        case "BUILD" | "APPEND":
            stack.pop()
        case "SETITEM":
            del stack[-2:]
        case "APPENDS" | "SETITEMS":
            _to_mark(stack)
        case "PROTO" | "STOP":
            pass
        case _:
            # Numbers and texts; the reader refuses all other opcodes.
            stack.append(_Value(largest=argument) if isinstance(argument, int) else PLAIN)


def _to_mark(stack: list[_Value | None]) -> list[_Value | None]:
    found = []
    while (top := stack.pop()) is not None:
        found.append(top)
    return list(found)


def _tuple(parts: list[_Value | None]) -> _Value:
    held = [part or PLAIN for part in parts]
    made = _Value(
        1 + sum(part.elements for part in held),
        1 + max((part.depth for part in held), default=0),
        max((part.largest for part in held), default=0),
    )
    if made.elements > MOST_ELEMENTS or made.depth > DEEPEST_TUPLE:
        raise PickleLimitError("it nests tuples by references until they are endless")
    return made


def _check_call(called: str, given: _Value) -> None:
    name = called.rsplit(".", 1)[-1]
    if name in NO_ARRAYS:
        raise PickleLimitError(f"it holds a tensor that is {NO_ARRAYS[name]}")
    if name.endswith(RESERVING) and given.largest > 0:
        raise PickleLimitError(f"it asks for memory by its size ({name} of {given.largest:,})")


def _check_storage(identity: _Value, size: int) -> None:
    if identity.largest > size:
        raise PickleLimitError(
            f"it declares a tensor of {identity.largest:,} values, but has {size:,} bytes"
        )
