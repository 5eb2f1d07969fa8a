"""`doctor` and `demo`: the workspace itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlops_nb.commands.grammar import Caller, Command, pass_caller

if TYPE_CHECKING:
    from mlops_nb.health import Diagnosis


@click.command(cls=Command)
@click.option("--repair", is_flag=True, help="Mend what can be mended.")
@pass_caller
def doctor(caller: Caller, repair: bool) -> Diagnosis:
    """What is wrong with this workspace, each with its cure."""
    return caller.workspace.doctor(repair=repair)


COMMANDS = (doctor,)
