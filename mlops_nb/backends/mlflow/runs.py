"""Runs in MLflow: one class between our words and `MlflowClient`."""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mlops_nb.backends.mlflow.errors import mlflow_errors
from mlops_nb.backends.mlflow.reach import check_answers
from mlops_nb.backends.mlflow.store import ensure_store
from mlops_nb.errors import AmbiguousError, NotFoundError, UsageError, did_you_mean
from mlops_nb.redaction import redact_text, redact_value
from mlops_nb.references import RunReference, split_direction
from mlops_nb.runs import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mlflow import MlflowClient

    from mlops_nb.config import Settings
    from mlops_nb.datasets import DatasetVersion

PAGE = 1000  # runs a request
PARAM_LENGTH = 6000  # MLflow's own limit
TAG_LENGTH = 8000
DATASET_SOURCE = "mlops_nb"  # `source_type` of our dataset inputs


class RunStore:
    """Reads and writes runs in the tracking store of one workspace."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @property
    def client(self) -> MlflowClient:
        """MLflow's client on this workspace's store, made ready; said at once if it is gone."""
        check_answers(self.settings.tracking)
        return self._client

    @cached_property
    def _client(self) -> MlflowClient:
        ensure_store(self.settings)
        with mlflow_errors("opening the tracking store"):
            from mlflow import MlflowClient

            return MlflowClient(self.settings.tracking, self.settings.registry)

    # -- writing ---------------------------------------------------------------------------

    def create(self, experiment: str, name: str, tags: Mapping[str, str]) -> tuple[str, str]:
        """Open a run; gives its id and name. `-*` at the name's end becomes the next number."""
        with mlflow_errors(f"opening a run in experiment {experiment}"):
            experiment_id = self._experiment_id(experiment)
            if name.endswith("-*"):
                name = self._next_name(experiment_id, name.removesuffix("*"))
            run = self.client.create_run(experiment_id, tags=_cut(tags), run_name=name)
            return str(run.info.run_id), name

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        texts = {key: redact_value(key, str(value)) for key, value in params.items()}
        entries = [Param(key, text[:PARAM_LENGTH]) for key, text in texts.items()]
        with mlflow_errors("logging params"):
            for start in range(0, len(entries), 100):
                self.client.log_batch(run_id, params=entries[start : start + 100])

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], *, step: int = 0) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        entries = [Metric(key, float(value), now, step) for key, value in metrics.items()]
        with mlflow_errors("logging metrics"):
            for start in range(0, len(entries), PAGE):
                self.client.log_batch(run_id, metrics=entries[start : start + PAGE])

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        entries = [RunTag(key, value) for key, value in _cut(tags).items()]
        with mlflow_errors("setting tags"):
            for start in range(0, len(entries), 100):
                self.client.log_batch(run_id, tags=entries[start : start + 100])

    def log_text(self, run_id: str, text: str, path: str) -> None:
        with mlflow_errors(f"storing {path}"):
            self.client.log_text(run_id, redact_text(text), path)

    def log_file(self, run_id: str, file: str, folder: str) -> None:
        with mlflow_errors(f"storing {file}"):
            self.client.log_artifact(run_id, file, folder)

    def log_input(self, run_id: str, dataset: DatasetVersion, *, context: str) -> None:
        """Record a dataset version as an input of the run; a second time changes nothing."""
        from mlflow.entities import DatasetInput, InputTag

        entry = DatasetInput(_dataset_entity(dataset), [InputTag("mlflow.data.context", context)])
        with mlflow_errors("recording a dataset input"):
            self.client.log_inputs(run_id, datasets=[entry])

    def end(self, run_id: str, status: str, *, at: float | None = None) -> None:
        """Close a run, now or at a time (epoch seconds)."""
        with mlflow_errors("ending a run"):
            self.client.set_terminated(run_id, status, int(at * 1000) if at else None)

    def reopen(self, run_id: str) -> None:
        """A failed run goes on: the cell that failed has succeeded."""
        with mlflow_errors("going on with a run"):
            self.client.update_run(run_id, status="RUNNING")

    # -- reading ---------------------------------------------------------------------------

    def get(self, run_id: str) -> Run:
        with mlflow_errors(f"reading run {run_id}"):
            return self._run(self.client.get_run(run_id))

    def find(self, reference: RunReference, *, mine: Mapping[str, str] | None = None) -> Run:
        """The one run a reference means; `mine` are the tags that `last` looks for.

        Raises NotFoundError or AmbiguousError, naming the candidates.
        """
        if reference.best is not None:
            return self.best(f"{reference.best}:{reference.direction}", limit=1)[0]
        if reference.last:
            return self._last(mine or {})
        return self._named(reference.word)

    def search(
        self,
        query: str = "",
        *,
        order_by: Sequence[str] = (),
        limit: int = PAGE,
        experiment: str | None = None,
    ) -> list[Run]:
        """Runs by MLflow's query grammar, newest first unless `order_by` says otherwise."""
        ids = self._experiment_ids(experiment)
        order = [*order_by, "attributes.start_time DESC"]
        found: list[Run] = []
        token = None
        while ids and len(found) < limit:
            size = min(PAGE, limit - len(found))
            with mlflow_errors(f"query {query!r}" if query else "reading runs"):
                page = self.client.search_runs(
                    ids, query, max_results=size, order_by=order, page_token=token
                )
            found += [self._run(run) for run in page]
            token = page.token
            if not token:
                break
        return found

    def best(self, metric: str, *, limit: int) -> list[Run]:
        """The runs with the best finite values of `auc`, `loss` or `auc:max`, the best first."""
        name, direction = split_direction(metric)
        order = f"metrics.`{name}` {'ASC' if direction == 'min' else 'DESC'}"
        found = self.search(order_by=[order], limit=limit + 20)  # NaNs may come first
        runs = [run for run in found if _finite(run, name)]
        if not runs:
            known = {metric for run in self.search(limit=200) for metric in run.metrics}
            raise NotFoundError(f"no run has a metric {name!r}", cure=did_you_mean(name, known))
        return runs[:limit]

    def _last(self, mine: Mapping[str, str]) -> Run:
        query = " and ".join(_equals(f"tags.`{key}`", value) for key, value in mine.items())
        runs = self.search(query, limit=1) or self.search(limit=1)
        if not runs:
            raise NotFoundError("there is no run yet", cure="type %mlops track in a notebook")
        return runs[0]

    def _named(self, word: str) -> Run:
        if re.fullmatch(r"[0-9a-f]{32}", word):
            return self.get(word)
        runs = self.search(_equals("attributes.run_name", word), limit=10)
        if not runs and re.fullmatch(r"[0-9a-f]{4,31}", word):
            runs = [run for run in self.search(limit=50_000) if run.run_id.startswith(word)]
        if len(runs) > 1:
            some = ", ".join(f"{run.name} ({run.run_id[:10]})" for run in runs[:5])
            raise AmbiguousError(
                f"{word!r} could be {len(runs)} runs: {some}", cure="give more of the id"
            )
        if not runs:
            recent = [run.name for run in self.search(limit=200)]
            cure = did_you_mean(word, recent) or "type mlops runs to see what there is"
            raise NotFoundError(f"no run {word!r}", cure=cure)
        return runs[0]

    # -- between the two words -------------------------------------------------------------

    def _run(self, run: Any) -> Run:
        info, data = run.info, run.data
        return Run(
            run_id=info.run_id,
            name=info.run_name or info.run_id[:8],
            experiment=self._experiment_names.get(info.experiment_id)
            or self._look_up(info.experiment_id),
            status=info.status,
            started=_time(info.start_time),
            ended=_time(info.end_time),
            params=dict(data.params),
            metrics=dict(data.metrics),
            tags=dict(data.tags),
            datasets=tuple(_dataset_reference(i.dataset) for i in _inputs(run)),
            models=tuple(output.model_id for output in getattr(run.outputs, "model_outputs", ())),
        )

    @cached_property
    def _experiment_names(self) -> dict[str, str]:
        return {}

    def _look_up(self, experiment_id: str) -> str:
        name = str(self.client.get_experiment(experiment_id).name)
        self._experiment_names[experiment_id] = name
        return name

    def _experiment_ids(self, name: str | None) -> list[str]:
        with mlflow_errors("reading experiments"):
            found = list(_pages(self.client.search_experiments))
        self._experiment_names.update({e.experiment_id: e.name for e in found})
        if name is None:
            return [e.experiment_id for e in found]
        ids = [e.experiment_id for e in found if e.name == name]
        if not ids:
            raise NotFoundError(
                f"no experiment {name!r}", cure=did_you_mean(name, [e.name for e in found])
            )
        return ids

    def _experiment_id(self, name: str) -> str:
        """The experiment's id; it is made when missing, also when others make it just now."""
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self.client.create_experiment(name, self._artifact_location(name)))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                return self._experiment_id(name)
        if found.lifecycle_stage == "deleted":
            raise UsageError(
                f"experiment {name!r} was deleted",
                cure=f"choose another, or: mlflow experiments restore -x {found.experiment_id}",
            )
        return str(found.experiment_id)

    def _artifact_location(self, name: str) -> str | None:
        """Beside a database of ours, wherever the kernel's current folder is; a server knows."""
        if self.settings.tracking.startswith(("http://", "https://", "databricks")):
            return None
        database = self.settings.embedded
        place = database.parent if database else self.settings.root
        folder = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "experiment"
        return str(place / "mlruns" / folder)

    def _next_name(self, experiment_id: str, stem: str) -> str:
        """`stem` and the number after the highest among the newest runs of the experiment."""
        page = self.client.search_runs(
            [experiment_id], max_results=100, order_by=["attributes.start_time DESC"]
        )
        pattern = re.compile(re.escape(stem) + r"(\d+)")
        numbers = [int(m[1]) for run in page if (m := pattern.fullmatch(run.info.run_name or ""))]
        return f"{stem}{max(numbers, default=0) + 1:02d}"


@contextmanager
def global_store(settings: Settings) -> Iterator[None]:
    """MLflow resolves `models:/…` in the store of the process, whatever its client was told."""
    import mlflow

    # What MLflow is told it writes into these too, and reads from them where it was told nothing.
    variables = {
        name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
    }
    mlflow.set_tracking_uri(settings.tracking)
    mlflow.set_registry_uri(settings.registry)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
        mlflow.set_registry_uri(None)  # type: ignore[arg-type]
        for name, value in variables.items():
            os.environ.pop(name, None)
            os.environ |= {name: value} if value is not None else {}


def _pages(method: Any) -> Iterable[Any]:
    token = None
    while True:
        page = method(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _inputs(run: Any) -> Sequence[Any]:
    return getattr(run.inputs, "dataset_inputs", None) or ()


def _dataset_entity(version: DatasetVersion) -> Any:
    from mlflow.entities import Dataset

    columns = [{"name": c.name, "type": c.type} for c in version.columns]
    return Dataset(
        name=version.name,
        digest=version.digest,
        source_type=DATASET_SOURCE,
        source=json.dumps({"uri": f"data:{version.reference}", "version": version.version}),
        schema=json.dumps({"mlflow_colspec": columns})[:1_000_000] if columns else None,
        profile=json.dumps({"num_rows": version.rows, "num_bytes": version.size}),
    )


def _dataset_reference(dataset: Any) -> str:
    """`flights@v3` of ours; name and digest of what others recorded."""
    if dataset.source_type == DATASET_SOURCE:
        return str(json.loads(dataset.source)["uri"]).removeprefix("data:")
    return f"{dataset.name}#{dataset.digest}"


def _time(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None


def _cut(tags: Mapping[str, str]) -> dict[str, str]:
    return {
        key: redact_value(key, str(value))[:TAG_LENGTH]
        for key, value in tags.items()
        if value is not None
    }


def _equals(field: str, value: str) -> str:
    """A comparison; MLflow's grammar escapes no quotation mark, so `_` stands for one."""
    if "'" not in value:
        return f"{field} = '{value}'"
    pattern = value.replace("'", "_")
    return f"{field} LIKE '{pattern}'"


def _finite(run: Run, metric: str) -> bool:
    """MLflow's database keeps an infinity as the largest float."""
    return abs(run.metrics.get(metric, math.inf)) < sys.float_info.max
