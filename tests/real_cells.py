"""The 794 single-cell crops of BBBC013, for the tests that read real images."""

from pathlib import Path

import pandas as pd


def cell_sheet(data: Path) -> pd.DataFrame:
    """Return a sample sheet of all cells: what people said of them, empty where they said nothing.

    The group is the row of the plate: the labels are confounded with the wells.
    """
    cells = pd.read_csv(data / "bbbc013/cells.csv")
    return pd.DataFrame(
        {
            "tile_id": cells["file"].str.removesuffix(".png"),
            "path": str(data / "bbbc013/crops") + "/" + cells["file"],
            "group": cells["well"].str[0],
            "labels": cells["human_label"].where(cells["human_label"] != "Unknown", ""),
            "well": cells["well"],
        }
    )
