"""Papermill: executes a notebook with parameters in a kernel of its own."""

from __future__ import annotations

import os
import re
import sys
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import UsageError
from mlops_nb.steps import Outcome
from mlops_nb.tables import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

QUIET = "--IPKernelApp.log_level=ERROR"  # its warning of unencrypted TCP is not about the notebook
EXTENSION = "--InteractiveShellApp.extra_extensions"


class Typed(str):
    """A value that JSON holds as text and the injected cell as a Python expression."""

    expression: str

    @classmethod
    def of(cls, value: Any) -> Any:
        """Dates and paths, also inside of lists and dicts; other values as they are."""
        if isinstance(value, (date, PurePath)):
            text = str(value) if isinstance(value, PurePath) else value.isoformat()
            typed = cls(text)
            typed.expression = _constructor(value).format(text)
            return typed
        if isinstance(value, dict):
            return {key: cls.of(item) for key, item in value.items()}
        return [cls.of(item) for item in value] if isinstance(value, list) else value


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
    it loads before the first cell, `folder` its current folder. Raises UsageError when the
    notebook's kernel is not installed.
    """
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    output.parent.mkdir(parents=True, exist_ok=True)
    with _environ(environment), _exact_types():
        try:
            papermill.execute_notebook(
                str(notebook),
                str(output),
                Typed.of(dict(parameters)),
                progress_bar=progress,
                cwd=str(folder),
                extra_arguments=[QUIET, *(f"{EXTENSION}={name}" for name in extensions)],
            )
        except PapermillExecutionError as error:
            return Outcome(
                "failed",
                cause=printable(f"{error.ename}: {error.evalue}".splitlines()[0])[:500],
                cell=str(error.exec_count or error.cell_index + 1),  # as the kernel says it
                traceback=re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback)),
            )
        except NoSuchKernel as error:
            raise UsageError(
                f"{notebook.name} wants the kernel {error.name!r}, which is not installed here",
                cure=f"type {sys.executable} -m ipykernel install --user --name {error.name}",
            ) from None
        except DeadKernelError:
            return Outcome("kernel-died", cause="the kernel died")
        except KeyboardInterrupt:
            return Outcome("cancelled", cause="stopped by Ctrl-C")
    return Outcome("ok")


def _constructor(value: date | PurePath) -> str:
    """The call that makes the value, without a name in the user's namespace."""
    if isinstance(value, PurePath):
        return '__import__("pathlib").Path({!r})'
    kind = "datetime" if isinstance(value, datetime) else "date"
    return f'__import__("datetime").{kind}.fromisoformat({{!r}})'


@contextmanager
def _exact_types() -> Iterator[None]:
    """Papermill writes dates and paths as strings: let it write what they are."""
    from papermill.translators import PythonTranslator, papermill_translators

    class ExactTranslator(PythonTranslator):  # type: ignore[misc]
        @classmethod
        def translate(cls, val: Any) -> str:
            return val.expression if isinstance(val, Typed) else super().translate(val)

    papermill_translators.register("python", ExactTranslator)
    try:
        yield
    finally:
        papermill_translators.register("python", PythonTranslator)


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
