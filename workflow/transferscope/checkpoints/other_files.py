"""What people give as weights by mistake: pointers, web pages, and files of other programs."""

from __future__ import annotations

import shlex
import zipfile
from pathlib import Path

from transferscope.errors import Problem

READ = 1024
AGAIN = "Download it again: save the file itself, where a page asks to confirm."
EXPORT = "Save the weights with PyTorch or safetensors there, and give that file."
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
OTHERS = {
    b"\x89HDF\r\n": "an HDF5 file, as Keras writes it",
    b"GGUF": "a GGUF file",
    b"\x93NUMPY": "a NumPy array",
    b"\x08\x07\x12\x07pytorch": "an ONNX file",
    b"\x08\x08\x12\x07pytorch": "an ONNX file",
}


def what_else(path: Path) -> Problem | None:
    """Return what a file is that holds no weights as PyTorch or safetensors write them, if known.

    Parameters
    ----------
    path
        A file that can be read.
    """
    with path.open("rb") as file:
        start = file.read(READ)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        return Problem(str(path), "is empty", AGAIN)
    if text.startswith(b"version https://git-lfs") or b"/annex/objects/" in start:
        is_lfs = b"git-lfs" in text
        kind, command = ("Git LFS", "git lfs pull") if is_lfs else ("git-annex", "git annex get")
        fix = f"Fetch them, in its repository: {command}"
        return Problem(str(path), f"is a pointer of {kind} to the weights, not the weights", fix)
    if text.startswith(b"<"):
        return Problem(str(path), "is a web page, not weights", AGAIN)
    if text.startswith(b"{"):
        what = "is JSON: an index of weights in several files, or what a server said"
        return Problem(str(path), what, "Give the file of weights; save several as one.")
    for mark, program in PACKED.items():
        if start.startswith(mark):
            unpacked = shlex.quote(f"{path.with_suffix('')}.weights")
            fix = f"Uncompress it: {program} -dc {shlex.quote(str(path))} > {unpacked}"
            return Problem(str(path), f"is compressed ({program})", fix)
    for mark, name in OTHERS.items():
        if start.startswith(mark):
            return Problem(str(path), f"is {name}", EXPORT)
    if _is_numpy_archive(path):
        return Problem(str(path), "is an archive of NumPy arrays (.npz)", EXPORT)
    return None


def _is_numpy_archive(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as packed:
            names = packed.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)
