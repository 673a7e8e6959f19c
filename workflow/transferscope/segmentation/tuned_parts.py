"""Finished trainings of a segmentation job, one file each, which a killed job keeps."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferscope.errors import UserError
from transferscope.segmentation.scores import image_table
from transferscope.segmentation.table_names import MASK, TESTED_ON
from transferscope.stores.parquet import read_parquet, write_parquet

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TunedPart:
    """What one training came to.

    Parameters
    ----------
    rows
        Of the table of tiles.
    loss, step
        Validation loss of the weights that were kept, and after which step.
    elsewhere
        Of the table of other datasets' tiles.
    """

    rows: list[dict[str, Any]]
    loss: float
    step: int
    elsewhere: list[dict[str, Any]]


class TunedParts:
    """Results of finished trainings, and the checkpoint of the running one.

    Parameters
    ----------
    folder
        Where they lie. It belongs to one job.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, fingerprint: str) -> TunedPart | None:
        """Return the result of a training by the digest of all that it depends on."""
        path = self._results(fingerprint)
        if not path.exists():
            return None
        try:
            table = read_parquet(path, ["kept_loss", "kept_step"])
        except UserError as error:
            logger.warning("%s: the training is repeated", error)
            return None
        loss, step = float(table["kept_loss"].iloc[0]), int(table["kept_step"].iloc[0])
        table = table.drop(columns=["kept_loss", "kept_step"])
        is_elsewhere = table[TESTED_ON] != ""
        here: list[Any] = table[~is_elsewhere].drop(columns=TESTED_ON).to_dict("records")
        elsewhere: list[Any] = table[is_elsewhere].to_dict("records")
        return TunedPart(here, loss, step, elsewhere)

    def store(self, fingerprint: str, part: TunedPart) -> None:
        """Keep a result, and drop the checkpoint."""
        self.folder.mkdir(parents=True, exist_ok=True)
        table = image_table([*part.rows, *part.elsewhere])
        table[TESTED_ON] = [""] * len(part.rows) + [row[TESTED_ON] for row in part.elsewhere]
        if any(MASK in row for row in part.rows):
            nothing = [None] * len(part.elsewhere)
            table[MASK] = [row[MASK] for row in part.rows] + nothing
        table = table.assign(kept_loss=part.loss, kept_step=part.step)
        write_parquet(table, self._results(fingerprint), {})
        self.checkpoint(fingerprint).unlink(missing_ok=True)

    def checkpoint(self, fingerprint: str) -> Path:
        """Return where the state of a running training lies."""
        return self.folder / f"{fingerprint}.pt"

    def remove(self) -> None:
        """Remove everything, once the tables of the job are written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _results(self, fingerprint: str) -> Path:
        return self.folder / f"{fingerprint}.parquet"
