"""What each cell has given to a run, and what of it the next run begins with.

A contribution is a param or metric logged, a dataset input, a model trained. A cell that gives for
the second time, executed again, makes a new run: what it gave before was another result. The new
run begins with the params and inputs of the cells that the repeated one depends on and that were
not repeated; never with metrics.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_nb.datasets import DatasetVersion
    from mlops_nb.runs import ExecutedCell


@dataclass
class Given:
    """What one execution of a cell gave."""

    number: int
    params: dict[str, str] = field(default_factory=dict)
    inputs: list[tuple[DatasetVersion, str]] = field(default_factory=list)  # with their context
    fitted: bool = False


class Contributions:
    """Of one run, by cell. Outside of a notebook all comes from one cell that never repeats."""

    def __init__(self) -> None:
        self._by_cell: dict[str, Given] = {}

    def __bool__(self) -> bool:
        return bool(self._by_cell)

    def is_repeated(self, cell: ExecutedCell | None) -> bool:
        """The cell gave to this run when it was executed before."""
        before = self._by_cell.get(_key(cell))
        return before is not None and cell is not None and before.number != cell.number

    def of(self, cell: ExecutedCell | None) -> Given:
        """What the cell has given, to be added to."""
        return self._by_cell.setdefault(_key(cell), Given(cell.number if cell else 0))

    def of_all(self) -> list[Given]:
        return list(self._by_cell.values())

    def carried(
        self, cell: ExecutedCell | None, above: Sequence[ExecutedCell] | None, *, same_pass: bool
    ) -> Given:
        """What a next run that begins in `cell` takes over.

        `above` are the cells that it depends on; None in a script, where the data is all that
        surely holds. In the same pass of a cell (a second model in a loop) its own data stays too.
        A model is taken over only by a cell that measures it, not by one that trains anew.
        """
        keys = {each.key for each in above or ()} - {_key(cell)}
        own = above is None or same_pass
        taken = Given(0)
        for key, given in self._by_cell.items():
            if key in keys:
                taken.params |= given.params
                taken.fitted |= given.fitted
            if key in keys or (own and key == _key(cell)):
                taken.inputs += given.inputs
        taken.fitted &= not same_pass and not self.of(cell).fitted
        return taken


def _key(cell: ExecutedCell | None) -> str:
    return cell.key if cell else ""
