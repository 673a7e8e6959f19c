"""Layouts: each module here that has `LAYOUTS`, one for each family of networks."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import get_args

from transferscope.cards import LayoutName
from transferscope.checkpoints.layouts.base import Layout


def _all_layouts() -> tuple[Layout, ...]:
    """Return every layout in the order of `LayoutName`; those of one name as their module has them.

    That is the order in which a file is asked: whoever recognises it first, has it.
    """
    modules = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]
    layouts: list[Layout] = [one for module in modules for one in getattr(module, "LAYOUTS", ())]
    order = get_args(LayoutName)
    return tuple(sorted(layouts, key=lambda one: order.index(one.name)))


LAYOUTS = _all_layouts()

__all__ = ["LAYOUTS", "Layout"]
