"""The grammar that all commands share: `-h`, `--json`, `--env`, and helpful refusals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from mlops_nb import api
from mlops_nb.errors import NotFoundError, UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import ModuleType

    from mlops_nb.workspace import Workspace

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@dataclass
class Caller:
    """Who calls a command, and how the answer is wanted."""

    namespace: Mapping[str, Any] | None = None  # the notebook's variables; None in a terminal
    interactive: bool = False  # a person watches: progress may be shown
    env: str | None = None
    as_json: bool = False
    body: tuple[str, ...] = ()  # the program after `--`
    run_line: Callable[[list[str]], int] | None = None  # runs and shows another command

    @property
    def workspace(self) -> Workspace:
        return api.current_workspace(env=self.env)

    def variable(self, name: str) -> Any:
        """The notebook's variable of this name."""
        if self.namespace is None:
            raise UsageError(
                f"{name!r}: a terminal has no variables", cure="write NAME=VALUE or a path"
            )
        if name not in self.namespace:
            known = [n for n in self.namespace if not n.startswith("_")]
            raise NotFoundError(f"no variable {name!r}", cure=did_you_mean(name, known))
        return self.namespace[name]


pass_caller = click.make_pass_decorator(Caller)


def common_options() -> list[click.Parameter]:
    """The options that every command has."""
    return [
        click.Option(
            ["--json", "as_json"],
            is_flag=True,
            expose_value=False,
            callback=_answer_json,
            help="The value as JSON.",
        ),
        click.Option(
            ["--env"],
            expose_value=False,
            callback=_choose_env,
            help="Environment: dev, test or prod.",
            shell_complete=_environments,
        ),
    ]


class Command(click.Command):
    """A command with the options that all have.

    `raw` gets the rest of a notebook line in one piece, `verbatim` with what looks like a comment;
    `holds` takes a body: a cell, or a program after `--`.
    """

    def __init__(
        self,
        *args: Any,
        raw: bool = False,
        verbatim: bool = False,
        holds: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.raw = raw or verbatim
        self.verbatim = verbatim
        self.holds = holds
        self.context_settings = {**SETTINGS, **self.context_settings}
        self.params += common_options()


class Group(click.Group):
    """Commands by name; an unknown one is answered by the nearest."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.context_settings = {**SETTINGS, **self.context_settings}

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise UsageError(
                f"no command {ctx.command_path} {args[0]}",
                cure=did_you_mean(args[0], self.list_commands(ctx))
                or f"type {ctx.command_path} -h",
            )
        return super().resolve_command(ctx, args)


Group.group_class = Group


def holds_body(group: Group, words: Iterable[str]) -> bool:
    """Whether the command that these words name takes a body."""
    command: click.Command = group
    for word in words:
        if isinstance(command, click.Group):
            command = command.commands.get(word, command)
    return getattr(command, "holds", False)


def group_of(*modules: ModuleType) -> Group:
    """One group of the commands that each module lists in COMMANDS."""
    group = Group(
        "mlops",
        invoke_without_command=True,
        callback=_status_card,
        params=common_options(),
        help="Track, version, register and run notebooks. Without a command: the status card.",
    )
    for module in modules:
        for command in module.COMMANDS:
            group.add_command(command)
    return group


@click.pass_context
def _status_card(ctx: click.Context) -> Any:
    if ctx.invoked_subcommand is None:
        return ctx.ensure_object(Caller).workspace.status()
    return None


def _answer_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Caller).as_json = True


def _choose_env(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value:
        ctx.ensure_object(Caller).env = value


def _environments(*arguments: Any) -> list[CompletionItem]:
    *_, incomplete = arguments
    return [CompletionItem(n) for n in ("dev", "test", "prod") if n.startswith(incomplete)]
