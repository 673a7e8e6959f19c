"""JSON schemas of config and cards, generated from the models for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from transferscope.cards import BackboneCard, DatasetCard
from transferscope.cards.relations import RelationCard
from transferscope.config.study import StudyConfig
from transferscope.runtime.atomic_files import write_atomically

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SCHEMAS: dict[str, Any] = {
    "config": StudyConfig,
    "dataset": DatasetCard,
    "backbone": BackboneCard,
    "relations": RelationCard,
}


def schema_text(name: str) -> str:
    """Return the JSON schema of a name in `SCHEMAS` as text."""
    schema = {"$schema": DIALECT, **TypeAdapter(SCHEMAS[name]).json_schema()}
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def write_schemas(folder: Path) -> None:
    """Write every schema into a folder, as `<name>.schema.json`."""
    for name in SCHEMAS:
        write_atomically(folder / f"{name}.schema.json", schema_text(name))
