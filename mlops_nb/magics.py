"""The notebook's face: `%mlops VERB …` and `%%mlops track`."""

from __future__ import annotations

import os
import re
import shlex
from functools import cache
from typing import TYPE_CHECKING, Any

from mlops_nb.backends.ipython import attached_shell
from mlops_nb.backends.session import Session
from mlops_nb.errors import MlopsError, UsageError
from mlops_nb.tables import plain

if TYPE_CHECKING:
    import click

    from mlops_nb.commands import Group

WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|[^\s'"])+|['"]""")
LINE = re.compile(r"\s*%%?mlops\s")
UNEXPANDED = re.compile(r"\{[A-Za-z_][^{}:]*\}")


def load(ipython: Any) -> None:
    """Register the magic; everything heavy waits for its first use."""
    attached_shell()
    ipython.register_magic_function(mlops, "line_cell")
    ipython.Completer.custom_matchers.append(_matcher())
    _offer_store()
    if os.environ.get("MLOPS_NB_AUTOTRACK") == "1":  # `mlops run` of a notebook without `track`
        mlops("track")


def mlops(line: str, cell: str | None = None) -> Any:
    """Track, version, register, run: %mlops -h lists the commands, %mlops alone is the status."""
    from mlops_nb.commands import Caller

    shell = attached_shell()
    caller = Caller(namespace=shell.namespace if shell else {}, interactive=True)
    if cell is not None:
        return _hold(line, caller, cell)
    value = _invoke(line, caller)
    if hasattr(value, "start"):
        value = value.start()
    if hasattr(value, "raise_for_status"):
        value.raise_for_status()
    return plain(value) if caller.as_json else _shown(value)


def words_of(group: Group, line: str) -> list[str]:
    """The words of a line as a shell splits them; a raw command gets its text in one piece."""
    import click

    command: click.Command | None = group
    words: list[str] = []
    tokens = WORD.finditer(line)
    for match in tokens:
        if not isinstance(command, click.Group):
            break
        words.append(match.group())
        if option := _option(command, match.group()):
            if not option.is_flag and "=" not in match.group() and (value := next(tokens, None)):
                words += _split(value.group())
            continue
        command = command.commands.get(match.group())
        if getattr(command, "raw", False):
            rest = line[match.end() :]
            text = rest if getattr(command, "verbatim", False) else _without_comment(rest)
            return [*words, *_raw_words(command, text)]  # type: ignore[arg-type]
    return _split(_without_comment(line))


def _invoke(line: str, caller: Any) -> Any:
    import click

    group = _group()
    words = words_of(group, line)
    try:
        with group.make_context("%mlops", words, obj=caller) as ctx:
            return group.invoke(ctx)
    except click.exceptions.Exit:
        return None
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        where = context.command_path if context else "%mlops"
        raise UsageError(
            " ".join(error.format_message().split()), cure=f"type {where} -h"
        ) from None


def _hold(line: str, caller: Any, cell: str) -> Any:
    """Run a cell as the body of what the command answers."""
    from mlops_nb.commands import holds_body

    shell = attached_shell()
    if shell is None or not holds_body(_group(), words_of(_group(), line)):
        verb = (line.split() or ["(status)"])[0]
        raise UsageError(f"%%mlops {verb} takes no cell", cure=f"write %mlops {line}")
    value = _invoke(line, caller)
    if value is None:
        return None  # it was asked for help
    with value:
        return shell.execute_body(cell)


def _shown(value: Any) -> Any:
    """A line of text is said; any other value is IPython's to display, or the user's to keep."""
    if isinstance(value, str):
        print(value)
        return None
    return value


@cache
def _group() -> Group:
    from mlops_nb.commands import group

    return group()


def _split(line: str) -> list[str]:
    if "\n" in line:
        raise UsageError(
            "a value of several lines cannot stand in a %mlops line",
            cure="name the variable instead, such as: %mlops data add df flights",
        )
    if found := UNEXPANDED.search(line):
        raise UsageError(
            f"{found.group()} was not expanded: IPython cannot evaluate it here",
            cure="check the name, or assign it to a variable first",
        )
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(f"{line!r}: {error}", cure="close the quotation mark") from None


def _without_comment(line: str) -> str:
    """The line up to a lone `#`: IPython hands a magic its comment too."""
    starts = (match.start() for match in WORD.finditer(line) if match.group() == "#")
    return line[: next(starts, len(line))].rstrip()


def _raw_words(command: click.Command, rest: str) -> list[str]:
    """Options of the command as words, everything else as one text, untouched."""
    options: list[str] = []
    text, position = "", 0
    tokens = WORD.finditer(rest)
    for match in tokens:
        option = _option(command, match.group())
        if option is None:
            continue
        text += rest[position : match.start()]
        position = match.end()
        options.append(match.group())
        if not option.is_flag and "=" not in match.group() and (value := next(tokens, None)):
            options += _split(value.group())
            position = value.end()
    text = _unquoted((text + rest[position:]).strip())
    return [*options, "--", text] if text else options


def _option(command: click.Command, word: str) -> click.Option | None:
    import click

    name = word.partition("=")[0]
    known = [p for p in command.params if isinstance(p, click.Option)]
    known += [click.Option(["-h", "--help"], is_flag=True)]
    return next((option for option in known if name in option.opts), None)


def _unquoted(text: str) -> str:
    whole = re.fullmatch(r"""(['"])(.*)\1""", text, re.DOTALL)
    return whole[2] if whole and whole[1] not in whole[2] else text


def _matcher() -> Any:
    """IPython's way to complete a line alone: its own guesses would only mix in."""
    from IPython.core.completer import SimpleCompletion, context_matcher

    @context_matcher(identifier="mlops_nb")  # type: ignore[untyped-decorator, unused-ignore]
    def complete(context: Any) -> dict[str, Any]:
        line = context.text_until_cursor
        if not LINE.match(line):
            return {"completions": []}
        words = [SimpleCompletion(text=word, type="mlops") for word in _completions(line)]
        return {"completions": words, "suppress": True, "matched_fragment": line.split(" ")[-1]}

    return complete


def _completions(line: str) -> list[str]:
    """What the last word of a `%mlops` line may become, by click's own rules."""
    from click.shell_completion import ShellComplete

    from mlops_nb.commands import Caller

    *words, word = line.split(" ")[1:]
    shell = attached_shell()
    caller = Caller(namespace=shell.namespace if shell else {})
    complete = ShellComplete(_group(), {"obj": caller}, "mlops", "_MLOPS_COMPLETE")
    found = complete.get_completions([word for word in words if word], word)
    return [item.value for item in found if item.type == "plain"]


def _offer_store() -> None:
    """Plain MLflow calls meet the workspace's store; a broken configuration is said later."""
    from mlops_nb.config import find_root, read_settings

    session = Session.current()
    try:
        session.offer_store(read_settings(find_root(session.folder), environ=session.environ))
    except MlopsError:
        return
