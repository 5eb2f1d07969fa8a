# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import mlflow
import nbformat
import pandas as pd
import pytest

import mlops_nb as mlops
from mlops_nb.commands import group
from mlops_nb.errors import UsageError
from mlops_nb.magics import _offer_store, words_of

if TYPE_CHECKING:
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

PLAIN = """
from IPython.core.interactiveshell import InteractiveShell
InteractiveShell.instance().run_line_magic("load_ext", "mlops_nb")
import mlflow
mlflow.set_experiment("plain")
with mlflow.start_run(run_name="mine"):
    mlflow.log_metric("auc", 1)
    mlflow.log_text("x", "a.txt")
"""


def run_cell(shell: InteractiveShell, source: str) -> Any:
    return shell.run_cell(source, store_history=True)


def completions(shell: InteractiveShell, line: str) -> list[str]:
    """What Tab puts on the line, as whole lines."""
    text, matches = shell.complete(None, line, len(line))
    return [line.removesuffix(text) + match for match in matches]


# --- the line ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("track flights --name 'a b' -t k=v", ["track", "flights", "--name", "a b", "-t", "k=v"]),
        ('data add "my file.csv" x', ["data", "add", "my file.csv", "x"]),
        ("log auc={0.93}", ["log", "auc={0.93}"]),
        ("note it's {x} \"quoted\" $y", ["note", "--", "it's {x} \"quoted\" $y"]),
        ("note 'all of it'", ["note", "--", "all of it"]),
        ("note 'one' and 'two'", ["note", "--", "'one' and 'two'"]),
        ("note -5 degrees --today", ["note", "--", "-5 degrees --today"]),
        ("note --json a  b", ["note", "--json", "--", "a  b"]),
        ("note -h", ["note", "-h"]),
        ("runs", ["runs"]),
        ("runs auc > 0.9 and params.m = 'rf'", ["runs", "--", "auc > 0.9 and params.m = 'rf'"]),
        ("runs --last 3 metrics.auc > 0.9", ["runs", "--last", "3", "--", "metrics.auc > 0.9"]),
        ("runs metrics.auc > 0.9 --last=3", ["runs", "--last=3", "--", "metrics.auc > 0.9"]),
        ("runs --order-by 'metrics.auc DESC'", ["runs", "--order-by", "metrics.auc DESC"]),
        ("runs tags.`a b` = \"c\"", ["runs", "--", "tags.`a b` = \"c\""]),
        ("--json runs metrics.auc > 0.9", ["--json", "runs", "--", "metrics.auc > 0.9"]),
        ("--env prod runs metrics.auc > 0.9", ["--env", "prod", "runs", "--", "metrics.auc > 0.9"]),
    ],
)  # fmt: skip
def test_a_line_is_split_as_a_shell_does_and_raw_commands_take_the_rest_as_it_is(
    line: str, words: Any
) -> None:
    assert words_of(group(), line) == words


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("log {auc}", r"\{auc\} was not expanded: .*; check the name"),
        (
            "track flights\nmore",
            "a value of several lines cannot stand in a %mlops line; name the variable",
        ),
        ("track 'flights", "No closing quotation; close the quotation mark"),
    ],
)
def test_a_line_that_ipython_could_not_expand_is_refused_with_the_fix(
    line: str, problem: Any
) -> None:
    with pytest.raises(UsageError, match=problem):
        words_of(group(), line)


def test_variables_and_expressions_of_the_notebook_are_expanded(shell: InteractiveShell) -> None:
    run_cell(shell, "name = 'deep'\ndepth = 3")
    run_cell(shell, "%mlops track $name --name {name}-{depth + 1}")
    run = run_cell(shell, "%mlops end").result
    assert (run.experiment, run.name) == ("deep", "deep-4")


def test_a_pasted_frame_is_refused_and_the_variable_itself_works(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    run_cell(shell, "import pandas as pd\ndf = pd.DataFrame({'a': [1, 2]})")
    assert not run_cell(shell, "%mlops data add {df} small").success
    assert (
        "several lines cannot stand in a %mlops line; name the variable" in capsys.readouterr().out
    )
    assert run_cell(shell, "%mlops data add df small").result.version.rows == 2


# --- values and errors ---------------------------------------------------------------------------


def test_a_value_is_displayed_once_and_kept_and_a_semicolon_or_json_changes_how(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    run_cell(shell, "%mlops track flights")
    capsys.readouterr()
    run_cell(shell, "%mlops show last")
    assert capsys.readouterr().out.count("run-01  RUNNING") == 1
    run_cell(shell, "run = %mlops show last")
    assert capsys.readouterr().out == ""
    assert shell.user_ns["run"].name == "run-01"
    value = run_cell(shell, "%mlops show last --json").result
    assert value == json.loads(json.dumps(shell.user_ns["run"].to_dict()))


def test_runs_are_a_dataframe_and_data_load_too(shell: InteractiveShell) -> None:
    run_cell(shell, "import pandas as pd\ndf = pd.DataFrame({'a': [1, 2]})\n%mlops track flights")
    run_cell(shell, "%mlops data add df small")
    run_cell(shell, "df = %mlops data load small")
    assert shell.user_ns["df"]["a"].tolist() == [1, 2]
    frame = run_cell(shell, "%mlops runs status = 'RUNNING'").result
    assert isinstance(frame, pd.DataFrame) and list(frame["name"]) == ["run-01"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("trak", "UsageError: no command %mlops trak; did you mean track"),
        ("show nosuch", "NotFoundError: there is no run|NotFoundError: no run 'nosuch'"),
        ("data shw", "UsageError: no command %mlops data shw; did you mean show"),
        ("track --nmae x", "UsageError: No such option.*--nmae.*; type %mlops track -h"),
        ("log", "UsageError: Missing argument.*; type %mlops log -h"),
        ("log auc", "NotFoundError: no variable 'auc'"),
        (
            "log auc=high",
            "UsageError: metric auc is str 'high', not a number|UsageError: no run is open",
        ),
        ("data add nosuch x", "NotFoundError: no variable, file or folder 'nosuch'"),
        ("runs --last 0", "UsageError: Invalid value for '--last'.*; type %mlops runs -h"),
        ("--env prd", "ConfigError: no environment 'prd'; did you mean prod"),
    ],
)
def test_an_error_is_one_line_and_stops_run_all(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str], line: str, said: Any
) -> None:
    result = run_cell(shell, f"%mlops {line}")
    assert result.error_in_exec is not None
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 1
    assert re.match(said, lines[0]), lines[0]


def test_help_is_shown_by_h_and_is_no_value(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cell(shell, "%mlops -h").result is None
    everything = capsys.readouterr().out
    for name in group().commands:
        assert f"  {name} " in everything
    run_cell(shell, "%mlops data load -h")
    assert "%mlops data load [OPTIONS] NAME[@v1]" in capsys.readouterr().out


def test_only_track_takes_a_cell(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run_cell(shell, "%%mlops end\nx = 1")
    assert not result.success and "x" not in shell.user_ns
    assert "UsageError: " in capsys.readouterr().out
    result = run_cell(shell, "%%mlops show last\nx = 1")
    assert not result.success and "x" not in shell.user_ns


def test_a_cell_that_cannot_take_its_body_has_changed_nothing(shell: InteractiveShell) -> None:
    """The words are judged before the command runs: no run is ended, no alias moved."""
    run_cell(shell, "%mlops track flights")
    run_cell(shell, "%%mlops end\nx = 1")
    assert mlops.get_run("last").status in ("RUNNING", "FAILED")
    assert mlops.status().open_run == "run-01"


def test_await_in_a_tracked_cell_is_refused_with_what_works(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run_cell(shell, "%%mlops track flights\nimport asyncio\nawait asyncio.sleep(0)")
    assert not result.success
    assert "with mlops.track(" in capsys.readouterr().out


def test_magics_in_a_tracked_cell_work(shell: InteractiveShell) -> None:
    run_cell(shell, "%%mlops track flights --name one\nauc = 0.5\n%mlops log auc\n!true")
    assert mlops.get_run("one").metrics == {"auc": 0.5}


def test_loading_twice_changes_nothing(shell: InteractiveShell) -> None:
    run_cell(shell, "%reload_ext mlops_nb\n%mlops track flights")
    run_cell(shell, "x = 1")
    run = run_cell(shell, "%mlops end").result
    book = json.loads(
        mlflow.artifacts.load_text(
            f"{mlflow.get_run(run.run_id).info.artifact_uri}/notebook/executed.ipynb"
        )
    )
    assert sum("x = 1" in "".join(c["source"]) for c in book["cells"]) == 1


# --- Tab -----------------------------------------------------------------------------------------


def test_tab_completes_commands_options_and_environments(shell: InteractiveShell) -> None:
    assert completions(shell, "%mlops sh") == ["%mlops show"]
    assert completions(shell, "%%mlops tr") == ["%%mlops track"]
    assert completions(shell, "%mlops data ch") == ["%mlops data checkout"]
    assert completions(shell, "%mlops model promote --t") == ["%mlops model promote --to"]
    assert completions(shell, "%mlops --env t") == ["%mlops --env test"]


def test_tab_completes_runs_data_and_models_by_name(shell: InteractiveShell) -> None:
    run_cell(shell, "import pandas as pd\ndf = pd.DataFrame({'a': [1]})")
    run_cell(shell, "%mlops track flights --name deep\n%mlops data add df small\n%mlops log auc=1")
    mlflow.MlflowClient().create_registered_model("churn")
    mlflow.MlflowClient().create_model_version("churn", source="/models/churn")
    mlflow.MlflowClient().set_registered_model_alias("churn", "champion", "1")
    assert completions(shell, "%mlops show de") == ["%mlops show deep"]
    assert completions(shell, "%mlops show best:a") == ["%mlops show best:auc"]
    assert completions(shell, "%mlops data load sm") == ["%mlops data load small"]
    assert completions(shell, "%mlops data load small@") == ["%mlops data load small@v1"]
    assert completions(shell, "%mlops model show chu") == [
        "%mlops model show churn/1",
        "%mlops model show churn@champion",
    ]
    assert completions(shell, "%mlops model show churn@ch") == ["%mlops model show churn@champion"]


def test_tab_without_a_store_makes_none(shell: InteractiveShell, folder: Path) -> None:
    for line in ("show la", "model show chu", "data load sm", "compare x"):
        completions(shell, f"%mlops {line}")
    assert [path.name for path in folder.iterdir()] == ["mlops.toml"]


# --- plain MLflow --------------------------------------------------------------------------------


def test_loading_offers_the_store_and_never_overrides_the_users(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    _offer_store()
    assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{folder}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mine:5000")
    _offer_store()
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://mine:5000"


@pytest.fixture
def plain_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run of plain MLflow after `%load_ext` in a sub-folder, with an artifact."""
    deep = folder / "notebooks" / "deep"
    deep.mkdir(parents=True)
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    subprocess.run([sys.executable, "-c", PLAIN], cwd=deep, check=True, capture_output=True)
    return mlops.get_run("mine")


def test_plain_mlflow_in_a_sub_folder_meets_the_same_store(plain_run: Any) -> None:
    assert (plain_run.experiment, plain_run.metrics) == ("plain", {"auc": 1})


@pytest.mark.xfail(
    strict=True, reason="MLflow counts artifacts of a new experiment from the current folder"
)
def test_plain_mlflow_in_a_sub_folder_leaves_its_artifacts_in_the_workspace(
    plain_run: Any, folder: Path
) -> None:
    assert len(list((folder / "mlruns").rglob("a.txt"))) == 1


def test_the_notebook_without_track_leaves_nothing_in_the_folder(
    folder: Path, shell: InteractiveShell
) -> None:
    run_cell(shell, "x = 1")
    run_cell(shell, "%mlops")
    assert [p.name for p in folder.iterdir()] == ["mlops.toml"]


def test_a_notebook_in_the_workspace_completes_paths_like_a_shell(
    shell: InteractiveShell, folder: Path
) -> None:
    nbformat.write(nbformat.v4.new_notebook(), folder / "train.ipynb")
    assert completions(shell, "%mlops check tra") == ["%mlops check train.ipynb"]
