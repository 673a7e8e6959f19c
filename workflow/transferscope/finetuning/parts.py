"""Finished divisions of a fine-tuning job: one file per division, which a killed job keeps."""

from __future__ import annotations

import logging
import shutil
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from transferscope.runtime.atomic_files import replacing
from transferscope.stores.parquet import read_parquet

logger = logging.getLogger(__name__)

Scores = npt.NDArray[np.float32]


class Parts:
    """Scores and histories of finished divisions, and the checkpoint of the running one.

    Parameters
    ----------
    folder
        Where they lie. It belongs to one job.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, fingerprint: str) -> tuple[Scores, Scores] | None:
        """Return the scores of the validation and of the test rows; None: not finished.

        Parameters
        ----------
        fingerprint
            Of all that they depend on.
        """
        path = self._scores(fingerprint)
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as stored:
                return stored["validation"], stored["test"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            logger.warning("%s cannot be read (%s): the training is repeated", path, error)
            return None

    def store(self, fingerprint: str, validation: Scores, test: Scores) -> None:
        """Keep the scores [n, C] of a finished division, by rename, and drop its checkpoint."""
        with replacing(self._scores(fingerprint)) as temporary, temporary.open("wb") as file:
            np.savez(file, validation=validation, test=test)
        self.checkpoint(fingerprint).unlink(missing_ok=True)

    def checkpoint(self, fingerprint: str) -> Path:
        """Return where the state of a running division lies."""
        return self.folder / f"{fingerprint}.pt"

    def history(self, fingerprint: str) -> Path:
        """Return where the losses of a division lie."""
        return self.folder / f"{fingerprint}.history.parquet"

    def losses(self, fingerprint: str) -> pd.DataFrame | None:
        """Return the losses of a division; None where nothing was trained."""
        path = self.history(fingerprint)
        return read_parquet(path) if path.exists() else None

    def remove(self) -> None:
        """Remove everything, once the tables of the job are written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _scores(self, fingerprint: str) -> Path:
        return self.folder / f"{fingerprint}.npz"
