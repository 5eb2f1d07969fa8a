"""Runs as a DataFrame, with MLflow's column names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from mlops_nb.errors import UsageError, did_you_mean
from mlops_nb.references import split_direction
from mlops_nb.runs import Comparison, Run
from mlops_nb.tables import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

SHOWN_METRICS, SHOWN_PARAMS = 6, 4  # columns of the short view; the frame has all


class RunsFrame(pd.DataFrame):
    """One row a run: run_id, name, experiment, status, start_time, end_time, and by their names
    metrics.*, params.*, tags.*.

    It is shown short: the first metrics, and the params that differ.
    """

    _metadata = ["runs"]  # noqa: RUF012 - pandas' own protocol

    @property
    def _constructor(self) -> type[RunsFrame]:
        return RunsFrame

    @classmethod
    def of_runs(cls, runs: Sequence[Run]) -> RunsFrame:
        frame = cls([_row(run) for run in runs])
        if frame.empty:
            frame = cls(
                columns=["run_id", "name", "experiment", "status", "start_time", "end_time"]
            )
        frame.attrs["runs"] = {run.run_id: run for run in runs}
        return frame

    def best(self, metric: str) -> pd.Series[Any]:
        """The row with the best value: `auc`, `loss`, or with a direction `auc:max`."""
        name, direction = split_direction(metric)
        column = f"metrics.{name}"
        if column not in self.columns:
            known = [c.removeprefix("metrics.") for c in self.columns if c.startswith("metrics.")]
            raise UsageError(f"no run here has a metric {name!r}", cure=did_you_mean(name, known))
        values = self[column].astype(float)
        position = values.argmin() if direction == "min" else values.argmax()
        return self.iloc[int(position)]

    def compare(self) -> Comparison:  # type: ignore[override]
        """The rows' runs side by side."""
        return Comparison(tuple(self._runs()))

    def __str__(self) -> str:
        return self._table().to_text() if len(self) else "no run fits"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self._table().to_html() if len(self) else "<div>no run fits</div>"

    def _runs(self) -> list[Run]:
        known = self.attrs.get("runs", {})
        return [known[run_id] for run_id in self.get("run_id", []) if run_id in known]

    def _table(self) -> Table:
        runs = self._runs()
        comparison = Comparison(runs)
        metrics = comparison.metrics[:SHOWN_METRICS]
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
    return {
        "run_id": run.run_id,
        "name": run.name,
        "experiment": run.experiment,
        "status": run.status,
        "start_time": run.started,
        "end_time": run.ended,
        **{f"metrics.{key}": value for key, value in run.metrics.items()},
        **{f"params.{key}": value for key, value in run.params.items()},
        **{f"tags.{key}": value for key, value in run.tags.items()},
    }
