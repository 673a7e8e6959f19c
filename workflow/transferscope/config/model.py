"""The base of all config and card models, and reading them, with errors that name file and key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

from transferscope.config.patterns import IN_WORDS, near_text
from transferscope.config.yaml_limits import MOST_BYTES
from transferscope.config.yaml_text import ODD_VALUES, parse_yaml
from transferscope.errors import Problem, UserError, first_line, suggest
from transferscope.runtime.fingerprint import fingerprint
from transferscope.runtime.plain_files import read_bounded
from transferscope.transport.urls import MARK, secret_in, without_password

MAX_SHOWN = 200
MAX_MESSAGE = 2000
# Keys of cards that change no embedding, training or score: what they say goes into texts.
PROSE = {"description", "licence", "citation", "trained_on", "collections", "family", "gated"}


class Model(BaseModel):
    """Base of every config model: unknown keys are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _no_secrets(self) -> Self:
        """Refuse URLs with passwords or tokens in any key: cards and configs are shared."""
        for key, value in self.__dict__.items():
            for text in _urls_in(value):
                if fault := secret_in(text):
                    raise ValueError(f"{key}: the URL {fault}")
        return self

    def fingerprint(self) -> str:
        """Return a sha256 over the model's canonical JSON, without its prose."""
        return fingerprint(self.model_dump(mode="json", exclude=PROSE))


def _urls_in(value: Any) -> Iterator[str]:
    """Yield the texts with URLs in a value and in its lists and mappings; not in other models."""
    if isinstance(value, PurePath):
        # A URL that was taken for a path has one slash left.
        value = re.sub("(?<=:)/", MARK[1:], str(value), count=1)
    if isinstance(value, str):
        yield from (word for word in value.split() if MARK in word)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _urls_in(key)
            yield from _urls_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _urls_in(inner)


def without_repeats(values: Any) -> Any:
    """Return a list, or None, without change.

    Raises
    ------
    ValueError
        If a value occurs twice.
    """
    if repeated := sorted({v for v in values or () if values.count(v) > 1}):
        raise ValueError(f"named twice: {', '.join(map(str, repeated))}")
    return values


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping as plain data; tags that would create objects are refused.

    Raises
    ------
    UserError
        If the file is missing, is not UTF-8, is not valid YAML, is not a mapping or gives a key
        twice.
    """
    try:
        text = read_bounded(path, MOST_BYTES, "a card or a study").decode("utf-8")
        value = parse_yaml(text, path)
    except OSError as error:
        raise UserError(Problem(str(path), f"cannot be read: {error}", "Check the file.")) from None
    except UnicodeDecodeError as error:
        what = f"is no YAML text: {error}"
        raise UserError(Problem(str(path), what, "Give a YAML file in UTF-8.")) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        reason = getattr(error, "problem", None) or "it cannot be parsed"
        raise UserError(Problem(where, f"not valid YAML: {reason}", "Fix the syntax.")) from None
    except ODD_VALUES as error:
        what = f"not valid YAML: {first_line(error)}"
        raise UserError(Problem(str(path), what, "Quote the value, or fix the syntax.")) from None
    if not isinstance(value, dict):
        raise UserError(
            Problem(
                str(path),
                "is not a mapping of keys to values",
                "Give a card or a study: `key: value` lines.",
            )
        )
    return value


def read_model(path: Path, kind: Any) -> Any:
    """Read a YAML file into a model.

    Raises
    ------
    UserError
        Naming the file and every key that is wrong, each with a suggestion.
    """
    return validate(read_yaml(path), kind, str(path))


def validate(value: dict[str, Any], kind: Any, where: str) -> Any:
    """Validate plain data against a model, or a union of models, and return the model.

    Raises
    ------
    UserError
        Naming `where` and every key that is wrong, each with a suggestion.
    """
    try:
        read = TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        schema = TypeAdapter(kind).json_schema()
        raise UserError([_as_problem(e, schema, where) for e in error.errors()]) from None
    if places := list(_booleans_read_as_numbers(value, read)):
        what = "give a number, not true or false"
        raise UserError([Problem(f"{where}, key {place}", what) for place in places])
    return read


def _booleans_read_as_numbers(given: Any, read: Any, place: str = "") -> Iterator[str]:
    """Yield the keys of booleans that pydantic reads as 0 or 1."""
    if isinstance(given, bool) and not isinstance(read, bool):
        yield place
    elif isinstance(given, dict):
        below = dict(read)
        for key, value in given.items():
            yield from _booleans_read_as_numbers(value, below[key], f"{place}.{key}".lstrip("."))
    elif isinstance(given, list):
        for n, (item, parsed) in enumerate(zip(given, read, strict=False)):
            yield from _booleans_read_as_numbers(item, parsed, f"{place}.{n}")


def _as_problem(error: Any, schema: dict[str, Any], where: str) -> Problem:
    location, _ = _walk(error["loc"], schema)
    key = ".".join(map(str, location)) or "(top level)"
    if error["type"] == "extra_forbidden":
        _, nodes = _walk(error["loc"][:-1], schema)
        known = sorted({key for node in nodes for key in node.get("properties", {})})
        return Problem(f"{where}, key {key}", "unknown key", suggest(str(location[-1]), known))
    if error["type"] == "missing":
        return Problem(f"{where}, key {key}", "required, but missing", f"Add `{location[-1]}:`.")
    if error["type"] == "union_tag_not_found":
        tag = error["ctx"]["discriminator"].strip("'")
        _, nodes = _walk(error["loc"], schema)
        known = sorted({name for node in (*nodes, schema) for m in _mappings(node) for name in m})
        fix = f"Add `{tag}:`, one of {', '.join(known)}."
        return Problem(f"{where}, key {key}", f"the key `{tag}` is missing", fix)
    if error["type"] == "string_pattern_mismatch":
        return _as_written(error, f"{where}, key {key}")
    given = "" if isinstance(error["input"], dict) else f" (given: {_shortened(error['input'])})"
    message = error["msg"].removeprefix("Value error, ")
    message = message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}..."
    return Problem(f"{where}, key {key}", f"{message}{given}", _fix_for(error))


def _as_written(error: Any, where: str) -> Problem:
    """Say in words how a text is to be written, and how this one may be."""
    pattern, given = error["ctx"]["pattern"], error["input"]
    # YAML has bytes, too; and what is made of a URL might tell a password in it.
    is_text = isinstance(given, str) and "://" not in given
    near = near_text(given, pattern) if is_text else None
    fix = f'Write it as "{near}", for example.' if near else "Give a value that the key takes."
    what = f"takes {IN_WORDS[pattern]} (given: {_shortened(error['input'])})"
    return Problem(where, what, fix)


def _shortened(value: object) -> str:
    try:
        text = without_password(repr(value))
    except ValueError:  # an integer of thousands of digits
        return type(value).__name__
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _fix_for(error: Any) -> str:
    given = error["input"]
    if error["type"] == "string_type" and not isinstance(given, (dict, list)):
        return "Write it in quotes: YAML reads no, on, 1 and 2001-01-01 as other things than text."
    if error["type"] != "literal_error" or not isinstance(error["input"], str):
        return "Give a value that the key takes."
    choices = [c.strip("' ") for c in error["ctx"]["expected"].replace(" or ", ",").split(",")]
    return suggest(error["input"], choices)


def _walk(
    location: Sequence[Any], schema: dict[str, Any]
) -> tuple[list[Any], list[dict[str, Any]]]:
    """Return the keys of a location in the data, and the possible schemas there.

    In a location, pydantic also names the member of a union.
    """
    nodes, keys = [schema], []
    for part in location:
        if not any(part in mapping for node in nodes for mapping in _mappings(node)):
            keys.append(part)
        nodes = [child for node in nodes for child in _children(node, schema, part)]
    return keys, [option for node in nodes for option in _resolved(node, schema)]


def _mappings(node: dict[str, Any]) -> list[dict[str, str]]:
    """Return the mappings from tag to model, if the node is a tagged union, also if nullable."""
    options = [node, *node.get("anyOf", [])]
    return [option["discriminator"]["mapping"] for option in options if "discriminator" in option]


def _resolved(node: dict[str, Any], root: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in node:
        return _resolved(root["$defs"][node["$ref"].rsplit("/", 1)[-1]], root)
    options = [*node.get("anyOf", []), *node.get("oneOf", [])]
    return [r for option in options for r in _resolved(option, root)] if options else [node]


def _children(node: dict[str, Any], root: dict[str, Any], part: Any) -> list[dict[str, Any]]:
    for mapping in _mappings(node):
        if part in mapping:
            return [{"$ref": mapping[part]}]
    found = []
    for option in _resolved(node, root):
        if isinstance(part, int):
            found += [option["items"]] if "items" in option else []
        elif part in option.get("properties", {}):
            found.append(option["properties"][part])
        elif isinstance(option.get("additionalProperties"), dict):
            found.append(option["additionalProperties"])
    return found
