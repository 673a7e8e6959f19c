"""A backbone card for a checkpoint file, with a comment on each key."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from transferscope.backbones.inspection import Inspection, published_size

# Dataset channels that fit a slot, in addition to the one with its name.
ACCEPTS = {
    "red": ["microtubules", "cytoskeleton"],
    "green": ["protein"],
    "blue": ["nucleus"],
    "microtubules": ["cytoskeleton"],
}
POOLINGS = {
    "cls": "the class token after the last layer norm",
    "mean": "mean of the patch tokens",
    "pool": "the network's own pooled features",
}
COMMENT_COLUMN = 32


def card_name(path: Path) -> str:
    """Return a name for the card of a file: its stem in lower case, without special characters."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._").lower()
    return name or "backbone"


def card_text(inspection: Inspection, name: str, folder: Path) -> str:
    """Return a commented card for a checkpoint file.

    Parameters
    ----------
    inspection
        What is known of the file.
    name
        Name of the card.
    folder
        Where the card will lie; the path of the file is relative to it.
    """
    converted = inspection.converted
    network = converted.network
    weights = os.path.relpath(inspection.path.resolve(), folder.resolve())
    description = f"{network.architecture} with the weights of {inspection.path.name}."
    size = "side in px to which tiles are resized; the network takes any"
    if network.image_size is not None:
        size = "side in px to which tiles are resized: what the positions were made for"
    lines = [
        f"# {name}: {converted.layout} weights of {inspection.path.name}.",
        *(f"# To check: {remark}." for remark in converted.remarks),
        _line("source: file", "a checkpoint file on this machine"),
        f"name: {_quoted(name)}",
        f"description: {_quoted(description)}",
        _line(f"weights: {_quoted(weights)}", "relative to this card"),
        _line(f"sha256: {inspection.sha256}", "the run stops where the file is another one"),
        _line(f"layout: {converted.layout}", "how the file names its weights"),
    ]
    if inspection.state_key is not None:
        lines.append(
            _line(f"state_key: {_quoted(inspection.state_key)}", "which network of the file")
        )
    lines += [
        _line(f"architecture: {network.architecture}", "a timm model name, or a registered one"),
        *_arguments(network.arguments),
        *_slots(converted.slots),
        _line(f"input_size: {network.image_size or published_size(network.architecture)}", size),
        _line("normalization:", "from raw integers to what the weights expect"),
    ]
    for key, value in converted.normalization.items():
        lines.append(f"  {key}: {value if isinstance(value, str) else json.dumps(value)}")
    representations = "representations, all from one forward pass; the first is the default"
    lines.append(_line("outputs:", representations))
    for output, pooling in converted.outputs.items():
        lines += [f"  - name: {output}", _line(f"    pooling: {pooling}", POOLINGS[pooling])]
    lines += [
        _line("licence: unknown", "as the authors of the weights give it"),
        _line('citation: ""', "the paper to cite"),
    ]
    return "\n".join(lines) + "\n"


def _line(text: str, comment: str) -> str:
    return f"{text:<{COMMENT_COLUMN - 1}} # {comment}" if comment else text


def _quoted(text: str) -> str:
    """Return text as YAML, in quotes where it would be read as anything else."""
    plain = re.fullmatch(r"[A-Za-z0-9._/ -]+", text) and yaml.safe_load(text) == text
    return text if plain else json.dumps(text)  # JSON's strings are YAML's, too


def _arguments(arguments: Mapping[str, Any]) -> Iterator[str]:
    if not arguments:
        return
    yield _line("arguments:", "further arguments of the architecture, read off the weights")
    for key, value in arguments.items():
        comment = "the weights seldom tell: check" if key == "num_heads" else ""
        yield _line(f"  {key}: {json.dumps(value)}", comment)


def _slots(slots: Sequence[str]) -> Iterator[str]:
    yield _line("slots:", "input channels in the order of the weights")
    for slot in slots:
        yield f"  - name: {slot}"
        if slot in ACCEPTS:
            accepted = ", ".join(ACCEPTS[slot])
            yield _line(f"    accepts: [{accepted}]", "dataset channels that belong here, too")
