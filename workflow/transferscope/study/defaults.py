"""The defaults of a study: one file, generated from the models."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from transferscope.config.model import Model, read_yaml
from transferscope.config.study import StudyConfig
from transferscope.errors import Problem, UserError
from transferscope.runtime.shipped import DEFAULTS

WIDTH = 100
HEAD = """\
The default of every key of a study. Generated from the models by `make schemas`: to change a
study, write the values that differ to a config file. It is merged over this file: mappings key by
key, while lists are replaced as a whole."""
# Keys that tell a card from a study.
CARD_KEYS = {
    "backbone": {"slots", "architecture", "objective", "input_size"},
    "dataset": {"sheet", "channels", "intensity_range", "labels", "pixel_size_um", "table"},
}


def with_defaults(config: Mapping[str, Any], defaults: Path = DEFAULTS) -> dict[str, Any]:
    """Return a config merged over the defaults; the config itself is not changed.

    Parameters
    ----------
    config
        The config of a study, as plain data.
    defaults
        File of the defaults.

    Raises
    ------
    UserError
        If the file of the defaults cannot be read.
    """
    return merged(read_yaml(defaults), config)


def merged_config(path: Path) -> dict[str, Any]:
    """Return a config as Snakemake sees it: keys that it omits have their defaults.

    Raises
    ------
    UserError
        Where a file cannot be read, or is a card.
    """
    given = read_yaml(path)
    if "study" not in given and (kind := _card_kind(given)):
        fix = f"Name it in a study, `{kind}s: [{path}]`, and give the file of that study."
        raise UserError(Problem(str(path), f"is the card of a {kind}, not a study", fix))
    return with_defaults(given)


def _card_kind(given: dict[str, Any]) -> str | None:
    """Return which card a file looks like, if it has keys that only such cards have."""
    for kind, keys in CARD_KEYS.items():
        if "name" in given and keys & set(given):
            return kind
    return None


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return two nested mappings, merged as Snakemake merges config files.

    Examples
    --------
    >>> merged({"folds": {"group": 5, "image": 5}, "k": [1, 5]}, {"folds": {"group": 3}, "k": [2]})
    {'folds': {'group': 3, 'image': 5}, 'k': [2]}
    """
    both = dict(below)
    for key, value in above.items():
        lower = below.get(key)
        if isinstance(value, Mapping) and isinstance(lower, Mapping):
            value = merged(lower, value)
        both[key] = value
    return both


def defaults_text() -> str:
    """Return the file of the defaults: every key of a study, with its description as comment."""
    parts = [_comment(HEAD, ""), *_entries(StudyConfig, "")]
    return "\n\n".join(parts) + "\n"


def _entries(model: type[Model], indent: str) -> Iterator[str]:
    """Yield the lines of each key: a comment and the value, or the keys of a section."""
    for key, field in model.model_fields.items():
        section = field.annotation
        if inspect.isclass(section) and issubclass(section, Model):
            about = _comment(inspect.getdoc(section) or "", indent)
            inner = "\n".join(_entries(section, f"{indent}  "))
            yield f"{about}\n{indent}{key}:\n{inner}"
        else:
            yield f"{_comment(field.description or '', indent)}\n{indent}{_line(key, field)}"


def _line(key: str, field: FieldInfo) -> str:
    if field.is_required():
        return f"# {key}:   (each study gives its own)"
    plain = list(field.default) if isinstance(field.default, tuple) else field.default
    flow = yaml.safe_dump({key: plain}, default_flow_style=True, sort_keys=False, width=10_000)
    return flow.strip()[1:-1]


def _comment(text: str, indent: str) -> str:
    paragraph = " ".join(text.split())
    prefix = f"{indent}# "
    return textwrap.fill(
        paragraph, WIDTH, initial_indent=prefix, subsequent_indent=prefix, break_on_hyphens=False
    )
