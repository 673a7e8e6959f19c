"""Options that several steps share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from transferscope.errors import Problem, UserError

ManifestIn = Annotated[Path, typer.Option(help="Manifest (.json) of the store to read.")]
CardPath = Annotated[Path, typer.Option(help="Dataset card (.yaml).")]
SettingsJson = Annotated[
    str, typer.Option(help="Settings of this step as JSON; the defaults else.")
]
ManifestOut = Annotated[Path, typer.Option(help="Manifest to write; the store lies beside it.")]
TileTableOut = Annotated[Path, typer.Option(help="Tile table to write (.parquet).")]
QualityOut = Annotated[Path, typer.Option(help="Quality table to write (.csv).")]
SkippedOut = Annotated[Path, typer.Option(help="Table of skipped fields to write (.tsv).")]
BadFields = Annotated[str, typer.Option(help="stop or skip, for an unusable field.")]
TableIn = Annotated[Path, typer.Option(help="Tile table (.parquet).")]


def settings_from_json(text: str, kind: Any) -> Any:
    """Return the settings of a step, given as JSON.

    Raises
    ------
    UserError
        Where the text is not JSON, or no such settings.
    """
    from transferscope.config.model import validate

    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(Problem("--settings", f"not valid JSON: {error}")) from None
    return validate(value, kind, "--settings")
