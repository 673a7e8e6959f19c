"""What a correction knows of the rows: their batches, and which are negative controls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from transferscope.runtime.arrays import Bools, Floats, Integers, Texts


@dataclass(frozen=True)
class Rows:
    """Batch and role of each row; a correction sees nothing else, in particular no label.

    Parameters
    ----------
    codes
        Batch of each row, int64 [N], an index into `names`.
    names
        Names of the B batches, in sorted order.
    controls
        Whether a row is a negative control, bool [N].
    """

    codes: Integers
    names: list[str]
    controls: Bools

    @classmethod
    def of(cls, batches: Texts | None, controls: Bools) -> Rows:
        """Return the rows of batches, str [N]; None: all rows are of one batch."""
        if batches is None:
            return cls(np.zeros(len(controls), dtype=np.int64), ["all rows"], controls)
        codes, names = pd.factorize(batches, sort=True)
        return cls(codes.astype(np.int64), [str(name) for name in names], controls)

    @property
    def n_controls(self) -> Integers:
        """Number of controls of each batch, int64 [B]."""
        counted: Integers = np.bincount(self.codes[self.controls], minlength=len(self.names))
        return counted

    def of_batch(self, batch: int) -> Bools:
        """Return whether a row is of a batch, bool [N]."""
        return np.asarray(self.codes == batch)

    def batch_means(self, values: Floats, *, of_controls: bool) -> Floats:
        """Return the mean of each batch, over its controls or over all rows; [B, D].

        A batch without such rows has the value NaN.
        """
        used = self.controls if of_controls else np.ones(len(self.codes), dtype=bool)
        sums = np.zeros((len(self.names), values.shape[1]))
        for batch in range(len(self.names)):
            sums[batch] = values[used & self.of_batch(batch)].sum(axis=0)
        counts = np.bincount(self.codes[used], minlength=len(self.names))
        missing = np.full_like(sums, np.nan)
        return np.divide(sums, counts[:, None], out=missing, where=counts[:, None] > 0)
