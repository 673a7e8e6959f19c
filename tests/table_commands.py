"""The commands that read a table of the user's, called in this process as they are typed."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from typer.testing import CliRunner, Result

from factories import write_yaml
from transferscope.commands.app import app
from transferscope.errors import UserError
from transferscope.stores.parquet import read_parquet, write_parquet

KEYS = ["P1", "P2", "P3", "P4"]
CLASSES = ["er", "golgi", "Nuclear bodies"]
CARD = {"name": "d", "sheet": "samples.tsv", "channels": ["nucleus"], "labels": CLASSES}


def invoke(*arguments: object) -> Result:
    """Run a command in this process; a user's mistake is the result's exception."""
    return CliRunner().invoke(app, [*map(str, arguments)])


def message(result: Result) -> str:
    """Return the message in which a command ended, which must be that of a user's mistake."""
    assert isinstance(result.exception, UserError), (result.output, result.exception)
    return str(result.exception)


@dataclass(frozen=True)
class Reader:
    """A command that reads a table.

    Parameters
    ----------
    columns
        The columns it wants: key, labels, and further ones.
    read
        Runs it on a table in a folder; returns the result and what was read: labels by key.
    """

    columns: Sequence[str]
    read: Callable[[Path, Path], tuple[Result, dict[str, str]]]

    def row(self, key: str, labels: str) -> list[str]:
        """Return a row of its table."""
        own = {"tile_id": key, "id": key, "key": key, "labels": labels, "path": f"{key}.tif"}
        return [own.get(name, f"g{key}") for name in self.columns]


def prepare(folder: Path) -> Path:
    """Write an image per key, and the tile table of all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for key in KEYS:
        image = rng.integers(0, 255, (8, 8)).astype(np.uint8)
        for name in (f"{key}.tif", f"images/{key}_red.tif"):
            (folder / name).parent.mkdir(exist_ok=True)
            tifffile.imwrite(folder / name, image)
    tiles = pd.DataFrame({"tile_id": KEYS, "group": KEYS, "labels": ""})
    write_parquet(tiles, folder / "tiles.parquet", {"dataset": "d"})
    return folder


def _relabel(folder: Path, table: Path) -> tuple[Result, dict[str, str]]:
    given = {**CARD, "label_table": table.name}
    card = write_yaml(folder / "card.yaml", given)
    out = folder / "out.parquet"
    done = invoke("relabel", "--table", folder / "tiles.parquet", "--card", card, "--output", out)
    return done, {} if done.exit_code else _labels(read_parquet(out))


def _sheet(folder: Path, table: Path) -> tuple[Result, dict[str, str]]:
    out = folder / "built.tsv"
    named = f"{table}:key:labels"
    done = invoke(
        *(
            "sheet",
            folder,
            "--pattern",
            "{group}.tif",
            "--labels",
            named,
            "--output",
            out,
            "--overwrite",
        )
    )
    return done, {} if done.exit_code else _labels(_plain(out))


def _tiles(folder: Path, table: Path) -> tuple[Result, dict[str, str]]:
    card = write_yaml(folder / "card.yaml", CARD)
    out = [folder / f"d.{name}" for name in ("json", "parquet", "csv", "tsv")]
    options = zip(("--manifest", "--table", "--quality", "--skipped"), out, strict=True)
    done = invoke("tiles", "--sheet", table, "--card", card, *[o for pair in options for o in pair])
    return done, {} if done.exit_code else _labels(read_parquet(out[1]))


def _fetch(folder: Path, table: Path) -> tuple[Result, dict[str, str]]:
    fetch = {
        "kind": "hpa",
        "list": table.name,
        "url": "images/{id}_{colour}.tif",
        "colours": {"nucleus": "red"},
        "unlabelled": "keep",
    }
    card = {**CARD, "fetch": fetch}
    del card["sheet"]
    path = write_yaml(folder / "card.yaml", card)
    out = folder / "fetched" / "samples.tsv"
    done = invoke("fetch", "--card", path, "--sheet", out)
    return done, {} if done.exit_code else _labels(_plain(out))


def _plain(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


def _labels(table: pd.DataFrame) -> dict[str, str]:
    return dict(zip(table["tile_id"], table["labels"], strict=True))


READERS = {
    "sample sheet": Reader(("tile_id", "path", "group", "labels", "note"), _tiles),
    "hand labels": Reader(("tile_id", "labels", "note"), _relabel),
    "labels of a sheet": Reader(("key", "labels", "note"), _sheet),
    "list of a fetch": Reader(("id", "gene", "labels", "note"), _fetch),
}


def read_with(
    name: str, folder: Path, content: bytes, ending: str
) -> tuple[Result, dict[str, str]]:
    """Let a reader read a table of some content."""
    for old in folder.glob("given.*"):
        old.unlink()
    table = folder / f"given{ending}"
    table.write_bytes(content)
    # Nothing of an earlier run is there to be resumed.
    for left in folder.glob("d.*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    return READERS[name].read(folder, table)
