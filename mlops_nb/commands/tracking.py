"""`track`, `end`, `log`, `note`, `tag`: writing the open run."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlops_nb.commands.grammar import Caller, Command, pass_caller
from mlops_nb.errors import StepError, UsageError
from mlops_nb.runs import PREFIX, SOURCE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from mlops_nb.runs import Run
    from mlops_nb.workspace import Workspace


@dataclass
class Scope(AbstractContextManager["Scope"]):
    """What `track` answers: started as a line, or held around a body (a cell, a program)."""

    workspace: Workspace
    experiment: str | None
    name: str | None
    tags: Mapping[str, str]
    program: Sequence[str] = ()

    def start(self) -> str:
        """Track from here on; says what to expect."""
        run = self.workspace.track(self.experiment, name=self.name, tags=self.tags)
        self.workspace.tracker.settle()
        return f"tracking {run.name} in experiment {run.experiment}; %mlops end closes it"

    def __enter__(self) -> Scope:
        self._run = self.workspace.track(self.experiment, name=self.name, tags=self.tags)
        self._run.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._run.__exit__(kind, error, traceback)

    def run_program(self) -> Run:
        """Run the program with its logs going to this run; its exit code decides the status."""
        _check_program(self.program[0])
        script = _script_of(self.program)
        self.name = self.name or f"{script.stem}-*"
        source = {SOURCE: str(script), f"{PREFIX}program": shlex.join(self.program)}
        self.tags = {**source, **self.tags}
        with self:
            run_id = self._run.run_id
            environment = {
                **os.environ,
                "MLFLOW_TRACKING_URI": self.workspace.settings.tracking,
                "MLFLOW_RUN_ID": run_id,  # plain MLflow calls of the program resume this run
                "MLOPS_NB_RUN_ID": run_id,
            }
            code = subprocess.call(list(self.program), env=environment)
            if code < 0:
                raise StepError(f"{self.program[0]} was ended by signal {-code}")
            if code > 0:
                raise StepError(f"{self.program[0]} ended with exit code {code}")
        return self.workspace.runs.get(run_id)


@click.command(cls=Command, holds=True)
@click.argument("words", nargs=-1, metavar="[EXPERIMENT] [-- PROGRAM…]")
@click.option("--name", help="The run's name; default: the notebook's name and a number.")
@click.option("-t", "--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Tag the run.")
@pass_caller
def track(caller: Caller, words: tuple[str, ...], name: str | None, tags: tuple[str, ...]) -> Scope:
    """Record this notebook; with %%mlops this cell; in a terminal a program after --."""
    if len(words) > 1:
        raise UsageError(
            f"track takes one experiment, not {' '.join(words)!r}",
            cure="put a program after --: mlops track NAME -- python train.py",
        )
    if caller.namespace is None and not caller.body:
        raise UsageError(
            "a terminal has no cells to track",
            cure="give a program: mlops track NAME -- python train.py",
        )
    experiment = words[0] if words else None
    return Scope(caller.workspace, experiment, name, dict(map(_pair, tags)), caller.body)


@click.command(cls=Command)
@pass_caller
def end(caller: Caller) -> Run:
    """Close the open run and show it."""
    return caller.workspace.end()


@click.command(cls=Command)
@click.argument("metrics", nargs=-1, required=True, metavar="NAME[=VALUE]…")
@click.option("--step", type=int, default=0, show_default=True, help="Where on the metric's axis.")
@pass_caller
def log(caller: Caller, metrics: tuple[str, ...], step: int) -> None:
    """Log metrics; a bare word is the notebook's variable of that name."""
    values = dict(_metric(caller, word) for word in metrics)
    caller.workspace.log(values, step=step)


@click.command(cls=Command, verbatim=True)
@click.argument("text")
@pass_caller
def note(caller: Caller, text: str) -> None:
    """Describe the open run in words."""
    caller.workspace.note(text)


@click.command(cls=Command)
@click.argument("tags", nargs=-1, required=True, metavar="KEY=VALUE…")
@pass_caller
def tag(caller: Caller, tags: tuple[str, ...]) -> None:
    """Tag the open run."""
    caller.workspace.tag(dict(map(_pair, tags)))


COMMANDS = (track, end, log, note, tag)


def _pair(word: str) -> tuple[str, str]:
    key, mark, value = word.partition("=")
    if not mark or not key:
        raise UsageError(f"{word!r} is not KEY=VALUE")
    return key, value


def _metric(caller: Caller, word: str) -> tuple[str, Any]:
    name, mark, value = word.partition("=")
    return (name, value) if mark else (name, caller.variable(name))


def _check_program(name: str) -> None:
    """Refuse before a run is opened."""
    if shutil.which(name) is not None:
        return
    if Path(name).is_file():
        runner = Path(sys.executable).name
        raise UsageError(f"{name!r} is not executable", cure=f"try {runner} {name}")
    raise UsageError(f"no program {name!r}", cure="give its path")


def _script_of(program: Sequence[str]) -> Path:
    """The file that the program runs (`python -u train.py`), else the program itself."""
    files = (Path(word) for word in program[1:] if Path(word).is_file())
    return next(files, Path(program[0])).resolve()
