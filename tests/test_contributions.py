"""Cells that are run again: what is a new result and what still holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sklearn.linear_model import LogisticRegression

import mlops_nb as mlops
from mlops_nb.contributions import Contributions
from mlops_nb.runs import ExecutedCell, Run

if TYPE_CHECKING:
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

SETUP = "import mlops_nb as mlops\nimport mlflow\nimport pandas as pd\n%mlops track flights"
DATA = "%mlops data add frame small\nrows = mlops.load_data('small')"
FIT = """
from sklearn.linear_model import LogisticRegression
model = LogisticRegression(max_iter={n}, C=rate).fit(rows[['a']], rows['b'])
"""


@pytest.fixture
def shell(shell: InteractiveShell) -> InteractiveShell:
    """The shell of the suite, tracked, with a frame."""
    run(shell, "setup", SETUP)
    run(shell, "frame", "frame = pd.DataFrame({'a': range(20), 'b': [0, 1] * 10})")
    return shell


def run(shell: InteractiveShell, cell_id: str, source: str) -> None:
    result = shell.run_cell(source, store_history=True, cell_id=cell_id)
    result.raise_error()


def runs() -> list[Run]:
    """All runs, oldest first."""
    return sorted(mlops.search_runs().compare().runs, key=lambda run: run.name)


def test_a_cell_that_logs_again_opens_the_next_run(shell: InteractiveShell) -> None:
    run(shell, "log", "mlops.log(auc=0.5)")
    run(shell, "log", "mlops.log(auc=0.9)")
    first, second = runs()
    assert (first.status, first.metrics) == ("FINISHED", {"auc": 0.5})
    assert (second.status, second.metrics) == ("RUNNING", {"auc": 0.9})
    assert second.tags["mlops_nb.rerun_of"] == first.run_id


def test_plain_mlflow_calls_of_a_repeated_cell_open_the_next_run_too(
    shell: InteractiveShell,
) -> None:
    for value in (0.5, 0.9):
        run(shell, "log", f"mlflow.log_metric('auc', {value})\nmlflow.log_param('k', {value})")
    assert [(r.metrics, r.params) for r in runs()] == [
        ({"auc": 0.5}, {"k": "0.5"}),
        ({"auc": 0.9}, {"k": "0.9"}),
    ]


def test_one_pass_may_log_as_often_as_it_likes(shell: InteractiveShell) -> None:
    run(shell, "loop", "for step in range(5):\n    mlops.log(loss=1 / (step + 1), step=step)")
    run(shell, "more", "mlops.log(loss=0.1, step=5)")
    assert [r.metrics for r in runs()] == [{"loss": 0.1}]


def test_what_logs_nothing_may_be_repeated_without_a_new_run(shell: InteractiveShell) -> None:
    run(shell, "log", "mlops.log(auc=0.5)")
    for _ in range(3):
        run(shell, "plot", "%mlops note looks fine\nmlops.tag(seen='yes')")
    assert len(runs()) == 1


def test_a_repeated_fit_carries_what_it_depends_on_and_no_metric(shell: InteractiveShell) -> None:
    run(shell, "rate", "rate = 0.5\nmlops.log_params(rate=rate)")
    run(shell, "other", "mlops.log_params(unrelated=1)")
    run(shell, "data", DATA)
    run(shell, "fit", FIT.format(n=100))
    run(shell, "log", "mlops.log(auc=model.score(rows[['a']], rows['b']))")
    run(shell, "fit", FIT.format(n=300))
    first, second = runs()
    assert (first.params["max_iter"], second.params["max_iter"]) == ("100", "300")
    assert first.params["unrelated"] == "1"
    assert second.params["rate"] == "0.5"
    assert "unrelated" not in second.params
    assert second.datasets == ("small@v1",)
    assert second.tags["mlops_nb.carried"] == "rate, small@v1"
    assert "auc" in first.metrics
    assert "auc" not in second.metrics


def test_a_repeated_metric_carries_the_params_of_the_model_it_measures(
    shell: InteractiveShell,
) -> None:
    run(shell, "rate", "rate = 0.5")
    run(shell, "data", DATA)
    run(shell, "fit", FIT.format(n=100))
    for _ in range(2):
        run(shell, "log", "mlops.log(auc=model.score(rows[['a']], rows['b']))")
    first, second = runs()
    assert first.params["max_iter"] == second.params["max_iter"] == "100"
    assert "max_iter" in second.tags["mlops_nb.carried"]


def test_a_cell_that_failed_after_logging_leaves_a_failed_run_and_a_new_one(
    shell: InteractiveShell,
) -> None:
    shell.run_cell("mlops.log(auc=0.5)\n1 / 0", store_history=True, cell_id="log")
    run(shell, "log", "mlops.log(auc=0.9)")
    first, second = runs()
    assert first.status == "FAILED"
    assert first.metrics == {"auc": 0.5}
    assert (second.status, second.metrics) == ("RUNNING", {"auc": 0.9})


def test_a_block_is_never_split(shell: InteractiveShell) -> None:
    block = "with mlops.track(name='block'):\n    mlops.log(auc=0.5)\n    mlops.log(auc=0.6)"
    run(shell, "block", block)
    run(shell, "block", block)
    assert sorted(r.name for r in runs()) == ["block", "block", "run-01"]


def test_threads_of_a_repeated_cell_log_without_splitting(shell: InteractiveShell) -> None:
    source = """
from threading import Thread
thread = Thread(target=lambda: mlops.log(auc=0.5))
thread.start()
thread.join()
"""
    run(shell, "thread", source)
    run(shell, "thread", source)
    assert len(runs()) == 1


def test_outside_of_a_notebook_nothing_is_ever_repeated() -> None:
    given = Contributions()
    given.of(None).params["a"] = "1"
    assert not given.is_repeated(None)
    assert given.carried(None, None, same_pass=False).params == {}


def test_a_param_that_autologging_gave_another_value_opens_the_next_run(folder: Path) -> None:
    mlops.track("script")
    LogisticRegression(C=0.5).fit([[1], [2], [3], [4]], [0, 1, 0, 1])
    mlops.log_params(C="another")
    mlops.end()
    assert [r.params["C"] for r in runs()] == ["0.5", "another"]


def test_models_of_a_script_in_a_loop_keep_their_own_params_and_share_the_data(
    folder: Path,
) -> None:
    (folder / "rows.csv").write_text("a,b\n1,0\n2,1\n3,0\n4,1\n")
    mlops.add_data("rows.csv", "rows")
    mlops.track("script")
    rows = mlops.load_data("rows")
    for penalty in (0.5, 2.0):
        LogisticRegression(C=penalty).fit(rows[["a"]], rows["b"])
        mlops.log_params(shrinking=penalty)
    mlops.end()
    assert [(r.params["C"], r.params["shrinking"], r.datasets) for r in runs()] == [
        ("0.5", "0.5", ("rows@v1",)),
        ("2.0", "2.0", ("rows@v1",)),
    ]


def test_the_same_execution_of_a_cell_is_not_a_repetition() -> None:
    given = Contributions()
    cell = ExecutedCell(number=3, source="x", cell_id="a")
    given.of(cell)
    assert not given.is_repeated(cell)
    assert given.is_repeated(ExecutedCell(number=4, source="y", cell_id="a"))
