"""What a cell depends on: the cells, as they were executed, that its names come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_nb.names import Names


def upstream(pieces: Sequence[Names | None], target: int) -> set[int]:
    """The positions that `pieces[target]` depends on, itself left out.

    `pieces` are the names of the cells in the order of execution, None where one cannot be read.
    For each name a cell reads, that is the last execution above it which bound the name, and what
    that one depends on in turn. One that binds unseen names (`star`) may have bound any.
    """
    found: set[int] = set()
    waiting = [target]
    while waiting:
        position = waiting.pop()
        piece = pieces[position]
        if piece is None:
            continue
        sources = _binders(pieces, {*piece.used, *piece.optional}, position)
        # What a function reads must be there by the call, not by its definition.
        sources |= _binders(pieces, set(piece.deferred), target)
        waiting += sources - found
        found |= sources
    return found - {target}


def _binders(pieces: Sequence[Names | None], wanted: set[str], below: int) -> set[int]:
    """The last pieces before `below` that bind the wanted names."""
    binders = set()
    for position in range(below - 1, -1, -1):
        piece = pieces[position]
        if piece is not None and wanted and (piece.star or wanted & piece.defined.keys()):
            binders.add(position)
            wanted = wanted - piece.defined.keys()
    return binders
