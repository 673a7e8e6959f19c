"""Weights of a network: read as data, never as code, matched in full, and identified by digest."""

from __future__ import annotations

import argparse
import hashlib
import logging
import math
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy._core.multiarray import scalar as numpy_scalar
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from transferscope.cards import FileCard
from transferscope.errors import Problem, UserError, suggest

logger = logging.getLogger(__name__)

# Plain containers that training scripts of the DINO family leave in their checkpoints. None of
# them runs code when it is unpickled; whatever else a file asks for is refused.
HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    np.dtypes.Float32DType,
    np.dtypes.Float64DType,
    np.dtypes.Int64DType,
    numpy_scalar,
    (numpy_scalar, "numpy.core.multiarray.scalar"),
]
POSITIONS = "pos_embed"
# Counters of batch normalisation, which matter for training alone; old files lack them.
COUNTER = "num_batches_tracked"
SHOWN = 8


def weights_sha256(model: nn.Module) -> str:
    """Return a sha256 over names, types, shapes and values of a model's weights."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name}\x1f{values.dtype}\x1f{tuple(values.shape)}\x1f".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_weights_file(card: FileCard, card_path: Path) -> list[Problem]:
    """Return what is wrong with a card's weights file, short of opening it."""
    path = weights_path(card, card_path)
    where = f"{card_path}, key weights"
    if not path.is_file():
        return [Problem(where, f"the file {path} does not exist", "Download it, or mend the path.")]
    if card.sha256 and (found := file_sha256(path)) != card.sha256:
        what = f"{path} has sha256 {found}, not {card.sha256}"
        return [Problem(f"{card_path}, key sha256", what, "Download it again, or mend the digest.")]
    return []


def weights_path(card: FileCard, card_path: Path) -> Path:
    """Return the path of a card's weights, which is relative to the card."""
    return card_path.parent / card.weights


def load_file_weights(model: nn.Module, card: FileCard, card_path: Path) -> list[str]:
    """Load a card's weights file into a model.

    Parameters
    ----------
    model
        The network without its classification layer; all of its weights must be in the file.
        Position embeddings of another image size are resampled (bicubic, antialiased).
    card, card_path
        The card and its file.

    Returns
    -------
    list of str
        Keys of the file that the network has no use for, such as those of a head.

    Raises
    ------
    UserError
        Where the file is absent, changed, unreadable or asks to run code, or where a weight of
        the network is missing in it or has another shape.
    """
    if problems := check_weights_file(card, card_path):
        raise UserError(problems)
    path = weights_path(card, card_path)
    given = _without_prefix(_read(path, card.state_key), card.prefix)
    wanted = model.state_dict()
    _fit_positions(model, given, wanted)
    if problem := _mismatch(given, wanted, path, card):
        raise UserError(problem)
    chosen = {name: given[name].to(t.dtype) for name, t in wanted.items() if name in given}
    model.load_state_dict(chosen, strict=False)
    leftover = sorted(set(given) - set(wanted))
    if leftover:
        logger.info("%s: %d keys are not used: %s", path, len(leftover), _listed(leftover))
    return leftover


def _read(path: Path, state_key: str | None) -> dict[str, Tensor]:
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    if state_key is not None:
        content = _under_key(content, state_key, path)
    tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
    if not tensors:
        keys = [str(k) for k in content]
        mend = f"Set state_key in the card to one of: {_listed(keys)}." if keys else ""
        raise UserError(Problem(str(path), "holds no weights at its top level", mend))
    return tensors


def _under_key(content: Mapping[Any, Any], state_key: str, path: Path) -> Mapping[Any, Any]:
    found = content.get(state_key)
    if not isinstance(found, Mapping):
        what = f'holds no weights under the key "{state_key}"'
        raise UserError(Problem(str(path), what, suggest(state_key, [str(k) for k in content])))
    return found


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        what = f"not a readable safetensors file: {error}"
        raise UserError(Problem(str(path), what, "Download it again.")) from None


def _read_pickle(path: Path) -> Mapping[Any, Any]:
    """Read a PyTorch checkpoint with the unpickler that builds tensors and containers only."""
    try:
        with torch.serialization.safe_globals(HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols: what fails, fails below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = next((line for line in str(error).splitlines() if "GLOBAL" in line), str(error))
        what = f"holds more than weights, and unpickling that could run code: {reason.strip()}"
        mend = "It was not loaded. Save its state dict alone, best as .safetensors."
        raise UserError(Problem(str(path), what, mend)) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        what = f"not a readable PyTorch file: {_first_line(error)}"
        raise UserError(Problem(str(path), what, "Download it again.")) from None
    if not isinstance(content, Mapping):
        what = f"holds a {type(content).__name__}, not a mapping of weights"
        raise UserError(Problem(str(path), what, "Save the state dict of the network."))
    return content


def _without_prefix(given: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Strip the prefix where it stands; other keys keep their names and yield to stripped ones."""
    if not prefix:
        return dict(given)
    others = {name: t for name, t in given.items() if not name.startswith(prefix)}
    stripped = {
        name.removeprefix(prefix): t for name, t in given.items() if name.startswith(prefix)
    }
    return {**others, **stripped}


def _fit_positions(model: Any, given: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Resample the position embeddings of another image size, as timm does for its own files."""
    old, new = given.get(POSITIONS), wanted.get(POSITIONS)
    if old is None or new is None or old.shape == new.shape or old.shape[-1] != new.shape[-1]:
        return
    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    embeds_class = not getattr(model, "no_embed_class", False)
    prefix = getattr(model, "num_prefix_tokens", 0) if embeds_class else 0
    patches = old.shape[1] - prefix
    if grid is None or math.isqrt(patches) ** 2 != patches:
        return
    given[POSITIONS] = resample_abs_pos_embed(
        old.float(), new_size=list(grid), num_prefix_tokens=prefix
    )


def _mismatch(
    given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path, card: FileCard
) -> Problem | None:
    missing = [n for n in wanted if n not in given and not n.endswith(COUNTER)]
    misshapen = [
        f"{n} {tuple(given[n].shape)} instead of {tuple(t.shape)}"
        for n, t in wanted.items()
        if n in given and given[n].shape != t.shape
    ]
    if not missing and not misshapen:
        return None
    parts = [f"missing: {_listed(missing)}"] if missing else []
    parts += [f"of another shape: {_listed(misshapen)}"] if misshapen else []
    what = f"does not hold the weights of {card.architecture}; {'; '.join(parts)}"
    keys = _listed(list(given))
    mend = f"Mend architecture, arguments, slots, prefix or state_key; the file holds: {keys}."
    return Problem(str(path), what, mend)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
