"""Papermill: executes a notebook with parameters in a kernel of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlops_nb.steps import Outcome

QUIET = "--IPKernelApp.log_level=ERROR"  # its warning of unencrypted TCP is not about the notebook
EXTENSION = "--InteractiveShellApp.extra_extensions"


def execute(
    notebook: Path,
    output: Path,
    *,
    parameters: Mapping[str, Any],
    environment: Mapping[str, str],
    extensions: Sequence[str],
    folder: Path,
    progress: bool,
) -> Outcome:
    """Run `notebook` into `output` and say how it ended; never raises for what the notebook did.

    `environment` is what the kernel finds in its environment, `extensions` the IPython extensions
    it loads before the first cell, `folder` its current folder.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    output.parent.mkdir(parents=True, exist_ok=True)
    with _environ(environment):
        try:
            papermill.execute_notebook(
                str(notebook),
                str(output),
                dict(parameters),
                progress_bar=progress,
                cwd=str(folder),
                extra_arguments=[QUIET, *(f"{EXTENSION}={name}" for name in extensions)],
            )
        except PapermillExecutionError as error:
            cause = f"{error.ename}: {error.evalue}"
            return Outcome("failed", cause=cause, cell=_cell_of(error), traceback="\n".join(error.traceback))
        except DeadKernelError:
            return Outcome("kernel-died", cause="the kernel died")
        except KeyboardInterrupt:
            return Outcome("cancelled", cause="stopped by Ctrl-C")
    return Outcome("ok")


def _cell_of(error: Any) -> str:
    return f"{error.cell_index + 1}"


@contextmanager
def _environ(values: Mapping[str, str]) -> Iterator[None]:
    """The kernel inherits our environment: change it for the time of the start."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
