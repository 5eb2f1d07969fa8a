"""`check` and `run`: notebooks read, and executed as steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlops_nb import api
from mlops_nb.commands.grammar import Caller, Command, pass_caller
from mlops_nb.errors import ParameterError
from mlops_nb.execution import schema_of
from mlops_nb.notebooks import Notebook

if TYPE_CHECKING:
    from mlops_nb.checking import Report
    from mlops_nb.steps import StepResult


@click.command(cls=Command)
@click.argument("notebook", required=False, type=click.Path())
@pass_caller
def check(caller: Caller, notebook: str | None) -> Report:
    """Would this notebook run top to bottom? By reading it; no store needed."""
    return caller.workspace.check(notebook)


@click.command(cls=Command)
@click.argument("notebook", type=click.Path(path_type=Path))
@click.argument("output", required=False, type=click.Path(path_type=Path))
@click.option(
    "-p",
    "--parameters",
    "typed",
    nargs=2,
    multiple=True,
    metavar="NAME VALUE",
    help="A parameter, by its declared type.",
)
@click.option(
    "-r",
    "--parameters_raw",
    "raw",
    nargs=2,
    multiple=True,
    metavar="NAME VALUE",
    help="A parameter, as a string.",
)
@click.option(
    "-f",
    "--parameters_file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Parameters from a YAML file.",
)
@click.option(
    "-y",
    "--parameters_yaml",
    "texts",
    multiple=True,
    metavar="YAML",
    help="Parameters from a YAML text.",
)
@pass_caller
def run(
    caller: Caller,
    notebook: Path,
    output: Path | None,
    typed: tuple[tuple[str, str], ...],
    raw: tuple[tuple[str, str], ...],
    files: tuple[Path, ...],
    texts: tuple[str, ...],
) -> StepResult:
    """Run NOTEBOOK with parameters in a fresh kernel, into OUTPUT; a run like any other."""
    schema = schema_of(Notebook.read(notebook))
    given: dict[str, Any] = {}
    for path in files:
        given |= _mapping(_read(path), str(path))
    for text in texts:
        given |= _mapping(text, "-y")
    given |= {name: schema.parse(name, text) for name, text in typed}
    given |= dict(raw)
    workspace = api.current_workspace(notebook.resolve().parent, env=caller.env)
    return workspace.run_notebook(notebook, output, parameters=given, progress=caller.interactive)


COMMANDS = (check, run)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ParameterError(
            f"{path}: {reason}", cure="give a YAML file of NAME: VALUE lines"
        ) from None


def _mapping(text: str, origin: str) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ParameterError(
            f"{origin}{line}: not valid YAML", cure="write NAME: VALUE lines"
        ) from None
    if not isinstance(values, dict):
        raise ParameterError(f"{origin}: not a mapping", cure="write NAME: VALUE lines")
    return {str(name): value for name, value in values.items()}
