"""`transferscope strategies`: what each channel strategy feeds a backbone, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(invoke_without_command=True)


@app.callback()
def strategies(
    dataset: Annotated[str, typer.Option(help="Dataset card, by name or by path.")],
    backbone: Annotated[str, typer.Option(help="Backbone card, by name or by path.")],
    output: Annotated[list[Path], typer.Option(help="Picture to write; once for each format.")],
    strategy: Annotated[
        list[str] | None,
        typer.Option(help="Channel strategy; once for each. Unless given, all that are served."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random order that is shown.")] = 0,
    dpi: Annotated[int, typer.Option(help="Resolution of a PNG.")] = 150,
) -> None:
    """Draw which channel of a dataset meets which slot of a backbone, under each strategy."""
    from transferscope.errors import Problem, UserError
    from transferscope.figures.channel_strategies import draw_channel_strategies
    from transferscope.figures.style import check_outputs, save, style

    check_outputs(output)
    dataset_card, backbone_card = _cards(dataset, backbone)
    if not backbone_card.is_network:
        what = "hand-crafted features take all channels as they are, whatever the strategy"
        raise UserError(Problem("--backbone", what, "Name a network."))
    shown = _served(dataset_card, backbone_card, strategy, seed)
    with style():
        save(draw_channel_strategies(dataset_card, backbone_card, shown), output, dpi)


def _cards(dataset: str, backbone: str) -> tuple[Any, Any]:
    from transferscope.cards import BackboneCard, DatasetCard
    from transferscope.cards.lookup import card_roots, locate_card

    roots = card_roots()
    return (
        locate_card(dataset, "datasets", DatasetCard, roots).card,
        locate_card(backbone, "backbones", BackboneCard, roots).card,
    )


def _served(dataset: Any, backbone: Any, strategies: list[str] | None, seed: int) -> list[str]:
    """Return the strategies to draw; one that was asked for and cannot be served is an error."""
    from transferscope.channels.assignment import strategies_for
    from transferscope.config.channel_strategies import ONLY, STRATEGIES, check_name
    from transferscope.errors import Problem, UserError

    requested = strategies or [*STRATEGIES, *(ONLY + channel for channel in dataset.channels)]
    try:
        checked = [check_name(name) for name in requested]
    except ValueError as error:
        raise UserError(Problem("--strategy", str(error))) from None
    served, refused = strategies_for(backbone, checked, dataset.channels, [seed])
    if strategies and refused:
        raise UserError([Problem(f"--strategy {name}", why) for name, why in refused.items()])
    return served
