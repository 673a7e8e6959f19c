"""The steps that take features from a table: `given-table` and `given-features`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option, Typer

from transferscope.commands.options import CardIn, ManifestOut, TableIn, TableOut, file_out

app = Typer()

BadRows = Annotated[str, Option(help="stop or skip, at a row without a group or a value.")]


@app.command("given-table")
def given_table(
    card: CardIn,
    output: TableOut,
    skipped: Annotated[Path, file_out("Table of skipped rows to write (.tsv).")],
    bad_tiles: BadRows = "stop",
) -> None:
    """Check the table of a dataset with `source: table`, and write its rows as a tile table."""
    from transferscope.given.build import make_table

    skip = bad_tiles == "skip"
    make_table(card.card, card.path, output=output, skipped=skipped, skip=skip)


@app.command("given-features")
def given_features(
    card: CardIn,
    features: Annotated[str, Option(help="Name of the set of features.")],
    table: TableIn,
    manifest: ManifestOut,
    bad_tiles: BadRows = "stop",
) -> None:
    """Write a set of features of such a table as an embedding store."""
    from transferscope.given.build import make_store

    skip = bad_tiles == "skip"
    make_store(card.card, card.path, features, table=table, manifest=manifest, skip=skip)
