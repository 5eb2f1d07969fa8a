"""What a step is: one execution of a notebook as a whole, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import CancelledError, KernelDiedError, StepError
from mlops_nb.tables import Shown, Table, duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

ERRORS = {"failed": StepError, "kernel-died": KernelDiedError, "cancelled": CancelledError}
RUN_STATUS = {"ok": "FINISHED", "failed": "FAILED", "kernel-died": "KILLED", "cancelled": "KILLED"}


@dataclass(frozen=True)
class Outcome:
    """How an execution ended: "ok", "failed", "kernel-died" or "cancelled", and why."""

    status: str
    cause: str = ""
    cell: str | None = None  # the failing cell's number, counted from 1
    traceback: str = ""


@dataclass(frozen=True)
class StepResult(Shown):
    """A finished step. `runs` are the runs it left (name by id), `seconds` its wall time."""

    notebook: Path
    output: Path
    status: str
    seconds: float
    runs: Mapping[str, str] = field(default_factory=dict)
    cause: str = ""
    cell: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        return 0 if self.status == "ok" else ERRORS[self.status].exit_code

    def raise_for_status(self) -> None:
        """Raise what the status stands for, unless it is "ok"."""
        if self.status != "ok":
            raise ERRORS[self.status](self.headline, cure=f"see {self.output}")

    @property
    def headline(self) -> str:
        if self.status == "ok":
            return f"{self.notebook.name}: ok in {duration(self.seconds)}"
        place = f" in cell {self.cell}" if self.cell else ""
        return f"{self.notebook.name}: {self.status}{place}: {self.cause}"

    def parts(self) -> Iterable[Table | str]:
        yield self.headline
        runs = ", ".join(f"{name} ({run_id[:8]})" for run_id, name in self.runs.items())
        yield Table(("", ""), [("output", self.output), ("runs", runs), *self.parameters.items()])
