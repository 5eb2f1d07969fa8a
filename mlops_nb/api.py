"""The verbs as functions, on the workspace of the notebook or the current folder.

import mlops_nb as mlops

mlops.track("flights")
df = mlops.load_data("flights@v1")
mlops.log(auc=0.93)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from mlops_nb.backends.mlflow.frames import RunsFrame
    from mlops_nb.checking import Report
    from mlops_nb.datasets import Added, DatasetList, DatasetVersion
    from mlops_nb.handles import OpenRun
    from mlops_nb.health import Diagnosis, Status
    from mlops_nb.models import ModelList, ModelVersion, Promotion
    from mlops_nb.runs import Comparison, Run
    from mlops_nb.steps import StepResult

_open: dict[tuple[Path, str | None, str], Workspace] = {}


def current_workspace(start: Path | None = None, *, env: str | None = None) -> Workspace:
    """The workspace of a folder; the same object for the same folder, environment and store.

    Without arguments, while a run is open: the workspace of that run.
    """
    if start is None and env is None:
        for place in _open.values():
            if place.open_run is not None:
                return place
    found = Workspace.find(start, env=env)
    key = (found.root, found.settings.env, found.settings.tracking)
    return _open.setdefault(key, found)


def track(
    experiment: str | None = None, *, name: str | None = None, tags: Mapping[str, str] | None = None
) -> OpenRun:
    """Record this notebook or script from here on; with `with`, only the block.

    The experiment defaults to the notebook's name; runs are called `notebook-01`, `-02`, …
    """
    return current_workspace().track(experiment, name=name, tags=tags)


def end() -> Run:
    """Close the open run and give it as it stands in the store."""
    return current_workspace().end()


def log(*, step: int = 0, **metrics: float) -> None:
    """Log metrics (numbers by name) to the open run."""
    current_workspace().log(metrics, step=step)


def log_params(**params: Any) -> None:
    """Log params to the open run; each is written once."""
    current_workspace().log_params(params)


def note(text: str) -> None:
    """Describe the open run in words."""
    current_workspace().note(text)


def tag(**tags: str) -> None:
    """Tag the open run."""
    current_workspace().tag(tags)


def search_runs(
    query: str = "",
    *,
    order_by: Sequence[str] = (),
    last: int = 1000,
    experiment: str | None = None,
) -> RunsFrame:
    """Runs as a DataFrame with MLflow's column names, newest first.

    `query` is MLflow's: `metrics.auc > 0.9 and params.model = 'rf'`.
    """
    return current_workspace().search_runs(
        query, order_by=order_by, last=last, experiment=experiment
    )


def get_run(reference: str = "last") -> Run:
    """One run: by name, start of its id, `last` or `best:METRIC[:min|:max]`."""
    return current_workspace().run(reference)


def compare(*references: str, last: int = 0, best: str | None = None) -> Comparison:
    """Runs side by side: those named, the newest `last`, or the `last` best by a metric."""
    return current_workspace().compare(*references, last=last, best=best)


def add_data(source: Any, name: str, *, message: str = "") -> Added:
    """Keep a file, folder or DataFrame as the next version of `name`; nothing new if unchanged."""
    return current_workspace().add_data(source, name, message=message)


def load_data(reference: str) -> pd.DataFrame:
    """A dataset version (`flights@v1`) as a DataFrame; an input of the open run."""
    return current_workspace().load_data(reference)


def checkout_data(reference: str, to: Path | str | None = None, *, overwrite: bool = False) -> Path:
    """Write a dataset version's files, verified, to `to` (default: a folder of its name)."""
    return current_workspace().checkout_data(
        reference, Path(to) if to else None, overwrite=overwrite
    )


def list_data(name: str | None = None) -> DatasetList:
    """The datasets with their latest versions, or all versions of one."""
    return current_workspace().list_data(name)


def get_data(reference: str) -> DatasetVersion:
    """What is known of a dataset version: digest, schema, profile."""
    return current_workspace().dataset(reference)


def register_model(name: str, run: str = "last", *, model: str | None = None) -> ModelVersion:
    """Register the model that a run logged as the next version of `name`."""
    return current_workspace().register_model(name, run, model=model)


def list_models(name: str | None = None) -> ModelList:
    """The registered versions of all models or of one."""
    return current_workspace().list_models(name)


def get_model(reference: str) -> ModelVersion:
    """One model version (`churn/3`, `churn@champion`) and where it comes from."""
    return current_workspace().model(reference)


def promote(reference: str, *, to: str) -> Promotion:
    """Point the alias `to` at a model version; recorded."""
    return current_workspace().promote(reference, to=to)


def rollback(name: str, *, alias: str = "champion") -> Promotion:
    """Point the alias at the version it stood on before; recorded."""
    return current_workspace().rollback(name, alias=alias)


def run_notebook(
    notebook: Path | str,
    output: Path | str | None = None,
    *,
    parameters: Mapping[str, Any] | None = None,
    env: str | None = None,
) -> StepResult:
    """Run a notebook as a step in a fresh kernel; raises StepError when it fails."""
    place = current_workspace(Path(notebook).resolve().parent, env=env)
    result = place.run_notebook(notebook, output, parameters=parameters)
    result.raise_for_status()
    return result


def check(notebook: Path | str | None = None) -> Report:
    """Would this notebook run top to bottom? By reading it; nothing is executed or stored."""
    return current_workspace().check(notebook)


def status() -> Status:
    """Where we are, and what to type next."""
    return current_workspace().status()


def doctor(*, repair: bool = False) -> Diagnosis:
    """What is wrong with this workspace; with `repair`, mended where it can be."""
    return current_workspace().doctor(repair=repair)
