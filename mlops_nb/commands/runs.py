"""`runs`, `show`, `compare`: reading runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from mlops_nb.commands.grammar import Caller, Command, pass_caller
from mlops_nb.errors import MlopsError

if TYPE_CHECKING:
    from mlops_nb.backends.mlflow.frames import RunsFrame
    from mlops_nb.runs import Comparison, Run


def complete_run(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the newest runs, and the words for them."""
    try:
        workspace = ctx.ensure_object(Caller).workspace
        recent = workspace.runs.search(limit=50) if workspace.has_store() else []
    except MlopsError:
        return []
    words = [
        "last",
        *(run.name for run in recent),
        *(f"best:{m}" for r in recent[:5] for m in r.metrics),
    ]
    return [CompletionItem(word) for word in dict.fromkeys(words) if word.startswith(incomplete)]


@click.command(cls=Command, raw=True)
@click.argument("query", default="")
@click.option("--order-by", multiple=True, metavar="FIELD", help="Such as 'metrics.auc DESC'.")
@click.option("--last", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@click.option("--experiment", help="Only of this experiment.")
@pass_caller
def runs(
    caller: Caller, query: str, order_by: tuple[str, ...], last: int, experiment: str | None
) -> RunsFrame:
    """Runs as a table, newest first; QUERY such as metrics.auc > 0.9 and params.model = 'rf'."""
    return caller.workspace.search_runs(query, order_by=order_by, last=last, experiment=experiment)


@click.command(cls=Command)
@click.argument("run", default="last", shell_complete=complete_run)
@pass_caller
def show(caller: Caller, run: str) -> Run:
    """One run: by name, start of its id, last, or best:METRIC[:min|:max]."""
    return caller.workspace.run(run)


@click.command(cls=Command)
@click.argument("runs", nargs=-1, shell_complete=complete_run)
@click.option("--last", type=click.IntRange(2), default=None, help="The newest so many; default 5.")
@click.option("--best", metavar="METRIC", help="The best by this metric.")
@pass_caller
def compare(
    caller: Caller, runs: tuple[str, ...], last: int | None, best: str | None
) -> Comparison:
    """Runs side by side: metrics, and the params that differ."""
    return caller.workspace.compare(*runs, last=last or 0, best=best)


COMMANDS = (runs, show, compare)
