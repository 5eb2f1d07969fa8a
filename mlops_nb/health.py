"""The card that a bare `%mlops` shows, and what `doctor` finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_nb.tables import Shown, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Status(Shown):
    """Where we are: workspace, environment, store, open run, last runs, what to type next."""

    workspace: Path
    env: str | None
    tracking: str
    experiment: str
    open_run: str | None
    last_runs: Sequence[tuple[str, str]]  # (name, status), newest first
    next: str

    def parts(self) -> Iterable[Table | str]:
        facts = [
            ("workspace", self.workspace),
            ("environment", self.env),
            ("tracking", self.tracking),
            ("experiment", self.experiment),
            ("open run", self.open_run or "none"),
            ("last runs", ", ".join(f"{name} {status}" for name, status in self.last_runs)),
            ("next", self.next),
        ]
        yield Table(("mlops_nb", ""), [fact for fact in facts if fact[1]])


@dataclass(frozen=True)
class Ailment:
    """One thing that is wrong, and its cure; `mended` once `--repair` has cured it."""

    what: str
    cure: str
    mended: bool = False


@dataclass(frozen=True)
class Diagnosis(Shown):
    """What `doctor` found in a workspace."""

    workspace: Path
    ailments: Sequence[Ailment]

    @property
    def exit_code(self) -> int:
        return 0 if all(ailment.mended for ailment in self.ailments) else 1

    def parts(self) -> Iterable[Table | str]:
        if not self.ailments:
            yield f"{self.workspace}: nothing is wrong"
        for ailment in self.ailments:
            yield f"mended: {ailment.what}" if ailment.mended else f"{ailment.what}; {ailment.cure}"
