"""YAML as plain data; a key that is given twice is an error, not the last of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from transferscope.config.yaml_limits import check_yaml_limits
from transferscope.errors import Problem, UserError

# As safe as `yaml.SafeLoader`, and much faster if libyaml is installed: studies have many cards.
SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Raised by PyYAML for odd values, such as a date that does not exist.
ODD_VALUES = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RecursionError,
)
ENDLESS = 1 << 30


def parse_yaml(text: str, path: Path) -> Any:
    """Return the value of a YAML document as plain data.

    Parameters
    ----------
    text
        The document. Tags that would create objects are refused.
    path
        Its file, for messages.

    Raises
    ------
    UserError
        With every key that a mapping gives twice, at any depth.
    yaml.YAMLError
        Where it is not valid; other errors of PyYAML are raised for odd values.
    """
    check_yaml_limits(text)
    loader = SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if problems := list(_repeated(loader, node, path)):
            raise UserError(problems)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def check_keys(path: Path) -> None:
    """Check a file that another program reads, which would take the last of two equal keys.

    Raises
    ------
    UserError
        With every key that is given twice. What else is wrong, the other program says.
    """
    with suppress(OSError, yaml.YAMLError, *ODD_VALUES):
        text = path.read_text(encoding="utf-8")
        if text.lstrip().startswith("{"):  # JSON, which may be indented by tabs
            text = text.replace("\t", " ")
        parse_yaml(text, path)


def _repeated(loader: Any, root: yaml.Node, path: Path) -> Iterator[Problem]:
    """Yield a problem for every key that is given again in its mapping.

    Keys are compared as they are read: `1` and `0x1` are the same. What a merge (`<<`) brings may
    be given again.
    """
    waiting: list[tuple[yaml.Node, str]] = [(root, "")]
    seen: set[int] = set()
    while waiting:
        node, place = waiting.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += [(item, f"{place}.{n}") for n, item in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            yield from _repeated_here(loader, node, path, place)
            waiting += [(value, f"{place}.{_name(key)}") for key, value in node.value]


def _repeated_here(
    loader: Any, node: yaml.MappingNode, path: Path, place: str
) -> Iterator[Problem]:
    first: dict[Any, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        value, line = _constructed(loader, key), key.start_mark.line + 1
        if value in first:
            name = f"{place}.{_name(key)}".lstrip(".")
            lines = f"in line {first[value]} and in line {line}"
            lines = f"both times in line {line}" if line == first[value] else lines
            what = f"the key is given twice, {lines}"
            yield Problem(f"{path}, line {line}, key {name}", what, "Keep one of them.")
        else:
            first[value] = line


def _constructed(loader: Any, key: yaml.ScalarNode) -> Any:
    try:
        return loader.construct_object(key)
    except (yaml.YAMLError, *ODD_VALUES):
        return key.tag, key.value


def _name(key: yaml.Node) -> str:
    return key.value if isinstance(key, yaml.ScalarNode) else "?"


def flow_yaml(key: str, values: Sequence[str]) -> str:
    """Return a key and its list as one line of YAML, with quotes where YAML needs them.

    Examples
    --------
    >>> flow_yaml("labels", ["golgi", "no", "a, b"])
    "labels: [golgi, 'no', 'a, b']"
    """
    # Control characters come back, and stay in one line, only as escapes in double quotes.
    plain = all(value.isprintable() for value in values)
    text = yaml.safe_dump(
        list(values),
        default_flow_style=True,
        default_style=None if plain else '"',
        allow_unicode=plain,
        width=ENDLESS,
    )
    return f"{key}: {text.strip()}"
