"""Vision models of the transformers library, read out as timm's are."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transferscope.cards import TransformersCard
from transferscope.checkpoints.hub import hub_or_copies
from transferscope.errors import Problem, UserError, first_line
from transferscope.runtime.shipped import install_hint

INSTALL = install_hint("transformers")
# What a checkpoint without a trained pooling lacks; nothing here reads it.
POOLING = "pooler."
# How names of an encoder's weights begin, after the name of the model; and which are no part of it.
OF_ENCODER = re.compile(r"^(\w+\.)?(embeddings|encoder|layernorm|blocks|layers|stages)\.")
NO_PART = re.compile(r"mask_token|position_ids|relative_position_index|^(\w+\.)?decoder")
# Where models keep the norm that follows their last block.
LAST_NORMS = ("layernorm", "norm", "post_layernorm", "layer_norm")


class TransformersNetwork(nn.Module):
    """A model of the transformers library under the names by which timm's are read out.

    Parameters
    ----------
    model
        The model, which has as many input channels as the card has slots.
    input_size
        Side in px of the images.
    channels
        Input channels.
    """

    def __init__(self, model: nn.Module, input_size: int, channels: int) -> None:
        super().__init__()
        self.model: Any = model
        self._takes = frozenset(inspect.signature(model.forward).parameters)
        tokens, layers = self._measured(input_size, channels)
        self.output_fmt = "NCHW"
        # Names for the blocks, of which only the number matters.
        self.feature_info = list(range(layers))
        if tokens is not None:
            self.num_prefix_tokens = tokens
            self.cls_token = tokens > 0 or None
            self.blocks = self.feature_info

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the last tokens [B, N, D] after the last norm, or the last map [B, D, h, w]."""
        last: Tensor = self._run(images).last_hidden_state
        return last

    def forward_intermediates(
        self,
        images: Tensor,
        indices: Sequence[int],
        norm: bool = False,
        return_prefix_tokens: bool = False,
    ) -> tuple[Tensor, list[Any]]:
        """Return the last features, and a map [B, D, N, 1] or [B, D, h, w] of each block."""
        found = self._run(images, output_hidden_states=True)
        maps: list[Any] = []
        for index in indices:
            inner = found.hidden_states[index + 1]
            if inner.ndim == 4:
                maps.append(inner)
                continue
            inner = self._last_norm(inner) if norm else inner
            n = self.num_prefix_tokens
            patches = inner[:, n:].transpose(1, 2).unsqueeze(-1)
            maps.append((patches, inner[:, :n]) if return_prefix_tokens else patches)
        return found.last_hidden_state, maps

    def forward_head(self, features: Tensor, pre_logits: bool = True) -> Tensor:
        """Return the mean over the map, or the class token, or the mean of the tokens."""
        if features.ndim == 4:
            return features.mean(dim=(2, 3))
        return features[:, 0] if self.num_prefix_tokens else features.mean(dim=1)

    def _run(self, images: Tensor, **wanted: bool) -> Any:
        if "interpolate_pos_encoding" in self._takes:
            wanted["interpolate_pos_encoding"] = True
        extra: dict[str, Any] = dict(wanted)
        if "noise" in self._takes:
            # Masked autoencoders shuffle the patches by noise; rising noise leaves their order.
            patches = (images.shape[-1] // self._patch()) ** 2
            extra["noise"] = torch.arange(patches, device=images.device).expand(len(images), -1)
        return self.model(pixel_values=images, return_dict=True, **extra)

    def _patch(self) -> int:
        size = getattr(self.model.config, "patch_size", 0) or 0
        return int(size[0] if isinstance(size, list | tuple) else size)

    def _measured(self, input_size: int, channels: int) -> tuple[int | None, int]:
        """Return how many tokens precede the patches (None: no tokens), and how many blocks."""
        parameter = next(self.model.parameters())
        blank = torch.zeros(1, channels, input_size, input_size, device=parameter.device)
        with torch.no_grad():
            found = self._run(blank, output_hidden_states=True)
        layers = len(found.hidden_states or ()) - 1
        last = found.last_hidden_state
        if last.ndim == 4:
            return None, layers
        patch = self._patch()
        patches = (input_size // patch) ** 2 if patch else last.shape[1]
        # A pyramid has fewer tokens at its end than patches at its start, and no class token.
        return max(0, last.shape[1] - patches), layers

    def _last_norm(self, tokens: Tensor) -> Tensor:
        for name in LAST_NORMS:
            if (norm := getattr(self.model, name, None)) is not None:
                normalised: Tensor = norm(tokens)
                return normalised
        return tokens


def transformers_network(card: TransformersCard, card_path: Path) -> TransformersNetwork:
    """Return the network of a card with its weights; no pickle is executed, no code of the hub run.

    Raises
    ------
    UserError
        Where the library is not installed, or the model cannot be had, or a weight of it is
        missing.
    """
    if problems := check_transformers(card, card_path):
        raise UserError(problems)
    here = (card_path.parent / card.model).is_dir()
    with nullcontext("") if here else hub_or_copies() as unreachable:
        try:
            model, report = _loaded(card, card_path)
        except Exception as error:  # hub, file and model errors have no common base
            reason = unreachable or first_line(error)
            raise UserError(_unusable(card, card_path, reason)) from None
    lacking = [*report["missing_keys"], *map(str, report["mismatched_keys"])]
    if absent := [name for name in lacking if not name.startswith(POOLING)]:
        what = f"lacks weights of {type(model).__name__}: {', '.join(sorted(absent)[:8])}"
        fix = "Check `slots` and the model: these weights would be random."
        raise UserError(Problem(f"{card_path}, key model", what, fix))
    # The library leaves them out without a word, such as registers of a network that brings its
    # own code: what it computes then is not what the weights were trained for.
    unused = sorted(map(str, report["unexpected_keys"]))
    if beyond := [n for n in unused if OF_ENCODER.search(n) and not NO_PART.search(n)]:
        what = f"has weights that {type(model).__name__} does not use: {', '.join(beyond[:8])}"
        fix = "Use `source: hub` with a `layout` that has them (see docs/backbones.md)."
        raise UserError(Problem(f"{card_path}, key model", what, fix))
    try:
        return TransformersNetwork(model.eval(), card.input_size, len(card.slots))
    except Exception as error:  # errors of models have no common base
        raise UserError(_unusable(card, card_path, first_line(error))) from None


def check_transformers(card: TransformersCard, card_path: Path) -> list[Problem]:
    """Return what is wrong with a card and can be known without the weights."""
    where = f"{card_path}, key source"
    if find_spec("transformers") is None:
        return [Problem(where, "the library transformers is not installed", INSTALL)]
    folder = card_path.parent / card.model
    if folder.is_dir() and not (folder / "config.json").is_file():
        what = f"{folder} holds no config.json"
        return [Problem(f"{card_path}, key model", what, "Save the model with save_pretrained.")]
    return []


def transformers_without_values(card: TransformersCard, card_path: Path) -> TransformersNetwork:
    """Return the network of a card on the meta device, from its config.json alone."""
    from transformers import AutoModel

    with torch.device("meta"):
        model = AutoModel.from_config(_config(card, card_path), trust_remote_code=False)
        return TransformersNetwork(model.eval(), card.input_size, len(card.slots))


def _config(card: TransformersCard, card_path: Path) -> Any:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(
        _place(card, card_path), revision=card.revision, trust_remote_code=False
    )
    # Of a masked autoencoder an embedding needs the whole image.
    for key, value in (("num_channels", len(card.slots)), ("mask_ratio", 0.0)):
        if hasattr(config, key):
            setattr(config, key, value)
    return config


def _place(card: TransformersCard, card_path: Path) -> str:
    folder = card_path.parent / card.model
    return str(folder) if folder.is_dir() else card.model


def _loaded(card: TransformersCard, card_path: Path) -> tuple[Any, Any]:
    """Return the model, and what its file lacks of it."""
    from transformers import AutoModel

    found: tuple[Any, Any] = AutoModel.from_pretrained(
        _place(card, card_path),
        config=_config(card, card_path),
        revision=card.revision,
        trust_remote_code=False,
        weights_only=True,
        output_loading_info=True,
    )
    return found


def _unusable(card: TransformersCard, card_path: Path, reason: str) -> Problem:
    what = f"the model {card.model} cannot be used: {reason}"
    fix = f"Check the name, or fetch it on another machine: `hf download {card.model}`."
    return Problem(f"{card_path}, key model", what, fix)
