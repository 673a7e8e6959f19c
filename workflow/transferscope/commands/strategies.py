"""`transferscope strategies`: a figure of what each channel strategy feeds a backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option, Typer

from transferscope.cards import BackboneCard, DatasetCard
from transferscope.cards.lookup import card_roots, locate_card
from transferscope.commands.options import file_out
from transferscope.config.channel_strategies import ONLY, STRATEGIES, check_name
from transferscope.errors import Problem, UserError

app = Typer(invoke_without_command=True)


@app.callback()
def strategies(
    dataset: Annotated[str, Option(help="Dataset card, by name or by path.")],
    backbone: Annotated[str, Option(help="Backbone card, by name or by path.")],
    output: Annotated[list[Path], file_out("Figure to write; once per format.")],
    strategy: Annotated[
        list[str] | None,
        Option(help="Channel strategy; may be repeated. Default: all that are possible."),
    ] = None,
    seed: Annotated[int, Option(min=0, help="Seed of the random order to show.")] = 0,
    dpi: Annotated[int, Option(min=10, max=2400, help="Resolution of a PNG.")] = 150,
) -> None:
    """Draw which channel of a dataset is fed to which slot of a backbone, per strategy."""
    from transferscope.figures.channel_strategies import draw_channel_strategies
    from transferscope.figures.style import check_outputs, save, style

    check_outputs(output)
    dataset_card = locate_card(dataset, "datasets", DatasetCard, card_roots()).card
    backbone_card = locate_card(backbone, "backbones", BackboneCard, card_roots()).card
    if not backbone_card.is_network:
        what = "hand-crafted features use all channels, whatever the strategy"
        raise UserError(Problem("--backbone", what, "Name a network."))
    shown = _served(dataset_card, backbone_card, strategy, seed)
    with style():
        save(draw_channel_strategies(dataset_card, backbone_card, shown), output, dpi)


def _served(
    dataset: DatasetCard, backbone: BackboneCard, strategies: list[str] | None, seed: int
) -> list[str]:
    """Return the strategies to draw; one that was requested but is impossible is an error."""
    from transferscope.channels.assignment import strategies_for

    requested = strategies or [*STRATEGIES, *(ONLY + channel for channel in dataset.channels)]
    try:
        checked = [check_name(name) for name in requested]
    except ValueError as error:
        raise UserError(Problem("--strategy", str(error), "Give one of these.")) from None
    served, refused = strategies_for(backbone, checked, dataset.channels, [seed])
    if strategies and refused:
        raise UserError(
            [Problem(f"--strategy {name}", why, "Leave it out.") for name, why in refused.items()]
        )
    return served
