"""The command `transferscope`: handed over to the process on standby where there is one."""

from __future__ import annotations

import sys

from transferscope.commands.standby import hand_over


def main() -> None:
    """Run the command line."""
    hand_over(sys.argv)
    # Loaded only now: a command that is handed over needs none of it.
    from transferscope.commands.app import main as run
    from transferscope.runtime.compiler_on_demand import compiler_on_demand

    with compiler_on_demand():
        run()
