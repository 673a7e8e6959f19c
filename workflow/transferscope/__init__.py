"""Find which pretrained backbone transfers to a microscope, and how many labels it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transferscope.study.opened import open_study

__all__ = ["open_study"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import `open_study` when it is first asked for: commands import no more than they use."""
    if name == "open_study":
        from transferscope.study.opened import open_study

        return open_study
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
