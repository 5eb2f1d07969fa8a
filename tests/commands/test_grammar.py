from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from click.shell_completion import ShellComplete

from mlops_nb.commands import Caller, group, holds_body
from mlops_nb.commands.grammar import Command, Group
from mlops_nb.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import click


def walk(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[Any]:
    yield words, command
    for name, sub in getattr(command, "commands", {}).items():
        yield from walk(sub, (*words, name))


EVERYTHING = dict(walk(group()))


@pytest.mark.parametrize("words", EVERYTHING, ids=" ".join)
def test_every_command_says_in_one_sentence_what_it_does(words: Any) -> None:
    text = EVERYTHING[words].help
    assert text and text.strip()[-1] in ".…"


@pytest.mark.parametrize(
    "words", [w for w, c in EVERYTHING.items() if not isinstance(c, Group)], ids=" ".join
)
def test_every_command_has_h_json_and_env(words: Any) -> None:
    command = EVERYTHING[words]
    assert isinstance(command, Command)
    options = {name for parameter in command.params for name in parameter.opts}
    assert {"--json", "--env"} <= options
    assert "-h" in command.context_settings["help_option_names"]


@pytest.mark.parametrize(
    ("words", "held"),
    [
        (["track"], True), (["--env", "prod", "track", "x"], True), (["track", "show"], True),
        (["show", "track"], False), ([], False), (["data", "track"], False), (["note"], False),
    ],
)  # fmt: skip
def test_only_track_holds_a_cell_or_a_program(words: Any, held: Any) -> None:
    assert holds_body(group(), words) is held


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["trak"], "no command mlops trak; did you mean track"),
        (["zzz"], "no command mlops zzz; type mlops -h"),
        (["model", "regster"], "no command mlops model regster; did you mean register"),
        (["data", "zzz"], "no command mlops data zzz; there is add, checkout, list, load, show"),
    ],
)
def test_an_unknown_command_is_answered_by_the_nearest(args: Any, words: Any) -> None:
    with (
        pytest.raises(UsageError, match=words),
        group().make_context("mlops", args, obj=Caller()) as ctx,
    ):
        group().invoke(ctx)


def test_a_variable_is_the_notebooks_and_a_terminal_has_none() -> None:
    assert Caller(namespace={"auc": 0.5}).variable("auc") == 0.5
    with pytest.raises(NotFoundError, match="no variable 'acu'; did you mean auc"):
        Caller(namespace={"auc": 0.5, "_hidden": 1}).variable("acu")
    with pytest.raises(UsageError, match="a terminal has no variables; write NAME=VALUE"):
        Caller().variable("auc")


@pytest.mark.parametrize("words", [["--json", "show"], ["show", "--json"]])
def test_json_and_env_may_stand_before_or_after_the_command(words: Any, folder: Path) -> None:
    caller = Caller()
    (folder / "mlops.toml").write_text("[env.test]\n")
    group().make_context("mlops", ["--env", "test"], obj=caller, resilient_parsing=True)
    with pytest.raises(NotFoundError), group().make_context("mlops", words, obj=caller) as ctx:
        group().invoke(ctx)  # there is no run to show
    assert caller.as_json


@pytest.mark.parametrize(
    ("words", "last", "expected"),
    [
        ([], "do", ["doctor"]),
        (["data"], "", ["add", "checkout", "list", "load", "show"]),
        (["--env"], "", ["dev", "test", "prod"]),
        (["doctor"], "--r", ["--repair"]),
        (["model", "promote", "x/1"], "--", ["--to", "--json", "--env", "--help"]),
    ],
)
def test_completion_knows_commands_and_options(
    words: Any, last: Any, expected: Any, folder: Path
) -> None:
    complete = ShellComplete(group(), {"obj": Caller()}, "mlops", "_MLOPS_COMPLETE")
    assert [item.value for item in complete.get_completions(words, last)] == expected
