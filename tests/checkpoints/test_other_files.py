"""What people give as weights by mistake is named as what it is."""

import bz2
import gzip
import io
import lzma
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from command_tree import run

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 123456\n"


def saved() -> bytes:
    buffer = io.BytesIO()
    torch.save({"patch_embed.proj.weight": torch.ones(2, 2)}, buffer)
    return buffer.getvalue()


def arrays() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, weight=np.ones(3))
    return buffer.getvalue()


FILES = {
    "pointer": (POINTER, "is a pointer of Git LFS"),
    "annex": (b"/annex/objects/SHA256E-s1--ab.pth\n", "is a pointer of git-annex"),
    "page": (b"<!DOCTYPE html><html><title>Virus scan warning</title></html>", "is a web page"),
    "error": (b"\n<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is a web page"),
    "said": (b'{"message": "Not Found"}', "is JSON"),
    "index": (b'{"metadata": {}, "weight_map": {"a": "model-00001.safetensors"}}', "is JSON"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(200), "is an HDF5 file"),
    "onnx": (b"\x08\x07\x12\x07pytorch\x1a\x051.13" + bytes(100), "is an ONNX file"),
    "array": (b"\x93NUMPY\x01\x00v\x00", "is a NumPy array"),
    "arrays": (arrays(), "is an archive of NumPy arrays"),
    "empty": (b"", "is empty"),
    "text": (b"hello\n", "is no file of weights"),
    "numbers": (bytes(range(1, 200)), "is no file of weights"),
    "gzip": (gzip.compress(saved()), r"is compressed \(gzip\)"),
    "bzip2": (bz2.compress(saved()), r"is compressed \(bzip2\)"),
    "xz": (lzma.compress(saved()), r"is compressed \(xz\)"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".ckpt", ""])
@pytest.mark.parametrize("kind", FILES)
def test_other_files_are_named(tmp_path: Path, kind: str, suffix: str) -> None:
    content, said = FILES[kind]
    path = tmp_path / f"my {{weights}}{suffix}"
    path.write_bytes(content)
    ended = run(["backbone", "inspect", str(path)])
    assert ended.code == 1
    expected = said
    if suffix == ".safetensors" and kind in ("text", "numbers"):
        expected = "not a readable safetensors file"
    assert re.search(expected, ended.err), ended.err
    assert "run code" not in ended.err
    if "compressed" in said:
        [command] = re.findall(r"-> Uncompress it: (.*)", ended.err)
        done = subprocess.run(["bash", "-c", command], check=False, capture_output=True)
        if done.returncode == 127:
            pytest.skip(f"{shlex.split(command)[0]} is not installed")
        assert Path(shlex.split(command)[-1]).read_bytes() == saved()
