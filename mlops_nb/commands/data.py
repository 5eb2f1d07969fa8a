"""`data …`: dataset versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from mlops_nb.commands.grammar import Caller, Group, pass_caller
from mlops_nb.errors import MlopsError, NotFoundError

if TYPE_CHECKING:
    import pandas as pd

    from mlops_nb.datasets import Added, DatasetList, DatasetVersion


def complete_data(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names, and once a name is whole, its versions."""
    try:
        workspace = ctx.ensure_object(Caller).workspace
        if not workspace.settings.data.is_dir():
            return []
        store = workspace.datasets
        name, mark, _rest = incomplete.partition("@")
        words = [str(v.reference) for v in store.versions(name)] if mark else store.names()
    except MlopsError:
        return []
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


@click.group(cls=Group)
def data() -> None:
    """Dataset versions: add, load, list, show, checkout."""


@data.command()
@click.argument("source", metavar="PATH|VARIABLE", type=click.Path())
@click.argument("name", shell_complete=complete_data)
@click.option("-m", "--message", default="", help="What is new in this version.")
@pass_caller
def add(caller: Caller, source: str, name: str, message: str) -> Added:
    """Keep a file, a folder or the notebook's DataFrame as the next version of NAME."""
    return caller.workspace.add_data(_source(caller, source), name, message=message, label=source)


@data.command()
@click.argument("reference", metavar="NAME[@v1]", shell_complete=complete_data)
@pass_caller
def load(caller: Caller, reference: str) -> pd.DataFrame:
    """A version's rows as a DataFrame; an input of the open run."""
    return caller.workspace.load_data(reference)


@data.command("list")
@click.argument("name", required=False, shell_complete=complete_data)
@pass_caller
def list_(caller: Caller, name: str | None) -> DatasetList:
    """All datasets, or all versions of one."""
    return caller.workspace.list_data(name)


@data.command()
@click.argument("reference", metavar="NAME[@v1]", shell_complete=complete_data)
@pass_caller
def show(caller: Caller, reference: str) -> DatasetVersion:
    """A version's digest, schema and profile."""
    return caller.workspace.dataset(reference)


@data.command()
@click.argument("reference", metavar="NAME[@v1]", shell_complete=complete_data)
@click.option("--to", type=click.Path(path_type=Path), help="Where; default: here, by its name.")
@click.option("--overwrite", is_flag=True, help="Replace files that differ.")
@pass_caller
def checkout(caller: Caller, reference: str, to: Path | None, overwrite: bool) -> dict[str, Any]:
    """Write a version's files, verified."""
    path = caller.workspace.checkout_data(reference, to, overwrite=overwrite)
    return {"reference": reference, "path": path}


COMMANDS = (data,)


def _source(caller: Caller, source: str) -> Any:
    """A notebook's variable comes before a file of the same name only if it holds data."""
    held = (caller.namespace or {}).get(source)
    if isinstance(held, (str, Path)):
        return Path(held)
    if held is not None and not callable(held):
        return held
    if not Path(source).exists():
        what = "file or folder" if caller.namespace is None else "variable, file or folder"
        raise NotFoundError(f"no {what} {source!r}", cure=f"look in {Path.cwd()}")
    return Path(source)
