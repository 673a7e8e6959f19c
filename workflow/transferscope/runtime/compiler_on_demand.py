"""Loading timm without torch's compiler, which takes nearly as long to load as torch itself.

Two modules load the whole compiler for one function each, and most commands compile nothing:

- `torchvision.ops.roi_align`, which timm loads, takes `is_compile_supported` of
  `torch._dynamo.utils`, to ask when the operator is computed on a device without a kernel for it;
- timm marks methods of a few networks with `torch.compiler.disable`.

While these modules are loaded, and no longer, the first is given a function that loads the compiler
when it is called, and the methods are marked with `torch._disable_dynamo`, which torch itself uses
to mark functions before its compiler can be loaded. Whatever else is asked of the compiler
meanwhile, as other versions might, loads it at once.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import FunctionType, ModuleType
from typing import Any

COMPILER = "torch._dynamo.utils"
FUNCTION = "is_compile_supported"


@contextmanager
def compiler_on_demand() -> Iterator[None]:
    """Load timm, if it is loaded inside of this context, without torch's compiler."""
    finder = _Finder({"timm": _marked_on_demand, "torchvision.ops.roi_align": _function_on_demand})
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    """Finds some modules, each of which is loaded inside of a context."""

    def __init__(self, around: Mapping[str, Callable[[], AbstractContextManager[None]]]) -> None:
        self._around = around

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._around or COMPILER in sys.modules:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._around[fullname])
        return spec


class _Loader(Loader):
    """Loads a module as its own loader does, inside of a context."""

    def __init__(self, own: Loader, around: Callable[[], AbstractContextManager[None]]) -> None:
        self._own, self._around = own, around

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._own
        if module.__spec__ is not None:
            module.__spec__.loader = self._own
        with self._around():
            self._own.exec_module(module)


@contextmanager
def _marked_on_demand() -> Iterator[None]:
    import torch

    plain = torch.compiler.disable
    on_demand = getattr(torch, "_disable_dynamo", plain)

    def disable(fn: Any = None, *arguments: Any, **named: Any) -> Any:
        simple = isinstance(fn, FunctionType) and not arguments and not named
        # timm keeps a reference to this function.
        loading = torch.compiler.disable is disable
        return (on_demand if simple and loading else plain)(fn, *arguments, **named)

    torch.compiler.disable = disable
    try:
        yield
    finally:
        torch.compiler.disable = plain


@contextmanager
def _function_on_demand() -> Iterator[None]:
    stand_in = _StandIn(COMPILER)
    sys.modules[COMPILER] = stand_in
    try:
        yield
    finally:
        stand_in.leave()


class _StandIn(ModuleType):
    """Stands in for the module of the compiler, and leaves when more than `FUNCTION` is wanted."""

    def __init__(self, name: str) -> None:
        super().__init__(name)

        def on_demand(*arguments: Any, **named: Any) -> Any:
            return getattr(self._replaced(), FUNCTION)(*arguments, **named)

        setattr(self, FUNCTION, on_demand)

    def __getattr__(self, name: str) -> Any:
        # The import system asks whether it is a package.
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._replaced(), name)

    def leave(self) -> None:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]

    def _replaced(self) -> ModuleType:
        self.leave()
        return importlib.import_module(self.__name__)
