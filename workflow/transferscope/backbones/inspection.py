"""What a checkpoint file holds, and whether the network that it looks like takes all of it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

import transferscope.backbones.architectures  # noqa: F401  registers them with timm
from transferscope.cards import FileCard, LayoutName
from transferscope.checkpoints.conversion import convert
from transferscope.checkpoints.facts import facts_of
from transferscope.checkpoints.layouts.base import IMAGENET, Converted, Network
from transferscope.checkpoints.layouts.vit import HEAD_WIDTH
from transferscope.checkpoints.layouts.vit import SIZES as USUAL_SIZES
from transferscope.checkpoints.loading import fitted, mismatch, not_finite
from transferscope.checkpoints.location import locate
from transferscope.checkpoints.reading import Checkpoint, count_values, read_checkpoint
from transferscope.checkpoints.sources import file_sha256
from transferscope.errors import Problem, UserError, first_line, suggest
from transferscope.runtime.json_text import parse_json

# Side in px of images for networks that take every size.
USUAL_SIZE = 224
EXAMPLES = 3


@dataclass(frozen=True)
class Inspection:
    """What is known of a checkpoint file.

    Parameters
    ----------
    path, format, sha256, n_bytes
        The file.
    state_key
        Which network of the file was asked for; None: the teacher, or the only one.
    converted
        Its weights, as its layout has them.
    parameters
        How many numbers the network has.
    matched
        How many weights of the network the file holds.
    problem
        What keeps the network from taking the weights; None: nothing does.
    """

    path: Path
    format: str
    sha256: str
    n_bytes: int
    state_key: str | None
    converted: Converted
    parameters: int
    matched: int
    problem: Problem | None

    def leftovers(self) -> dict[str, list[str]]:
        """Return what needs no place in the network: kind -> paths in the file."""
        found = defaultdict(list)
        for path, kind in self.converted.known_leftovers().items():
            found[kind].append(path)
        return dict(found)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data, ready for JSON."""
        network = self.converted.network
        return {
            "file": str(self.path),
            "format": self.format,
            "bytes": self.n_bytes,
            "sha256": self.sha256,
            "layout": self.converted.layout,
            "prefix": self.converted.located.prefix,
            "architecture": network.architecture,
            "arguments": dict(network.arguments),
            "patch_size": network.patch_size,
            "image_size": network.image_size,
            "positions": self.converted.positions if network.image_size else None,
            "channels": network.channels,
            "slots": list(self.converted.slots),
            "embedding_dimension": network.embed_dim,
            "depth": network.depth,
            "parameters": self.parameters,
            "matched": self.matched,
            "left_over": {
                kind: {"count": len(paths), "examples": paths[:EXAMPLES]}
                for kind, paths in self.leftovers().items()
            },
            "unknown": self.converted.unknown_leftovers(),
            "problem": str(self.problem) if self.problem else None,
            "remarks": list(self.converted.remarks),
        }


def inspect_checkpoint(
    path: Path,
    layout: LayoutName | str = "auto",
    state_key: str | None = None,
    architecture: str | None = None,
    heads: int | None = None,
) -> Inspection:
    """Read a checkpoint file and try its weights on the network that it looks like.

    Parameters
    ----------
    path
        The file.
    layout, state_key
        As in a card.
    architecture
        A timm model name, for files whose layout does not tell the architecture; with a tag, such
        as resnet50.tv_in1k, mean and std are those of these weights. None: that of a
        config.json next to the file, as on the hub, if there is one.
    heads
        Number of attention heads, which most weights do not tell; None: what the file says in
        words, or else what is usual.

    Raises
    ------
    UserError
        Where the file cannot be read, or no layout recognises it.
    """
    checkpoint = read_checkpoint(path)
    named = architecture or _architecture_next_to(path)
    if named is None:
        converted = convert(checkpoint, layout, state_key)
    else:
        network, wanted = _named_network(checkpoint, named, state_key)
        converted = convert(checkpoint, layout, state_key, network, wanted)
        if converted.layout == "timm":
            seen = converted.network
            size = seen.image_size or network.image_size
            network = replace(network, patch_size=seen.patch_size, image_size=size)
            converted = replace(converted, network=network)
    is_published = architecture is not None and "." in architecture
    if converted.layout == "timm" or is_published or _architecture_next_to(path):
        converted = _with_published_normalization(converted, path)
    asked = None
    if named is None or heads is not None:
        said = checkpoint.facts.one_number_of_heads
        said = said or facts_of(_config_next_to(path)).one_number_of_heads
        if said is not None and converted.network.embed_dim % said:
            said = None  # of another network
        converted, asked = with_heads(path, converted, heads or said)
    card = draft(path, converted, state_key)
    model = without_values(card)
    state = fitted(model, converted)
    wanted_shapes = model.state_dict()
    return Inspection(
        path=path,
        format=checkpoint.format,
        sha256=file_sha256(path),
        n_bytes=path.stat().st_size,
        state_key=state_key,
        converted=converted,
        parameters=count_values(dict(model.named_parameters())),
        matched=sum(
            name in state and state[name].shape == tensor.shape
            for name, tensor in wanted_shapes.items()
        ),
        problem=mismatch(model, state, converted, card, path) or asked or not_finite(state, path),
    )


def draft(path: Path, converted: Converted, state_key: str | None) -> FileCard:
    """Return the card that a file's layout suggests."""
    network = converted.network
    return FileCard(
        source="file",
        name="draft",
        weights=path.resolve(),
        layout=converted.layout,
        state_key=state_key,
        architecture=network.architecture,
        arguments=dict(network.arguments),
        slots=[{"name": name} for name in converted.slots],
        input_size=network.image_size or published_size(network.architecture),
        normalization=dict(converted.normalization),
        outputs=[{"name": n, "pooling": pooling} for n, pooling in converted.outputs.items()],
    )


def without_values(card: FileCard) -> nn.Module:
    """Return the network of a card without memory for its weights."""
    from transferscope.backbones.networks import network_without_values

    try:
        return network_without_values(card)
    except Exception as error:  # timm raises whatever its many model classes raise
        reason = first_line(error)
        what = f"looks like {card.architecture}, which cannot be built: {reason}"
        raise UserError(Problem(str(card.weights), what)) from None


def with_heads(
    path: Path, converted: Converted, heads: int | None
) -> tuple[Converted, Problem | None]:
    """Return weights with their number of attention heads, and what has to be asked for.

    Parameters
    ----------
    path
        The file.
    converted
        Its weights.
    heads
        The number that is given or said in words; None: unknown.
    """
    network = converted.network
    usual = network.arguments.get("num_heads")
    width = network.embed_dim
    if heads is not None:
        if width % heads or (converted.knows_heads and usual not in (None, heads)):
            known = f"the weights have {usual}" if converted.knows_heads else f"{width} features"
            what = f"{heads} attention heads do not fit: {known}"
            return converted, Problem(str(path), what, "Correct --heads.")
        if usual == heads or not _has_heads(converted):
            return converted, None
        arguments = {**network.arguments, "num_heads": heads}
        return replace(converted, network=replace(network, arguments=arguments)), None
    if usual is None or converted.knows_heads or (width, network.depth) in USUAL_SIZES:
        return converted, None
    if width % HEAD_WIDTH:
        what = f"the number of attention heads cannot be read off the weights ({width} features)"
        fix = "Give it as --heads: the code or the paper of the network says it."
        return converted, Problem(str(path), what, fix)
    remark = (
        f"the number of attention heads is a guess ({usual} of {HEAD_WIDTH} features): if the "
        "network has another, give it as --heads"
    )
    return replace(converted, remarks=(*converted.remarks, remark)), None


def _has_heads(converted: Converted) -> bool:
    """Return whether the network is a transformer, whose heads can be given."""
    return any(".attn." in name for name in converted.state)


def published_size(architecture: str) -> int:
    """Return the side in px of the images that timm's weights of an architecture expect."""
    config = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
    return int(config.input_size[1]) if config else USUAL_SIZE


def _with_published_normalization(converted: Converted, path: Path) -> Converted:
    """Suggest mean and std of a config.json next to the file, or of timm's own weights."""
    architecture = converted.network.architecture
    own = _config_next_to(path).get("pretrained_cfg")
    known: Any = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
    found = own if isinstance(own, dict) else known.to_dict() if known else {}
    mean, std = (_per_channel(found.get(key), converted) for key in ("mean", "std"))
    if mean is None or std is None:
        return converted
    source = "config.json has" if found is own else f"timm's own weights of {architecture} have"
    return replace(
        converted,
        normalization={**IMAGENET, "mean": mean, "std": std},
        remarks=(f"mean and std are those that {source}",),
    )


def _per_channel(values: object, converted: Converted) -> list[float] | None:
    if not isinstance(values, list | tuple) or len(values) != converted.network.channels:
        return None
    return list(values) if all(isinstance(value, int | float) for value in values) else None


def _architecture_next_to(path: Path) -> str | None:
    """Return the architecture that a config.json of timm's names, next to a file of weights."""
    name = _config_next_to(path).get("architecture")
    return name if isinstance(name, str) and timm.is_model(name) else None


def _config_next_to(path: Path) -> dict[str, Any]:
    try:
        config = parse_json((path.parent / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _named_network(
    checkpoint: Checkpoint, architecture: str, state_key: str | None
) -> tuple[Network, list[str]]:
    """Return a network of timm's, with the input channels of the file, and its weights' names."""
    if not timm.is_model(architecture):
        what = f'timm {timm.__version__} knows no architecture "{architecture}"'
        raise UserError(Problem("--architecture", what, suggest(architecture, timm.list_models())))
    with torch.device("meta"):
        model: Any = timm.create_model(architecture, num_classes=0)
    config = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
    channels, size = (config.input_size[0], config.input_size[1]) if config else (3, USUAL_SIZE)
    first = getattr(config, "first_conv", None)
    located = locate(checkpoint, f"{first}.weight", state_key) if isinstance(first, str) else None
    if located is not None:
        channels = located.tensors[f"{first}.weight"].shape[1]
    network = Network(
        architecture=architecture,
        arguments={},
        channels=channels,
        embed_dim=model.num_features,
        depth=len(getattr(model, "blocks", None) or getattr(model, "feature_info", None) or ()),
        image_size=size,
    )
    return network, list(model.state_dict())
