"""`model …`: the registry and its aliases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from mlops_nb.commands.grammar import Caller, Group, pass_caller
from mlops_nb.commands.runs import complete_run
from mlops_nb.errors import MlopsError

if TYPE_CHECKING:
    from mlops_nb.models import ModelList, ModelVersion, Promotion


def complete_model(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Versions and aliases of the registered models."""
    try:
        workspace = ctx.ensure_object(Caller).workspace
        versions = workspace.models.versions() if workspace.has_store() else []
    except MlopsError:
        return []
    words = [w for v in versions for w in (v.reference, *(f"{v.name}@{a}" for a in v.aliases))]
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


@click.group(cls=Group)
def model() -> None:
    """Registered models: register, list, show, promote, rollback."""


@model.command()
@click.argument("name")
@click.argument("run", default="last", shell_complete=complete_run)
@click.option("--model", "model_id", metavar="ID", help="Which, if the run logged several.")
@pass_caller
def register(caller: Caller, name: str, run: str, model_id: str | None) -> ModelVersion:
    """Register the model that RUN logged as the next version of NAME."""
    return caller.workspace.register_model(name, run, model=model_id)


@model.command("list")
@click.argument("name", required=False)
@pass_caller
def list_(caller: Caller, name: str | None) -> ModelList:
    """All registered versions, or those of one model."""
    return caller.workspace.list_models(name)


@model.command()
@click.argument("reference", metavar="NAME/3|NAME@ALIAS", shell_complete=complete_model)
@pass_caller
def show(caller: Caller, reference: str) -> ModelVersion:
    """A version, and the run, notebook and data it comes from."""
    return caller.workspace.model(reference)


@model.command()
@click.argument("reference", metavar="NAME/3", shell_complete=complete_model)
@click.option("--to", "alias", required=True, metavar="ALIAS", help="Such as champion.")
@pass_caller
def promote(caller: Caller, reference: str, alias: str) -> Promotion:
    """Point an alias at a version; recorded (as ungated, while there are no gates)."""
    return caller.workspace.promote(reference, to=alias)


@model.command()
@click.argument("name", metavar="NAME", shell_complete=complete_model)
@click.option("--alias", default="champion", show_default=True, help="Which alias to move.")
@pass_caller
def rollback(caller: Caller, name: str, alias: str) -> Promotion:
    """Point an alias at the version it stood on before; again walks further back."""
    return caller.workspace.rollback(name, alias=alias)


COMMANDS = (model,)
