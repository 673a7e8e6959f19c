"""What a part of the benchmark returns, and how it becomes Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One comparison.

    Parameters
    ----------
    what
        What is compared.
    plain, ours
        Figures with their units.
    ratio
        How many times better ours is; of times and bytes, how many times as much it takes.
    target
        What the ratio should be, such as ``>= 3``; empty: none.
    note
        What has to be known to read the figures.
    """

    what: str
    plain: str
    ours: str
    ratio: float | None = None
    target: str = ""
    note: str = ""

    def verdict(self) -> str:
        """Return the target and whether it is met."""
        if not self.target or self.ratio is None:
            return self.target
        sign, bound = self.target.split()
        met = self.ratio >= float(bound) if sign == ">=" else self.ratio <= float(bound)
        return f"{self.target}: {'met' if met else '**missed**'}"

    def cells(self) -> list[str]:
        """Return the row's cells."""
        ratio = "" if self.ratio is None else f"{self.ratio:.2g}"
        if self.ratio is not None and self.ratio >= 10:
            ratio = f"{self.ratio:.0f}"
        elif self.ratio is not None and self.ratio >= 1:
            ratio = f"{self.ratio:.1f}"
        return [self.what, self.plain, self.ours, ratio, self.verdict(), self.note]


@dataclass(frozen=True)
class Table:
    """A further table of a part."""

    header: list[str]
    rows: list[list[str]]


@dataclass
class Part:
    """All that one part of the benchmark found."""

    title: str
    rows: list[Row] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    remark: str = ""

    def markdown(self) -> str:
        """Return the part as Markdown."""
        blocks = [f"### {self.title}"]
        if self.rows:
            header = ["what", "the plain way", "transferscope", "ratio", "target", "note"]
            blocks.append(_markdown(header, [row.cells() for row in self.rows]))
        blocks += [_markdown(table.header, table.rows) for table in self.tables]
        return "\n\n".join([*blocks, self.remark] if self.remark else blocks)


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
