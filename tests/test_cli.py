from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import mlflow
import pytest

import mlops_nb as mlops
from mlops_nb.cli import call
from mlops_nb.commands import group

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import mlflow
import mlops_nb as mlops
mlflow.log_metric("plain", 1)
mlops.log(ours=2)
mlops.log_params(depth=3)
"""


def mlops_process(*words: str, **facts: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mlops_nb", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, **facts)


def answer(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    """What a command answers with --json."""
    assert call([*words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


# --- values and errors ---------------------------------------------------------------------------


def test_a_value_goes_to_stdout_an_error_to_stderr_and_the_exit_code_tells(folder: Path) -> None:
    good = mlops_process("data", "list")
    assert (good.returncode, good.stdout, good.stderr) == (
        0,
        "no datasets yet; add one with data add SOURCE NAME\n",
        "",
    )
    bad = mlops_process("data", "lst")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr == "Error: no command mlops data lst; did you mean list?\n"


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("trak", 2, "no command mlops trak; did you mean track?"),
        ("track flights", 2, "a terminal has no cells to track; "),
        ("track a b -- true", 2, "track takes one experiment, not 'a b'"),
        ("show --nmae x", 2, "(type mlops show -h)"),
        ("log auc", 2, "a terminal has no variables; write NAME=VALUE"),
        ("log auc=1", 2, "no run is open here"),
        ("end", 2, "no run is open here"),
        ("data add nosuch x", 2, "no file or folder 'nosuch'; look in "),
        ("data load nosuch", 2, "nosuch"),
        ("model show churn", 2, "no model 'churn' is registered"),
        ("check nosuch.ipynb", 2, "no notebook nosuch.ipynb; there is no .ipynb file in "),
        ("check", 2, "no notebook named; type mlops check NOTEBOOK.ipynb"),
        ("run nosuch.ipynb", 2, "no notebook nosuch.ipynb"),
        ("--env prod", 2, "environment 'prod' is not set up; add [env.prod] to "),
        ("track x -- nosuchprogram", 2, "no program 'nosuchprogram'; give its path"),
        ("track x -- ./mlops.toml", 2, "is not executable; try "),
    ],
)
def test_a_refusal_is_one_line_with_a_cure(
    folder: Path, capsys: pytest.CaptureFixture[str], line: str, code: Any, words: Any
) -> None:
    assert call(line.split()) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Error: ") and said.err.count("\n") == 1
    assert words in said.err


def test_every_command_has_help_json_and_env(capsys: pytest.CaptureFixture[str]) -> None:
    def check(command: Any, words: Any) -> None:
        assert call([*words, "-h"]) == 0
        text = capsys.readouterr().out
        assert text.startswith(f"Usage: mlops {' '.join(words)}".rstrip())
        for name, sub in getattr(command, "commands", {}).items():
            check(sub, [*words, name])
            assert f"  {name}" in text
        if not hasattr(command, "commands"):
            assert "--json" in text and "--env" in text

    check(group(), [])


def test_numbers_are_whole_in_json_and_short_in_text(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(
        [
            "track",
            "flights",
            "--",
            sys.executable,
            "-c",
            "import mlops_nb; mlops_nb.log(auc=0.123456789)",
        ]
    )
    capsys.readouterr()
    assert answer(capsys, "show", "last")["metrics"] == {"auc": 0.123456789}
    call(["show", "last"])
    assert "0.1235" in capsys.readouterr().out


def test_a_closed_pipe_is_no_error(folder: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m mlops_nb -h | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("Usage: mlops")
    assert done.stderr == ""


def test_two_dashes_before_a_text_are_the_shells_usual_ones(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["note", "--", "-5 degrees"]) == 2
    assert "no run is open here" in capsys.readouterr().err
    assert call(["show", "--", "-5"]) == 2
    assert "no run '-5'" in capsys.readouterr().err


# --- track NAME -- PROGRAM -----------------------------------------------------------------------


def test_plain_mlflow_and_mlops_calls_of_a_program_go_to_its_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "train.py").write_text(PROGRAM)
    assert (
        call(
            [
                "track",
                "flights",
                "--name",
                "one",
                "-t",
                "team=north",
                "--",
                sys.executable,
                "train.py",
            ]
        )
        == 0
    )
    assert "one  FINISHED" in capsys.readouterr().out
    found = mlops.get_run("one")
    assert found.metrics == {"plain": 1, "ours": 2}
    assert found.params == {"depth": "3"}
    assert (found.experiment, found.tags["team"], found.status) == ("flights", "north", "FINISHED")
    assert len(mlops.search_runs()) == 1


@pytest.mark.parametrize(
    ("program", "code", "verdict"),
    [
        ("import sys; sys.exit(3)", 1, "FAILED: StepError: .* ended with exit code 3"),
        ("raise ValueError", 1, "FAILED: StepError: .* ended with exit code 1"),
        (
            "import os; os.kill(os.getpid(), 9)",
            1,
            "(FAILED|KILLED): StepError: .* ended by signal 9",
        ),
    ],
)
def test_the_exit_code_of_a_program_decides_the_status(
    folder: Path, capsys: pytest.CaptureFixture[str], program: Any, code: Any, verdict: Any
) -> None:
    assert call(["track", "flights", "--", sys.executable, "-c", program]) == code
    assert capsys.readouterr().err.splitlines()[-1].startswith("Error: ")
    assert re.fullmatch(verdict, mlops.get_run("last").verdict)


def test_a_program_that_fails_after_logging_keeps_what_it_logged(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "train.py").write_text(PROGRAM + "raise ValueError('no rows')")
    assert call(["track", "flights", "--", sys.executable, "train.py"]) == 1
    found = mlops.get_run("last")
    assert (found.status, found.metrics) == ("FAILED", {"plain": 1, "ours": 2})


def test_the_words_after_the_dashes_are_the_programs_own(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import sys; print(sys.argv[1:])"
    assert mlops_process(
        "track", "x", "--", sys.executable, "-c", code, "--json", "--", "-h"
    ).stdout.startswith("['--json', '--', '-h']\n")


def test_ctrl_c_kills_the_program_and_its_run_says_killed(folder: Path) -> None:
    (folder / "slow.py").write_text("open('begun', 'w').close()\nimport time\ntime.sleep(60)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "mlops_nb", "track", "slow", "--", sys.executable, "slow.py"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + 60
    while not (folder / "begun").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "Error: stopped by Ctrl-C"
    assert mlops.get_run("last").status == "KILLED"


# --- completion in the shell ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "last", "expected"),
    [
        ("mlops", "sh", ["plain,show"]),
        ("mlops data", "ch", ["plain,checkout"]),
        ("mlops model promote churn/1", "--t", ["plain,--to"]),
        ("mlops --env", "p", ["plain,prod"]),
        ("mlops show", "best:a", ["plain,best:auc"]),
    ],
)
def test_bash_completes_by_clicks_own_protocol(
    folder: Path, words: Any, last: Any, expected: Any
) -> None:
    if last.startswith("best"):
        mlops.track("flights")
        mlops.log(auc=1)
        mlops.end()
    environ = {
        **os.environ,
        "_MLOPS_COMPLETE": "bash_complete",
        "COMP_WORDS": f"{words} {last}",
        "COMP_CWORD": str(len(words.split())),
    }
    script = "import sys; sys.argv[0] = 'mlops'; from mlops_nb.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == expected


def test_the_script_that_turns_completion_on_is_printed(folder: Path) -> None:
    environ = {**os.environ, "_MLOPS_COMPLETE": "bash_source"}
    script = "import sys; sys.argv[0] = 'mlops'; from mlops_nb.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False
    )
    assert "complete -o nosort -F _mlops_completion mlops" in done.stdout


# --- what MLflow's own tools see -----------------------------------------------------------------


def test_a_command_in_a_sub_folder_works_on_the_workspace_above(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mlops.track("flights", name="one")
    mlops.end()
    deep = folder / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert answer(capsys, "show", "one")["name"] == "one"
    assert list(deep.iterdir()) == []


def test_an_environment_chosen_by_option_or_variable_works_on_its_own_store(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "mlops.toml").write_text('[env.test]\ntracking = "sqlite:///test.db"\n')
    program = ["--", sys.executable, "-c", "import mlops_nb; mlops_nb.log(a=1)"]
    assert call(["--env", "test", "track", "flights", "--name", "one", *program]) == 0
    assert call(["track", "--env", "test", "flights", "--name", "two", *program]) == 0
    capsys.readouterr()
    monkeypatch.setenv("MLOPS_NB_ENV", "test")
    assert [run["name"] for run in answer(capsys, "runs")] == ["two", "one"]
    assert answer(capsys)["env"] == "test"
    monkeypatch.delenv("MLOPS_NB_ENV")
    assert not (folder / "mlflow.db").exists()
    assert answer(capsys, "runs") == []
    mlflow.set_tracking_uri(f"sqlite:///{folder}/test.db")
    assert len(mlflow.search_runs(search_all_experiments=True)) == 2
