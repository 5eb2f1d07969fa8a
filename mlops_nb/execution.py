"""Running a notebook as a step: the same kind of record as an interactive run."""

from __future__ import annotations

import re
import time
import uuid
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mlops_nb.errors import UsageError
from mlops_nb.files import write_atomically
from mlops_nb.notebooks import python_of
from mlops_nb.parameters import Schema, read_schema
from mlops_nb.runs import ENDED, EXCEPTION, FAILED_CELL, PREFIX, Run
from mlops_nb.steps import RUN_STATUS, Outcome, StepResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlops_nb.notebooks import Notebook

STEP = f"{PREFIX}step"  # the tag that joins the runs of one execution
TRACKS = re.compile(r"^\s*%%?mlops\s+track\b|\bmlops\.track\(|\bmlops_nb\.track\(", re.MULTILINE)


class Runs(Protocol):
    """What a step writes to: see backends/mlflow/runs.py."""

    def create(self, experiment: str, name: str, tags: Mapping[str, str]) -> tuple[str, str]: ...
    def search(self, query: str = "") -> Sequence[Run]: ...
    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None: ...
    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None: ...
    def log_text(self, run_id: str, text: str, path: str) -> None: ...
    def log_file(self, run_id: str, file: str, folder: str) -> None: ...
    def end(self, run_id: str, status: str) -> None: ...


class Executor(Protocol):
    """What executes a notebook: see backends/papermill.py."""

    def __call__(
        self,
        notebook: Path,
        output: Path,
        *,
        parameters: Mapping[str, Any],
        environment: Mapping[str, str],
        extensions: Sequence[str],
        folder: Path,
        progress: bool,
    ) -> Outcome: ...


def schema_of(notebook: Notebook) -> Schema:
    """The typed parameters that the notebook declares in its cells tagged `parameters`."""
    source = "\n".join(python_of(cell.source) for cell in notebook.tagged("parameters"))
    return read_schema(source, notebook=str(notebook.path or "notebook"))


def run_step(
    notebook: Notebook,
    output: Path | None,
    *,
    parameters: Mapping[str, Any],
    execute: Executor,
    runs: Runs,
    close_orphans: Callable[[], object],
    experiment: str,
    folder: Path,
    environment: Mapping[str, str],
    progress: bool,
) -> StepResult:
    """Check the parameters, execute in a fresh kernel, complete the record, hand out the result.

    The notebook is executed into `folder`; `output` gets the whole file at the end. Raises
    ParameterError before any kernel starts; how the notebook ended is in the result.
    """
    if notebook.path is None:
        raise UsageError("only a notebook with a file can be run", cure="save it first")
    values = schema_of(notebook).check(parameters)
    step = uuid.uuid4().hex
    scratch = folder / f"{notebook.path.stem}-{datetime.now():%Y%m%d-%H%M%S}-{step[:4]}.ipynb"
    begun = time.monotonic()
    outcome = execute(
        notebook.path,
        scratch,
        parameters=values,
        environment={**environment, **_kernel_environment(notebook, step)},
        extensions=[] if _tracks_itself(notebook) else ["mlops_nb"],
        folder=notebook.path.parent,  # as in JupyterLab, so that its relative paths hold
        progress=progress,
    )
    seconds = time.monotonic() - begun
    close_orphans()
    left = _complete_record(runs, step, outcome, notebook, values, experiment, scratch)
    return StepResult(
        notebook=notebook.path,
        output=_deliver(scratch, output),
        status=outcome.status,
        seconds=seconds,
        runs=left,
        cause=outcome.cause,
        cell=outcome.cell,
        parameters=values,
    )


def _tracks_itself(notebook: Notebook) -> bool:
    return any(TRACKS.search(cell.source) for cell in notebook.code_cells)


def _kernel_environment(notebook: Notebook, step: str) -> dict[str, str]:
    facts = {"MLOPS_NB_STEP": step, "MLOPS_NB_NOTEBOOK": str(notebook.path), "MLOPS_NB_STATIC": "1"}
    return {**facts, "MLOPS_NB_AUTOTRACK": "" if _tracks_itself(notebook) else "1"}


def _complete_record(
    runs: Runs,
    step: str,
    outcome: Outcome,
    notebook: Notebook,
    values: Mapping[str, Any],
    experiment: str,
    executed: Path,
) -> dict[str, str]:
    """Every step leaves a run, closed, with the outcome and the executed notebook."""
    left = list(runs.search(f"tags.`{STEP}` = '{step}'"))
    for run in left:
        if run.status not in ENDED:
            runs.end(run.run_id, RUN_STATUS[outcome.status])
    names = {run.run_id: run.name for run in left}
    if not _tells(left, outcome):
        run_id, name = _late_record(runs, step, outcome, notebook, values, experiment)
        names[run_id] = name
    if executed.is_file():
        for run_id in names:
            runs.log_file(run_id, str(executed), "notebook")
    return names


def _tells(left: Sequence[Run], outcome: Outcome) -> bool:
    """The runs that the kernel left say how the step ended."""
    if outcome.status == "ok":
        return bool(left)
    return any(run.status != "FINISHED" for run in left)


def _late_record(
    runs: Runs,
    step: str,
    outcome: Outcome,
    notebook: Notebook,
    values: Mapping[str, Any],
    experiment: str,
) -> tuple[str, str]:
    """The run of a step whose kernel came to no `track`."""
    path = notebook.path or Path("notebook")
    tags = {STEP: step, "mlflow.source.name": str(path), "mlflow.source.type": "NOTEBOOK"}
    if outcome.cause:
        tags[EXCEPTION] = outcome.cause
    if outcome.cell:
        tags[FAILED_CELL] = outcome.cell
    run_id, name = runs.create(experiment, f"{path.stem}-*", tags)
    runs.log_params(run_id, values)
    if outcome.traceback:
        runs.log_text(run_id, outcome.traceback, "traceback.txt")
    runs.end(run_id, RUN_STATUS[outcome.status])
    return run_id, name


def _deliver(executed: Path, output: Path | None) -> Path:
    """The executed notebook where the user wants it; the file there is whole at any moment."""
    if output is None or not executed.is_file():
        return executed
    write_atomically(output, executed.read_bytes())
    executed.unlink()
    return output
