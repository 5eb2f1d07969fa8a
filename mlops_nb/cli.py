"""The terminal's face: `mlops VERB …`."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import shell_complete

from mlops_nb.backends.session import Session
from mlops_nb.commands import Caller, Group, group, holds_body
from mlops_nb.errors import MlopsError
from mlops_nb.tables import plain, to_text

if TYPE_CHECKING:
    from collections.abc import Sequence


COMPLETE = "_MLOPS_COMPLETE"  # the variable of click's protocol


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code; or complete one, if the shell asks for that."""
    if asked := os.environ.get(COMPLETE):
        sys.exit(shell_complete(group(), {"obj": Caller()}, "mlops", COMPLETE, asked))
    sys.exit(call(list(sys.argv[1:] if arguments is None else arguments)))


def call(arguments: Sequence[str]) -> int:
    """Run one command, show its value on stdout or its error on stderr; gives the exit code."""
    Session.current().in_terminal = True
    command = group()
    words, body = _cut(command, arguments)
    caller = Caller(interactive=sys.stderr.isatty(), body=tuple(body), run_line=call)
    try:
        with command.make_context("mlops", words, obj=caller) as ctx:
            return _show(command.invoke(ctx), caller)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.Abort:
        return _refuse("stopped by Ctrl-C", 130)
    except KeyboardInterrupt:
        return _refuse("stopped by Ctrl-C", 130)
    except click.ClickException as error:
        return _refuse(_one_line(error), 2)
    except MlopsError as error:
        return _refuse(str(error), error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _cut(command: Group, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command's words, and the program after `--` if the command takes one."""
    words = list(arguments)
    cut = words.index("--") if "--" in words else len(words)
    if not holds_body(command, words[:cut]):
        return words, []
    return words[:cut], words[cut + 1 :]


def _show(value: Any, caller: Caller) -> int:
    if caller.body:
        value = value.run_program()
    if caller.as_json:
        print(json.dumps(plain(value), ensure_ascii=False, indent=2))
    elif value is not None:
        print(to_text(value))
    return int(getattr(value, "exit_code", 0))


def _one_line(error: click.ClickException) -> str:
    message = error.format_message().replace("\n", " ")
    context = getattr(error, "ctx", None)
    return f"{message} (type {context.command_path} -h)" if context else message


def _refuse(message: str, exit_code: int) -> int:
    print(f"Error: {message}", file=sys.stderr)
    return exit_code
