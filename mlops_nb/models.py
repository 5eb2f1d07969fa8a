"""What a model version is, and the history of its aliases.

MLflow keeps where an alias points, not where it pointed. Every promotion and rollback is
therefore one numbered, never rewritten entry; who is champion is read by replaying them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mlops_nb.tables import Shown, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True)
class ModelVersion(Shown):
    """One registered version and where it comes from."""

    name: str
    version: int
    aliases: Sequence[str] = ()
    created: datetime | None = None
    run_id: str | None = None
    run_name: str | None = None
    source: str = ""
    notebook: str | None = None
    commit: str | None = None
    datasets: Sequence[str] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    promotions: Sequence[Promotion] = ()

    @property
    def reference(self) -> str:
        return f"{self.name}/{self.version}"

    def parts(self) -> Iterable[Table | str]:
        at = "".join(f" @{alias}" for alias in self.aliases)
        yield f"{self.reference}{at}"
        facts = [
            ("run", f"{self.run_name} ({self.run_id[:8]})" if self.run_id else None),
            ("notebook", self.notebook),
            ("commit", self.commit),
            ("data", ", ".join(self.datasets)),
            ("created", self.created),
            ("uri", f"models:/{self.reference}"),
        ]
        yield Table(("", ""), [fact for fact in facts if fact[1]])
        if self.metrics:
            yield Table(("metric", "value"), sorted(self.metrics.items()))
        if self.promotions:
            yield Table(
                ("when", "alias", "from", "to", "what", "by", "gate"),
                [
                    (p.at, p.alias, p.previous, p.version, p.kind, p.by, p.gate)
                    for p in self.promotions
                ],
                title="history",
            )


@dataclass(frozen=True)
class ModelList(Shown):
    """The registered models, one row a version."""

    versions: Sequence[ModelVersion]

    def parts(self) -> Iterable[Table | str]:
        if not self.versions:
            yield "no model is registered; type: mlops model register NAME RUN"
            return
        yield Table(
            ("model", "aliases", "run", "notebook", "data", "created"),
            [
                (
                    v.reference,
                    ", ".join(v.aliases),
                    v.run_name,
                    v.notebook,
                    ", ".join(v.datasets),
                    v.created,
                )
                for v in self.versions
            ],
        )

    def to_dict(self) -> dict[str, Any]:
        return {"versions": [version.to_dict() for version in self.versions]}


@dataclass(frozen=True)
class Promotion(Shown):
    """One move of an alias. `previous` is None for the first; `gate` is "none" while none exist."""

    model: str
    alias: str
    version: int
    previous: int | None
    kind: str  # "promote" or "rollback"
    at: datetime
    by: str
    gate: str = "none"
    number: int = 0

    def parts(self) -> Iterable[Table | str]:
        came = f" (was {self.model}/{self.previous})" if self.previous else ""
        how = "rolled back to" if self.kind == "rollback" else "is now"
        gate = "; ungated" if self.kind == "promote" and self.gate == "none" else ""
        yield f"{self.model}@{self.alias} {how} {self.model}/{self.version}{came}{gate}"

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "at": self.at.isoformat()})

    @classmethod
    def from_json(cls, text: str) -> Promotion:
        entry = json.loads(text)
        return cls(**{**entry, "at": datetime.fromisoformat(entry["at"])})


def standing(promotions: Iterable[Promotion], current: int | None) -> list[int]:
    """The versions an alias stood on, oldest first, ending with `current`.

    A promotion adds to the stack, a rollback takes from it. Every entry also says where it found
    the alias: where that is not what the entries before it tell, a move was made outside of
    mlops_nb (and counts as a promotion), or one was written down but never made.
    """
    stack: list[int] = []
    last: Promotion | None = None
    for entry in sorted(promotions, key=lambda p: p.number):
        stack = _met(stack, last, entry.previous)
        back = entry.kind == "rollback"
        stack = _cut_back(stack, entry.version) if back else [*stack, entry.version]
        last = entry
    return _met(stack, last, current)


def _met(stack: list[int], last: Promotion | None, found: int | None) -> list[int]:
    """The stack once the alias was found on `found` after the entry `last`."""
    if found == (stack[-1] if stack else None):
        return stack
    if last is not None and last.kind == "promote" and last.previous == found:
        return stack[:-1]  # a crash came between the entry and its move
    return stack if found is None else [*stack, found]


def _cut_back(stack: list[int], version: int) -> list[int]:
    """The stack up to the last stand on `version` below its top."""
    for position in range(len(stack) - 2, -1, -1):
        if stack[position] == version:
            return stack[: position + 1]
    return [*stack, version]
