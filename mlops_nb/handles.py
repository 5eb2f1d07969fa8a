"""A run that is being written: the handle that `track` gives, and what it writes to."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from mlops_nb.contributions import Contributions
from mlops_nb.errors import MlopsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from mlops_nb.datasets import DatasetVersion
    from mlops_nb.runs import Run
    from mlops_nb.tracking import Tracker


class Runs(Protocol):
    """What tracking writes to: see backends/mlflow/runs.py."""

    def create(self, experiment: str, name: str, tags: Mapping[str, str]) -> tuple[str, str]: ...
    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None: ...
    def log_metrics(self, run_id: str, metrics: Mapping[str, float], *, step: int = 0) -> None: ...
    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None: ...
    def log_text(self, run_id: str, text: str, path: str) -> None: ...
    def log_input(self, run_id: str, dataset: DatasetVersion, *, context: str) -> None: ...
    def end(self, run_id: str, status: str, *, at: float | None = None) -> None: ...
    def reopen(self, run_id: str) -> None: ...
    def get(self, run_id: str) -> Run: ...


@dataclass(eq=False)
class OpenRun:
    """A run that is being written. As a context manager it ends with its block."""

    tracker: Tracker
    experiment: str
    name: str
    tags: Mapping[str, str]
    run_id: str = ""
    is_own: bool = True  # opened by this process, so ended by it
    fits: int = 0
    given: Contributions = field(default_factory=Contributions)
    failed_in: str | None = None  # the cell whose failure stands in the store now
    status: str = "FINISHED"  # how it will end
    params: dict[str, str] = field(default_factory=dict)
    is_located: bool = False  # its notebook or script is known and tagged

    def __enter__(self) -> OpenRun:
        self.tracker.enter_scope(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.tracker.leave_scope(self, error)

    @property
    def next_name(self) -> str:
        """What a following run is called: after `train-03` `train-*`, after `deep` `deep-*`."""
        stem, _, number = self.name.rpartition("-")
        return f"{stem}-*" if stem and number.isdigit() else f"{self.name}-*"

    def conflict(self, params: Mapping[str, str]) -> str | None:
        """The first of the params that this run has with another value."""
        return next((k for k, v in params.items() if self.params.get(k, v) != v), None)

    def is_as_good_as(self, asked: OpenRun) -> bool:
        """`track` again before anything was logged: this run is what was asked for."""
        same = self.experiment == asked.experiment and not asked.tags and self.is_own
        is_empty = not self.given and not self.params and self.failed_in is None
        return same and is_empty and asked.name.endswith("-*")

    def log(self, *, step: int = 0, **metrics: float) -> None:
        self.tracker.log(metrics, step=step, run=self)

    def log_params(self, **params: Any) -> None:
        self.tracker.log_params(params, run=self)

    def end(self) -> None:
        self.tracker.end(self)


@contextmanager
def failures_warned(what: str) -> Iterator[None]:
    """The user's cell never fails because of tracking: trouble is one line on stderr."""
    try:
        yield
    except MlopsError as error:
        sys.stderr.write(f"mlops_nb: {what} failed: {error}\n")


def is_clean_exit(error: BaseException) -> bool:
    """`sys.exit()` ends a cell or a block, and is no failure."""
    return isinstance(error, SystemExit) and error.code in (None, 0)
