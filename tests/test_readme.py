"""README says what is true: its commands exist and parse, its set-up lines and files are there."""

from __future__ import annotations

import re
import shlex
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from mlops_nb.commands import Caller, group
from mlops_nb.magics import words_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
HEADING = "| command | what it does |\n"
SETUP = [
    'python3 -m venv .venv && .venv/bin/pip install ".[demo]" && .venv/bin/mlops demo',
    'python3 -m venv .venv && .venv/bin/pip install -e ".[test]" && .venv/bin/pytest',
]


def fenced(language: str) -> list[str]:
    """The lines of all fenced blocks of a language."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def named_commands() -> list[str]:
    """The words in backticks in the first column of the command table."""
    assert README.count(HEADING) == 1
    lines = README.partition(HEADING)[2].splitlines()[1:]
    cells = [
        re.split(r"(?<!\\)\|", row)[1] for row in takewhile(lambda r: r.startswith("|"), lines)
    ]
    return [span for cell in cells for span in re.findall(r"`([^`]+)`", cell)]


def terminal_lines() -> list[str]:
    """What a reader can type in a shell: `mlops …`, from all sh blocks."""
    parts = [part.strip() for line in fenced("sh") for part in line.split(" && ")]
    return [re.sub(r"^\S*/", "", part) for part in parts if re.match(r"(\S*/)?mlops\b", part)]


def notebook_lines() -> list[str]:
    return [line for line in fenced("python") if re.match(r"%%?mlops\b", line)]


def test_the_command_table_names_every_command_and_no_other() -> None:
    known = {"mlops", *(" ".join(path) for path in leaves(group(), ()))}
    named = [named_path(span) for span in named_commands()]
    assert sorted(named) == sorted(known)


def test_the_two_set_up_commands_are_there() -> None:
    assert [line for line in fenced("sh") if "venv" in line] == SETUP


def test_every_file_it_refers_to_exists() -> None:
    linked = re.findall(r"\]\(([^)#\s]+)[^)]*\)|\bsrc=\"([^\"]+)\"", README)
    paths = {link or src for link, src in linked}
    paths |= set(re.findall(r"(?:examples|docs|tests|\.github|\.ci)/[\w./-]*\w", README))
    local = {path for path in paths if "://" not in path}
    assert local
    assert {path for path in local if not (ROOT / path).exists()} == set()


@pytest.mark.parametrize("line", terminal_lines())
def test_a_terminal_line_parses(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    understood(words[: words.index("--")] if "--" in words else words)


@pytest.mark.parametrize("line", notebook_lines())
def test_a_notebook_line_parses_as_it_stands(line: str) -> None:
    words = words_of(group(), re.sub(r"^%%?mlops\s*", "", line))
    assert not [word for word in words if re.match(r"#|.*\s#\s", word)], "a comment became words"
    understood(words)


def test_lines_of_both_kinds_are_found() -> None:
    assert len(terminal_lines()) >= 3
    assert len(notebook_lines()) >= 3


def understood(words: list[str]) -> None:
    """Let click read the words, down to the last sub-command, and invoke nothing."""
    ctx = group().make_context("mlops", words, obj=Caller(namespace={}))
    while isinstance(ctx.command, click.Group) and (rest := [*ctx._protected_args, *ctx.args]):
        name, command, rest = ctx.command.resolve_command(ctx, rest)
        assert command is not None
        ctx = command.make_context(name, rest, parent=ctx)


def named_path(span: str) -> str:
    """`data add PATH NAME` -> `data add`; a word that is no command stays, to be found."""
    words = re.sub(r"^%*mlops\b", "", span).split()
    command: click.Command | None = group()
    path = []
    for word in words:
        if not isinstance(command, click.Group):
            break
        path.append(word)
        command = command.commands.get(word)
    return " ".join(path) or "mlops"


def leaves(command: click.Group, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The paths of all commands that do something, `("data", "add")`."""
    for word, below in command.commands.items():
        if isinstance(below, click.Group):
            yield from leaves(below, (*path, word))
        else:
            yield (*path, word)
