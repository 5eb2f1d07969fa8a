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
        sources = _sources(pieces, position) - found
        found |= sources
        waiting += sources
    return found - {target}


def _sources(pieces: Sequence[Names | None], position: int) -> set[int]:
    piece = pieces[position]
    if piece is None:
        return set()
    wanted = {*piece.used, *piece.deferred, *piece.optional}
    sources = set()
    for above in range(position - 1, -1, -1):
        candidate = pieces[above]
        if candidate is None:
            continue
        if candidate.star or wanted & candidate.defined.keys():
            sources.add(above)
            wanted -= candidate.defined.keys()
    return sources
