"""Small tables of features, and studies of them, as a user would lay them out."""

from pathlib import Path

import numpy as np
import pandas as pd

from factories import STUDY, write_study, write_yaml

CLASSES = ["low", "high"]
CARD = {
    "name": "wells",
    "source": "table",
    "table": "profiles.csv",
    "columns": {"group": "Metadata_gene", "batch": "Metadata_Plate", "labels": "Metadata_class"},
    "features": {"cellprofiler": "Cells_*|Nuclei_*", "deep": "deep_*"},
    "task": "single-label",
    "labels": CLASSES,
}


def profiles(n_groups: int = 12, repeats: int = 4, seed: int = 0) -> pd.DataFrame:
    """Return a table of wells: genes on plates, of two classes that the features tell apart."""
    rng = np.random.default_rng(seed)
    rows = []
    for group in range(n_groups):
        for plate in range(repeats):
            own = rng.normal(size=6) + 2 * (group % 2)
            rows.append(
                {
                    "Metadata_gene": f"gene{group:02d}",
                    "Metadata_Plate": f"plate{plate}",
                    "Metadata_Well": f"A{group:02d}",
                    "Metadata_class": CLASSES[group % 2],
                    **{f"Cells_{n}": own[n] for n in range(3)},
                    "Nuclei_Area": own[3],
                    **{f"deep_{n}": own[4 + n] for n in range(2)},
                }
            )
    return pd.DataFrame(rows)


def write_card(folder: Path, table: pd.DataFrame, /, **changes: object) -> Path:
    """Write a table and its card into a folder; return the card."""
    card = {**CARD, **changes}
    path = folder / str(card["table"])
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False)
    return write_yaml(folder / "wells.yaml", {k: v for k, v in card.items() if v is not None})


def write_table_study(folder: Path, table: pd.DataFrame | None = None, **changes: object) -> Path:
    """Write a study of one table, without any backbone; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_card(folder, profiles() if table is None else table)
    alone = {"datasets": ["wells.yaml"], "backbones": []}
    write_yaml(folder / "study.yaml", {**STUDY, **alone, **changes})
    return folder


def write_mixed_study(folder: Path, **changes: object) -> Path:
    """Write a study of a dataset of images and a table; return the folder."""
    both = {"datasets": ["cards/datasets/cells.yaml", "wells.yaml"]}
    write_study(folder, **{**both, **changes})
    write_card(folder, profiles())
    return folder
