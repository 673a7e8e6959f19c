"""Signatures of functions that Snakemake calls once a job.

It asks for the signature at each call, which Python puts together anew unless the function has it
as an attribute: an eighth of the time of planning thousands of jobs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])
AnyClass = TypeVar("AnyClass", bound=type)


def with_signature(function: AnyFunction) -> AnyFunction:
    """Return a function that has its signature as an attribute."""
    function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return function


def with_signatures(decorated: AnyClass) -> AnyClass:
    """Return a class all of whose methods have them."""
    for member in vars(decorated).values():
        if isinstance(member, FunctionType):
            with_signature(member)
    return decorated
