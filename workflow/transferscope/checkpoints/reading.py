"""Checkpoint files read as data: no code of a file is ever run."""

from __future__ import annotations

import argparse
import math
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from transferscope.checkpoints.facts import Facts, facts_of
from transferscope.checkpoints.other_files import what_else
from transferscope.checkpoints.pickle_limits import PickleLimitError, check_pickle_limits
from transferscope.checkpoints.soundness import TreeLimitError, fault_of_tensors, tensors_of
from transferscope.checkpoints.wrappers import unwrapped
from transferscope.errors import Problem, UserError, first_line
from transferscope.runtime.plain_files import require_file

Format = Literal["safetensors", "torch"]
# First bytes of the files that torch.save writes: a zip archive, or a pickle of protocol 2 and up.
ZIP_SIGNATURE = b"PK\x03\x04"
PICKLE_PROTOCOL = b"\x80"
# struct's letters of NumPy's plain numbers.
NUMBER_CODES = {
    "f2": "e", "f4": "f", "f8": "d", "b1": "?",
    "i1": "b", "i2": "h", "i4": "i", "i8": "q",
    "u1": "B", "u2": "H", "u4": "I", "u8": "Q",
}  # fmt: skip
NO_WEIGHTS = "is no file of weights", "Give a file of torch.save or safetensors."
STATE_DICT = "Save the state dict of the network alone, as plain tensors."
REFUSED_GLOBAL = re.compile(r"(?:GLOBAL |class |function |global )[`'\"]?([\w.]+\.[\w.]+)")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Parameters
    ----------
    path
        The file.
    format
        How it is written.
    tensors
        Every tensor of the file by its path within the file, the parts joined by dots.
    entries
        Names at the top level of the file, tensors or not.
    facts
        What it says of the network in words.
    """

    path: Path
    format: Format
    tensors: Mapping[str, Tensor]
    entries: tuple[str, ...]
    facts: Facts = field(default_factory=Facts)


class _NumberType:
    """Stands for numpy.dtype in a file: it takes the name of a type, and does nothing."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = code
        self.order = "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if state[1] == ">" else "<"


def _number(kind: _NumberType, data: bytes) -> float | int | bool:
    """Stand for NumPy's constructor of scalars, which trusts its arguments."""
    if kind.code not in NUMBER_CODES:
        raise pickle.UnpicklingError(f"global numpy.dtype of kind {kind.code}")
    number: float | int | bool = struct.unpack(kind.order + NUMBER_CODES[kind.code], data)[0]
    return number


def _path_text(*parts: str) -> str:
    """Stand for a path: training scripts keep those of their folders among their arguments."""
    return "/".join(map(str, parts))


# What training scripts store next to the weights, and what it becomes here. Namespace is a bag of
# attributes, which runs nothing when it is filled. The others are replaced by functions of this
# module, so that not even NumPy's constructors see what an untrusted file holds. Whatever else a
# file asks for (torch adds its own tensors, sizes, types and plain containers) is refused.
HARMLESS: list[Any] = [
    argparse.Namespace,
    (_NumberType, "numpy.dtype"),
    (_number, "numpy.core.multiarray.scalar"),
    (_number, "numpy._core.multiarray.scalar"),
    (_path_text, "pathlib.PosixPath"),
    (_path_text, "pathlib._local.PosixPath"),
]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a safetensors file or a file of torch.save.

    Parameters
    ----------
    path
        The file. Its content decides what it is, not its name.

    Raises
    ------
    UserError
        Where the file is absent or unreadable, holds no tensor, or asks for anything but tensors,
        numbers, text and plain containers; then nothing of it was run.
    """
    if not path.exists():
        what = f"the file {path} does not exist"
        raise UserError(Problem(str(path), what, "Download it, or fix the path."))
    if problem := what_else(require_file(path)):
        raise UserError(problem)
    if _is_torch_file(path):
        tree = _read_torch(path)
        try:
            tensors = unwrapped(dict(tensors_of(tree)), path)
        except TreeLimitError as error:
            raise UserError(Problem(str(path), str(error), STATE_DICT)) from None
        entries = tuple(str(key) for key in tree)
        found = Checkpoint(path, "torch", tensors, entries, facts_of(tree))
    else:
        tensors = unwrapped(_read_safetensors(path), path)
        found = Checkpoint(path, "safetensors", tensors, tuple(tensors))
    if not found.tensors:
        held = ", ".join(found.entries[:8]) or "nothing"
        what = f"holds no weights, only {held}"
        raise UserError(Problem(str(path), what, STATE_DICT))
    if fault := fault_of_tensors(found.tensors):
        raise UserError(Problem(str(path), fault, STATE_DICT))
    return found


def count_values(tensors: Mapping[str, Tensor]) -> int:
    """Return how many numbers tensors hold."""
    return sum(math.prod(tensor.shape) for tensor in tensors.values())


def _is_torch_file(path: Path) -> bool:
    # Some .safetensors files were written by torch.save, so that the name alone cannot be trusted.
    with path.open("rb") as file:
        start = file.read(9)
    # A safetensors file begins with the length of its header, in 8 bytes of which the first may
    # be a pickle's; the header is JSON.
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return False
    is_pickle = start[:4] == ZIP_SIGNATURE or start[:1] == PICKLE_PROTOCOL
    return is_pickle or path.suffix.lower() != ".safetensors"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        what = f"not a readable safetensors file: {error}"
        raise UserError(Problem(str(path), what, "Download it again.")) from None
    return tensors


def _read_torch(path: Path) -> Mapping[Any, Any]:
    """Read a PyTorch file with the unpickler that builds tensors and containers only."""
    try:
        check_pickle_limits(path)
        with torch.serialization.safe_globals(HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols: what fails, fails below
            content = _unpickled(path)
    except PickleLimitError as error:
        what = f"is no file of weights: {error}"
        raise UserError(Problem(str(path), what, STATE_DICT)) from None
    except pickle.UnpicklingError as error:
        raise UserError(_refusal(path, error)) from None
    except Exception as error:  # a damaged pickle may raise anything
        if not _may_be_torch(path):
            raise UserError(Problem(str(path), *NO_WEIGHTS)) from None
        what = f"not a readable PyTorch file: {first_line(error)}"
        raise UserError(Problem(str(path), what, "Download it again.")) from None
    if not isinstance(content, Mapping):
        what = f"holds a {type(content).__name__}, not a mapping of weights"
        raise UserError(Problem(str(path), what, "Save the state dict of the network."))
    return content


def _unpickled(path: Path) -> Any:
    settings: dict[str, Any] = {"map_location": "cpu", "weights_only": True}
    if path.suffix == ".safetensors":
        # Such a name would send torch.load to another reader; an open file has no name.
        with path.open("rb") as file:
            return torch.load(file, **settings)
    # Mapped into memory, the optimiser's state is never read from the disk.
    return torch.load(path, mmap=zipfile.is_zipfile(path), **settings)


def _may_be_torch(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(len(ZIP_SIGNATURE))
    return start == ZIP_SIGNATURE or start.startswith(PICKLE_PROTOCOL)


def _refusal(path: Path, error: pickle.UnpicklingError) -> Problem:
    found = REFUSED_GLOBAL.search(str(error))
    if not found and not _may_be_torch(path):
        return Problem(str(path), *NO_WEIGHTS)
    asked = f"it asks for `{found.group(1)}`" if found else "it is no plain file of weights"
    what = f"holds more than weights, and unpickling that could run code: {asked}"
    fix = "It was not loaded. Save its state dict alone, best as .safetensors."
    return Problem(str(path), what, fix)
