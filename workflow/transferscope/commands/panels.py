"""How `transferscope --help` groups the commands: what users give, and what the rules call."""

from __future__ import annotations

from typing import Any

from typer import Typer
from typer.core import TyperGroup

# In the order of the help. What is in none of them is called by the rules of the workflow.
PANELS = {
    "A study": ("init", "sheet", "alike", "study", "run", "demo", "status", "label", "predict"),
    "Backbones and channels": ("backbone", "strategies"),
    "Beyond a study": ("relate", "masks", "simulate", "schemas"),
    "Care of results": ("verify", "export", "publish", "convert", "costs", "doctor"),
}
STEPS = "Steps, which the rules of the workflow call"
USERS = [name for names in PANELS.values() for name in names]


class Grouped(TyperGroup):
    """The commands, those for users first."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands in the order of the help."""
        names = super().list_commands(ctx)
        return [*(name for name in USERS if name in names), *(n for n in names if n not in USERS)]


def group(app: Typer) -> None:
    """Give each command of an app, and of the apps without a name in it, its panel."""
    for command in app.registered_commands:
        name = command.name or command.callback.__name__.replace("_", "-")  # type: ignore[union-attr]
        command.rich_help_panel = _panel(name)
    for below in app.registered_groups:
        if isinstance(below.name, str):
            below.rich_help_panel = _panel(below.name)
        elif below.typer_instance is not None:
            group(below.typer_instance)


def _panel(name: str) -> Any:
    return next((panel for panel, names in PANELS.items() if name in names), STEPS)
