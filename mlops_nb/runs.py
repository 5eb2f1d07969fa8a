"""What a run is, what it says when looked at, and how several compare."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import UsageError
from mlops_nb.references import direction_of
from mlops_nb.tables import Shown, Table, display, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

PREFIX = "mlops_nb."  # of every tag that is ours
EXCEPTION = f"{PREFIX}exception"
FAILED_CELL = f"{PREFIX}failed_cell"
NOTE = "mlflow.note.content"
SOURCE = "mlflow.source.name"  # the notebook or script
ENDED = ("FINISHED", "FAILED", "KILLED")
COLUMN_WIDTH = 32  # of one run in a comparison as text, characters
NAMED = 8  # params that only some runs have, named before "and 20 more"


@dataclass(frozen=True)
class ExecutedCell:
    """One cell as the kernel ran it: the source then, not the one saved later."""

    number: int
    source: str
    cell_id: str | None = None
    tags: tuple[str, ...] = ()
    started: float = 0.0  # seconds since the epoch
    duration: float | None = None  # seconds; None while it runs, or if the kernel died in it
    error: str | None = None

    @property
    def key(self) -> str:
        """What stays the same when the cell is run again: its id, else its source."""
        return self.cell_id or self.source

    @property
    def label(self) -> str:
        """How messages name the cell: `3 (id ab12cd34)`."""
        return f"{self.number} (id {self.cell_id})" if self.cell_id else str(self.number)


@dataclass(frozen=True)
class Run(Shown):
    """One run as the store holds it. Times are aware datetimes, durations seconds."""

    run_id: str
    name: str
    experiment: str
    status: str
    started: datetime | None = None
    ended: datetime | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    datasets: Sequence[str] = ()
    models: Sequence[str] = ()

    @property
    def duration(self) -> timedelta | None:
        return self.ended - self.started if self.ended and self.started else None

    @property
    def verdict(self) -> str:
        """The status with its cause: `FAILED in cell 3 (id …): ValueError: no rows`."""
        if self.status not in ("FAILED", "KILLED"):
            return self.status  # also of a run that failed, and goes on
        cause = self.tags.get(EXCEPTION)
        cell = self.tags.get(FAILED_CELL)
        place = f" in cell {cell}" if cell else ""
        return f"{self.status}{place}{f': {cause}' if cause else ''}"

    def own_tags(self) -> dict[str, str]:
        """Tags set by people, without MLflow's and our own."""
        return {k: v for k, v in self.tags.items() if not k.startswith(("mlflow.", PREFIX))}

    def parts(self) -> Iterable[Table | str]:
        yield f"{self.name}  {self.verdict}"
        yield Table(("", ""), [(name, display(value)) for name, value in self._facts() if value])
        if self.metrics:
            yield Table(("metric", "value"), sorted(self.metrics.items()))
        if self.params:
            yield Table(("param", "value"), sorted(self.params.items()))

    def _facts(self) -> list[tuple[str, Any]]:
        return [
            ("run", self.run_id),
            ("experiment", self.experiment),
            ("started", self.started),
            ("took", self.duration),
            ("notebook", self.tags.get(SOURCE)),
            ("commit", self.tags.get("mlflow.source.git.commit")),
            ("cells", self.tags.get(f"{PREFIX}cells")),
            ("life", self.tags.get(f"{PREFIX}life")),
            ("data", list(self.datasets)),
            ("models", list(self.models)),
            ("note", self.tags.get(NOTE)),
            ("tags", self.own_tags()),
        ]


@dataclass(frozen=True)
class Comparison(Shown):
    """Several runs side by side: their metrics, and the params that differ."""

    runs: Sequence[Run]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all metrics; those on training data, which say least, at the end."""
        names = {name for run in self.runs for name in run.metrics}
        return tuple(sorted(names, key=lambda name: (name.startswith("training_"), name)))

    @property
    def differing_params(self) -> tuple[str, ...]:
        """Params that all runs have, with different values; short values first."""
        names = set.intersection(*(set(run.params) for run in self.runs)) if self.runs else set()
        differing = [n for n in sorted(names) if len({run.params[n] for run in self.runs}) > 1]
        return tuple(sorted(differing, key=self._is_long))

    @property
    def partial_params(self) -> tuple[str, ...]:
        """Params that only some of the runs have."""
        names = {name for run in self.runs for name in run.params}
        return tuple(n for n in sorted(names) if any(n not in run.params for run in self.runs))

    def best(self, metric: str) -> Run | None:
        """The run with the best value, by the metric's usual direction; None if nobody has one."""
        able = [run for run in self.runs if _is_number(run.metrics.get(metric))]
        pick = min if direction_of(metric) == "min" else max
        return pick(able, key=lambda run: run.metrics[metric], default=None)

    def parts(self) -> Iterable[Table | str]:
        yield Table(
            ("", *(run.name for run in self.runs)),
            [
                ("status", *(run.status for run in self.runs)),
                *(self._metric_row(name) for name in self.metrics),
                *((n, *(run.params.get(n) for run in self.runs)) for n in self.differing_params),
                ("data", *(", ".join(run.datasets) for run in self.runs)),
            ],
            title=f"{len(self.runs)} runs: metrics (* best), params that differ",
            width=COLUMN_WIDTH,
        )
        if partial := self.partial_params:
            more = f" and {len(partial) - NAMED} more" if len(partial) > NAMED else ""
            yield f"params that only some have: {', '.join(partial[:NAMED])}{more}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "runs": [run.to_dict() for run in self.runs],
            "metrics": list(self.metrics),
            "differing_params": list(self.differing_params),
            "partial_params": list(self.partial_params),
            "best": {name: b.run_id for name in self.metrics if (b := self.best(name))},
        }

    def _is_long(self, param: str) -> bool:
        return any(len(run.params[param]) > COLUMN_WIDTH for run in self.runs)

    def _metric_row(self, metric: str) -> tuple[str, ...]:
        best = self.best(metric)
        return (
            f"{metric} ({direction_of(metric)})",
            *(
                display(run.metrics.get(metric)) + (" *" if run is best else "")
                for run in self.runs
            ),
        )


def checked_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics as floats; what is no number is refused by name."""
    values: dict[str, float] = {}
    for name, value in metrics.items():
        try:
            values[name] = float(value)
        except (TypeError, ValueError):
            raise UsageError(
                f"metric {name} is {type(value).__name__} {str(value)[:40]!r}, not a number",
                cure=f"log text with %mlops tag {name}=… or log_params",
            ) from None
    return values


def executed_notebook(cells: Sequence[ExecutedCell]) -> str:
    """The cells as an .ipynb text (format 4.5): what ran, in the order it ran, without outputs."""
    return json.dumps(
        {
            "cells": [_notebook_cell(position, cell) for position, cell in enumerate(cells)],
            "metadata": {
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
            },
            "nbformat": 4,
            "nbformat_minor": 5,
        },
        indent=1,
        ensure_ascii=False,
    )


def describe_exception(error: BaseException) -> str:
    """`ValueError: no rows`: type and first line, at most 500 characters."""
    first = (str(error).splitlines() or [""])[0]
    return printable(f"{type(error).__name__}: {first}" if first else type(error).__name__)[:500]


def _notebook_cell(position: int, cell: ExecutedCell) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "id": f"run-{position}",
        "execution_count": cell.number,
        "metadata": {
            "mlops_nb": {
                "cell_id": cell.cell_id,
                "started": cell.started,
                "duration": cell.duration,
                "error": cell.error,
            },
            "tags": list(cell.tags),
        },
        "outputs": [],
        "source": cell.source.splitlines(keepends=True),
    }


def _is_number(value: float | None) -> bool:
    return value is not None and value == value  # noqa: PLR0124 - NaN is not itself
