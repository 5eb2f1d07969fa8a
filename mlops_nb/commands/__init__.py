"""Every command, defined once for `%mlops`, `%%mlops` and `mlops`.

A command returns a value; the face (cli.py, magics.py) shows it. What a command knows of its face
is in `Caller`. One module a noun; `group()` joins them.

A value may have `exit_code` (the terminal's), `raise_for_status()` (called in a notebook, where
the cells below must not run on), and is a context manager when it can hold a body.
"""

from __future__ import annotations

from mlops_nb.commands.grammar import Caller, Group, group_of, holds_body

__all__ = ["Caller", "Group", "group", "holds_body"]


def group() -> Group:
    """The `mlops` command with all its sub-commands."""
    from mlops_nb.commands import data, demo, house, models, notebooks, runs, tracking

    return group_of(tracking, runs, data, models, notebooks, house, demo)
