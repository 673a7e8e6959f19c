"""From a checkpoint file to weights under the names of a network here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from transferscope.cards import LayoutName
from transferscope.checkpoints.layouts import LAYOUTS
from transferscope.checkpoints.layouts.base import Converted, Layout, Network, recognised
from transferscope.checkpoints.layouts.timm_names import convert_by_names
from transferscope.checkpoints.location import NetworkWeights, locate
from transferscope.checkpoints.positions import GridError
from transferscope.checkpoints.reading import Checkpoint
from transferscope.errors import Problem, UserError

SHOWN = 8
ONLY_SQUARE = "Only weights for square images can be used."
AUTO = "auto"


def convert(
    checkpoint: Checkpoint,
    layout: LayoutName | str = AUTO,
    state_key: str | None = None,
    network: Network | None = None,
    wanted: Collection[str] = (),
) -> Converted:
    """Return the weights of a file under the names of a network here.

    Parameters
    ----------
    checkpoint
        The file.
    layout
        How the file names its weights; ``auto``: whichever recognises it first.
    state_key
        Which network of a file that holds several; None: the teacher.
    network, wanted
        A network and the names of its weights, by which they are looked up where no layout
        recognises the file.

    Raises
    ------
    UserError
        Where no layout fits, or the weights are not what the layout promises.
    """
    for one, located in _candidates(checkpoint, layout, state_key):
        try:
            converted = _with_names(one.convert(located), wanted)
        except GridError as error:
            raise UserError(Problem(str(checkpoint.path), str(error), ONLY_SQUARE)) from None
        except (KeyError, ValueError, IndexError, RuntimeError) as error:
            raise UserError(_unlike(checkpoint, one, error)) from None
        _check_grid(checkpoint, converted)
        return converted
    if network is not None and layout in (AUTO, "timm"):
        found = convert_by_names(checkpoint, state_key, wanted, network)
        if found is not None:
            return _with_names(found, wanted)
    raise UserError(_unrecognised(checkpoint, layout, state_key))


def _check_grid(checkpoint: Checkpoint, converted: Converted) -> None:
    """Refuse positions that only happen to be a square number, where the file says so."""
    network = converted.network
    if network.image_size is None or network.patch_size is None:
        return
    patches = (network.image_size // network.patch_size) ** 2
    for height, width in sorted(checkpoint.facts.sizes):
        rows, columns = height // network.patch_size, width // network.patch_size
        if rows != columns and rows * columns == patches:
            what = f"its {patches} positions are of {rows} x {columns} patches, as it says itself"
            raise UserError(Problem(str(checkpoint.path), what, ONLY_SQUARE))


def _with_names(converted: Converted, wanted: Collection[str]) -> Converted:
    """Add the weights that the network has under the same names, where these are timm's own."""
    if converted.layout != "timm":
        return converted
    given = converted.located.tensors
    named = {name: given[name] for name in wanted if name in given}
    state = {**converted.state, **named}
    return replace(converted, state=state, consumed=converted.consumed | set(named))


def _candidates(
    checkpoint: Checkpoint, layout: str, state_key: str | None
) -> list[tuple[Layout, NetworkWeights]]:
    """Return the layout to try, if any, with where its weights are."""
    named = [one for one in LAYOUTS if layout in (AUTO, one.name)]
    found = [(one, recognised(one, checkpoint, state_key)) for one in named]
    if layout != AUTO:
        # An explicit layout is trusted if the file has the weight that it is recognised by.
        found += [(one, locate(checkpoint, one.anchor, state_key)) for one in named]
    return [(one, located) for one, located in found if located is not None][:1]


def _unlike(checkpoint: Checkpoint, layout: Layout, error: Exception) -> Problem:
    what = f"is no complete file of the layout {layout.name}: {error or type(error).__name__}"
    fix = "Download it again, or give another `layout` in the card."
    return Problem(str(checkpoint.path), what, fix)


def _unrecognised(checkpoint: Checkpoint, layout: str, state_key: str | None) -> Problem:
    held = listed(list(checkpoint.tensors))
    place = f" under `{state_key}`" if state_key else ""
    if layout != AUTO:
        what = f"holds no weights of the layout {layout}{place}; it holds {held}"
        return Problem(str(checkpoint.path), what, "Use `layout: auto`, or fix `state_key`.")
    what = f"holds no weights of a known layout{place}; it holds {held}"
    known = ", ".join(dict.fromkeys(one.name for one in LAYOUTS))
    fix = f"Known layouts: {known}. Give the architecture in a card, if timm has it."
    return Problem(str(checkpoint.path), what, fix)


def listed(names: list[str]) -> str:
    """Return names as text, the first few of them where there are many."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
