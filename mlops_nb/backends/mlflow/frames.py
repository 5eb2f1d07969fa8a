"""Runs as a DataFrame, with MLflow's column names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from mlops_nb.errors import UsageError, did_you_mean
from mlops_nb.references import split_direction
from mlops_nb.runs import Comparison, Run
from mlops_nb.tables import Table

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

FACTS = ["run_id", "name", "experiment", "status", "start_time", "end_time", "datasets", "models"]
SHOWN_METRICS, SHOWN_PARAMS = 5, 3  # columns of the short view; the frame has all


class RunsFrame(pd.DataFrame):
    """One row a run: run_id, name, experiment, status, start_time, end_time, datasets, models, and
    by their names metrics.*, params.*, tags.*.

    It is shown short: the first metrics, and the params that differ. A part of it without these
    columns is shown as any DataFrame.
    """

    @property
    def _constructor(self) -> type[RunsFrame]:
        return RunsFrame

    @classmethod
    def of_runs(cls, runs: Sequence[Run]) -> RunsFrame:
        return cls([_row(run) for run in runs]) if runs else cls(columns=FACTS)

    def best(self, metric: str) -> pd.Series[Any]:
        """The row with the best value: `auc`, `loss`, or with a direction `auc:max`."""
        name, direction = split_direction(metric)
        column = f"metrics.{name}"
        if column not in self.columns or not self[column].notna().any():
            known = [c.removeprefix("metrics.") for c in self.columns if c.startswith("metrics.")]
            raise UsageError(f"no run here has a metric {name!r}", cure=did_you_mean(name, known))
        values = self[column].astype(float)
        position = values.argmin() if direction == "min" else values.argmax()
        return self.iloc[int(position)]

    def compare(self) -> Comparison:  # type: ignore[override]
        """The rows' runs side by side."""
        return Comparison(tuple(self._runs()))

    def __repr__(self) -> str:
        if not self._is_whole():
            return super().__repr__()
        return self._table().to_text() if len(self) else "no run fits"

    def __str__(self) -> str:
        return repr(self)

    def _repr_html_(self) -> str | None:
        if not self._is_whole():
            return pd.DataFrame(self)._repr_html_()  # type: ignore[operator, no-any-return]
        return self._table().to_html() if len(self) else "<div>no run fits</div>"

    def _is_whole(self) -> bool:
        return set(FACTS) <= set(self.columns)

    def _runs(self) -> list[Run]:
        return [_run(row) for row in self.to_dict("records")]

    def _table(self) -> Table:
        runs = self._runs()
        comparison = Comparison(runs)
        # What was measured on training data says least: only where there is nothing else.
        telling = [name for name in comparison.metrics if not name.startswith("training_")]
        metrics = (telling or comparison.metrics)[:SHOWN_METRICS]
        params = comparison.differing_params[:SHOWN_PARAMS]
        return Table(
            ("run", "id", "status", "started", "took", *metrics, *params),
            [
                (
                    run.name, run.run_id[:8], run.verdict, run.started, run.duration,
                    *(run.metrics.get(name) for name in metrics),
                    *(run.params.get(name) for name in params),
                )
                for run in runs
            ],
        )  # fmt: skip


def _row(run: Run) -> dict[str, Any]:
    facts = (
        run.run_id, run.name, run.experiment, run.status, run.started, run.ended,
        list(run.datasets), list(run.models),
    )  # fmt: skip
    return {
        **dict(zip(FACTS, facts, strict=True)),
        **{f"metrics.{key}": value for key, value in run.metrics.items()},
        **{f"params.{key}": value for key, value in run.params.items()},
        **{f"tags.{key}": value for key, value in run.tags.items()},
    }


def _run(row: dict[Hashable, Any]) -> Run:
    """A row back as a run; what other runs have and this one has not stands as a gap."""
    run_id, name, experiment, status, started, ended, datasets, models = (row[f] for f in FACTS)
    return Run(
        run_id=run_id,
        name=name,
        experiment=experiment,
        status=status,
        started=None if pd.isna(started) else started.to_pydatetime(),
        ended=None if pd.isna(ended) else ended.to_pydatetime(),
        datasets=tuple(datasets),
        models=tuple(models),
        metrics=_columns(row, "metrics."),
        params=_columns(row, "params."),
        tags=_columns(row, "tags."),
    )


def _columns(row: dict[Hashable, Any], prefix: str) -> dict[str, Any]:
    """The cells of the columns with this prefix that are not gaps."""
    return {
        str(name).removeprefix(prefix): value
        for name, value in row.items()
        if str(name).startswith(prefix) and not pd.isna(value)
    }
