"""The corrections by name, each in a safe form and, for comparison, in the published one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from transferscope.config.correction import HARMONY, SCALE, CorrectionName
from transferscope.correction.harmonising import harmonised
from transferscope.correction.rows import Rows
from transferscope.correction.standardising import (
    centred,
    on_controls,
    published_standardised,
    standardised,
)
from transferscope.correction.whitening import (
    few_directions,
    published_alignment,
    published_components,
    shrunk_whitening,
)
from transferscope.errors import user_error
from transferscope.runtime.arrays import Floats, Floats32

# A batch with fewer controls is not aligned by its own covariance.
LEAST_ALIGNED = 8


@dataclass(frozen=True)
class Corrected:
    """Corrected embeddings, and what was done to them.

    Parameters
    ----------
    embeddings
        float32 [N, D'].
    record
        Plain data: the method, the number of rows and controls it used, and what it limited.
    notes
        Sentences on what was done in another way than asked for.
    """

    embeddings: Floats32
    record: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def correct(
    embeddings: Floats32, rows: Rows, method: CorrectionName, *, published: bool = False
) -> Corrected:
    """Correct embeddings for their batches.

    Parameters
    ----------
    embeddings
        Finite values, [N, D].
    rows
        Batches and controls.
    method
        `none`; `center`: the mean of all rows of a batch is subtracted; `scale`: centred and scaled
        on the controls of all batches together, so that no batch is corrected; `standardise`: on
        those of each batch; `sphere`: then whitened by the controls of all batches; `tvn`: then
        each batch is whitened by its own controls; `harmony`: principal components, mixed over
        batches.
    published
        Follow EFAAR_benchmarking step by step: nothing is moderated or limited.

    Raises
    ------
    UserError
        If there are too few controls; the safe form needs two in all.
    """
    values = np.asarray(embeddings, dtype=np.float64)
    record: dict[str, Any] = {"method": method, "published": published, "n_rows": len(values)}
    if method == "none":
        return Corrected(np.asarray(embeddings, dtype=np.float32), record)
    record |= {"n_batches": len(rows.names), "n_controls": int(rows.controls.sum())}
    if method == "center":
        return _done(centred(values, rows), record, [])
    if method == HARMONY:
        return _done(harmonised(values, rows), record, [])
    if method == SCALE:
        rows = Rows.of(None, rows.controls)
    _require_controls(rows, method, values.shape[1], published=published)
    if published:
        return _done(_published(values, rows, method), record, [])
    return _safe(values, rows, method, record)


def _done(values: Floats, record: dict[str, Any], notes: list[str]) -> Corrected:
    return Corrected(values.astype(np.float32), record, notes)


def _safe(values: Floats, rows: Rows, method: str, record: dict[str, Any]) -> Corrected:
    notes = []
    scaled = standardised(values, rows)
    values = scaled.values
    counts = rows.n_controls
    without = [name for name, count in zip(rows.names, counts, strict=True) if not count]
    if without:
        notes.append(
            f"{len(without)} of {len(rows.names)} batches have no control (first {without[0]}): "
            "centred and scaled on the controls of all batches"
        )
    if scaled.n_unscaled:
        notes.append(
            f"{scaled.n_unscaled} of {values.shape[1]} features have one value in most controls: "
            "scaled by all rows"
        )
    record |= {"trust_in_batches": scaled.trust, "n_unscaled": scaled.n_unscaled}
    record["prior_df"] = None if np.isinf(scaled.prior) else scaled.prior
    if method in ("sphere", "tvn"):
        matrix, shrinkage = shrunk_whitening(values[rows.controls])
        values = values @ matrix
        record["shrinkage"] = shrinkage
    if method == "tvn":
        values, aligned = _aligned(values, rows)
        record["n_directions_of_batches"] = aligned
        if few := len(rows.names) - len(aligned):
            what = f"fewer than {LEAST_ALIGNED} controls: not aligned by their own covariance"
            notes.append(f"{few} of {len(rows.names)} batches have {what}")
    return _done(values, record, notes)


def _aligned(values: Floats, rows: Rows) -> tuple[Floats, dict[str, int]]:
    """Whiten each batch by its own controls; return the number of directions of each."""
    result, aligned = values.copy(), {}
    for batch, count in enumerate(rows.n_controls):
        if count >= LEAST_ALIGNED:
            own = rows.of_batch(batch)
            found = few_directions(values[own & rows.controls])
            result[own] = values[own] @ found.matrix
            aligned[rows.names[batch]] = found.n_directions
    return result, aligned


def _published(values: Floats, rows: Rows, method: str) -> Floats:
    if method == "standardise":
        return published_standardised(values, rows)
    controls = rows.controls
    values = on_controls(values, controls)
    values = published_components(values, values[controls])
    values = on_controls(values, controls)
    if method == "tvn":
        for batch in range(len(rows.names)):
            own = rows.of_batch(batch)
            values[own] = values[own] @ published_alignment(values[own & controls])
    return values


def _require_controls(rows: Rows, method: str, size: int, *, published: bool) -> None:
    """Check that a method has the controls that it needs."""
    total, where = int(rows.controls.sum()), f"correction {method}"
    if total < 2:
        what = f"needs negative controls, but {total or 'none'} of {len(rows.codes)} rows is one"
        raise user_error(where, what, "Name the controls, or use `none` or `center`.")
    if not published:
        return
    need = 2 if method == "tvn" else 1
    counts = rows.n_controls
    if method != "sphere" and counts.min() < need:
        few = rows.names[int(counts.argmin())]
        what = f"as published, needs {need} controls per batch, but {few} has {counts.min()}"
        raise user_error(where, what, "Use the safe form, or leave that batch out.")
    if method != "standardise" and total <= size:
        what = f"as published, needs more controls ({total}) than dimensions ({size})"
        raise user_error(where, what, "Use the safe form, which limits what is whitened.")
