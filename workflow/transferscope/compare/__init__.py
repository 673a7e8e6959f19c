"""From all scores and predictions to intervals, paired differences and sentences."""

from __future__ import annotations

from transferscope.compare.study import compare

__all__ = ["compare"]
