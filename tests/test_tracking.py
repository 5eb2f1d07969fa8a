# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

import mlflow
import nbformat
import numpy as np
import pytest
from jupyter_client.manager import start_new_kernel
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

import mlops_nb as mlops
from mlops_nb import api
from mlops_nb.backends.session import Session
from mlops_nb.errors import UsageError
from mlops_nb.runs import EXCEPTION, FAILED_CELL, Run, checked_metrics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

X, y = make_classification(60, 5, random_state=0)


def run_cell(shell: InteractiveShell, source: str, cell_id: str | None = None) -> Any:
    return shell.run_cell(source, store_history=True, cell_id=cell_id)


def runs_by_name() -> dict[str, Run]:
    return {run.name: run for run in mlops.search_runs().compare().runs}


def artifact(run: Any, path: str) -> str:
    return mlflow.artifacts.load_text(f"{mlflow.get_run(run.run_id).info.artifact_uri}/{path}")


# --- opening, logging, ending --------------------------------------------------------------------


def test_a_tracked_notebook_leaves_one_finished_run_with_all_that_was_logged(
    shell: InteractiveShell,
) -> None:
    run_cell(shell, "%mlops track flights --name deep -t team=north")
    run_cell(shell, "auc = 0.5\n%mlops log auc loss=0.25 --step 3")
    run_cell(shell, "import mlops_nb as mlops\nmlops.log_params(depth=3, kind=None)")
    run_cell(shell, "%mlops note it's a first try")
    run_cell(shell, "%mlops tag owner=ada stage='to do'")
    run = run_cell(shell, "%mlops end").result
    assert (run.name, run.experiment, run.status) == ("deep", "flights", "FINISHED")
    assert run.metrics == {"auc": 0.5, "loss": 0.25}
    assert run.params == {"depth": "3", "kind": "None"}
    assert run.own_tags() == {"team": "north", "owner": "ada", "stage": "to do"}
    assert run.tags["mlflow.note.content"] == "it's a first try"
    steps = mlflow.MlflowClient().get_metric_history(run.run_id, "loss")
    assert [m.step for m in steps] == [3]


def test_run_names_count_and_the_next_track_replaces_the_run_before(
    shell: InteractiveShell,
) -> None:
    for _ in range(3):
        run_cell(shell, "%mlops track flights")
        run_cell(shell, "%mlops log done=1")
    run_cell(shell, "%mlops end")
    runs = runs_by_name()
    assert {name: run.status for name, run in runs.items()} == {
        "run-01": "FINISHED", "run-02": "FINISHED", "run-03": "FINISHED",
    }  # fmt: skip
    assert runs["run-02"].tags["mlops_nb.rerun_of"] == runs["run-01"].run_id


def test_track_again_before_anything_was_logged_keeps_the_run(shell: InteractiveShell) -> None:
    for _ in range(3):
        run_cell(shell, "%mlops track flights", "first")
    run_cell(shell, "%mlops track flights", "second")
    run_cell(shell, "%mlops log auc=1")
    run_cell(shell, "%mlops end")
    assert {name: run.metrics for name, run in runs_by_name().items()} == {"run-01": {"auc": 1}}


def test_logging_without_an_open_run_says_what_to_type(folder: Path) -> None:
    for call in (
        lambda: mlops.log(auc=1),
        lambda: mlops.log_params(a=1),
        lambda: mlops.note("x"),
        mlops.end,
    ):
        with pytest.raises(UsageError, match="no run is open here; type %mlops track"):
            call()


def test_a_param_with_another_value_opens_the_next_run_with_the_same_data(
    shell: InteractiveShell,
) -> None:
    run_cell(shell, "import pandas as pd\ndf = pd.DataFrame({'a': [1]})\nimport mlops_nb as mlops")
    run_cell(shell, "%mlops track flights")
    run_cell(shell, "%mlops data add df small\nrows = len(mlops.load_data('small'))")
    for depth in (3, 4):
        run_cell(shell, f"mlops.log_params(depth=(rows, {depth})[1])")
    run_cell(shell, "%mlops end")
    runs = runs_by_name()
    assert {name: run.params for name, run in runs.items()} == {
        "run-01": {"depth": "3"}, "run-02": {"depth": "4"},
    }  # fmt: skip
    assert runs["run-02"].tags["mlops_nb.rerun_of"] == runs["run-01"].run_id
    assert runs["run-02"].datasets == runs["run-01"].datasets == ("small@v1",)


def test_a_param_of_a_block_with_another_value_is_refused_by_name_and_the_first_stays(
    folder: Path,
) -> None:
    with mlops.track("flights", name="block") as run:
        run.log_params(depth=3)
        with pytest.raises(UsageError, match="param depth of block is '3', not '4'; "):
            run.log_params(depth=4, other=1)
    assert mlops.get_run("block").params == {"depth": "3"}


@pytest.mark.parametrize("value", ["high", None, [1], {}, object()])
def test_a_metric_that_is_no_number_is_refused_by_name(value: Any) -> None:
    with pytest.raises(UsageError, match=r"metric auc is .*, not a number"):
        checked_metrics({"auc": value})


def test_numbers_of_every_library_are_metrics() -> None:
    values = {"a": np.float32(0.5), "b": np.int64(2), "c": np.array(3.0), "d": True, "e": "0.25"}
    assert checked_metrics(values) == {"a": 0.5, "b": 2.0, "c": 3.0, "d": 1.0, "e": 0.25}


def test_a_with_block_is_a_run_of_its_own(folder: Path) -> None:
    with mlops.track("flights", name="block", tags={"team": "north"}) as run:
        run.log(auc=0.5)
        mlops.log(loss=0.1)
    with pytest.raises(UsageError, match="no run is open"):
        mlops.log(auc=1)
    found = mlops.get_run("block")
    assert (found.status, found.metrics) == ("FINISHED", {"auc": 0.5, "loss": 0.1})
    assert found.tags["team"] == "north"


def test_a_with_block_in_a_tracked_notebook_is_a_child_and_the_notebook_run_goes_on(
    shell: InteractiveShell,
) -> None:
    run_cell(shell, "%mlops track flights --name outer")
    run_cell(
        shell, "import mlops_nb as mlops\nwith mlops.track(name='inner'):\n    mlops.log(inside=1)"
    )
    run_cell(shell, "mlops.log(outside=2)")
    run_cell(shell, "%mlops end")
    runs = runs_by_name()
    assert runs["inner"].tags["mlflow.parentRunId"] == runs["outer"].run_id
    assert (runs["inner"].metrics, runs["outer"].metrics) == ({"inside": 1}, {"outside": 2})
    assert runs["inner"].status == runs["outer"].status == "FINISHED"


def test_with_blocks_nest(folder: Path) -> None:
    with mlops.track("flights", name="a"), mlops.track("flights", name="b"):
        mlops.log(deep=1)
    runs = runs_by_name()
    assert runs["b"].tags["mlflow.parentRunId"] == runs["a"].run_id
    assert (runs["a"].metrics, runs["b"].metrics) == ({}, {"deep": 1})


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("no rows"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(3), "FAILED"),
        (SystemExit(0), "FINISHED"),
        (SystemExit(), "FINISHED"),
    ],
)
def test_a_with_block_ends_as_its_exception_says(folder: Path, error: Any, status: Any) -> None:
    with pytest.raises(type(error)), mlops.track("flights", name="block"):
        raise error
    found = mlops.get_run("block")
    assert found.status == status
    assert (EXCEPTION in found.tags) == (status != "FINISHED")


def test_a_tracked_cell_is_a_run_of_its_own_and_gives_its_last_value(
    shell: InteractiveShell,
) -> None:
    result = run_cell(shell, "%%mlops track flights --name one\nx = 2\n%mlops log x\nx + 1")
    assert result.result == 3
    found = mlops.get_run("one")
    assert (found.status, found.metrics, shell.user_ns["x"]) == ("FINISHED", {"x": 2.0}, 2)


def test_a_tracked_cell_that_raises_is_a_failed_run_and_a_failed_cell(
    shell: InteractiveShell,
) -> None:
    result = run_cell(shell, "%%mlops track flights --name one\n1/0", cell_id="c1")
    assert isinstance(result.error_in_exec, ZeroDivisionError)
    found = mlops.get_run("one")
    assert (found.status, found.tags[EXCEPTION]) == (
        "FAILED",
        "ZeroDivisionError: division by zero",
    )
    assert "c1" in found.tags[FAILED_CELL]


# --- what cells say ------------------------------------------------------------------------------


def test_a_cell_that_raises_fails_the_run_at_once_with_exception_cell_and_traceback(
    shell: InteractiveShell,
) -> None:
    run_cell(shell, "%mlops track flights")
    run_cell(shell, "def f():\n    raise ValueError('no rows')\nf()", cell_id="c3")
    found = mlops.get_run("last")  # the kernel still lives
    assert found.status == "FAILED"
    assert found.tags[EXCEPTION] == "ValueError: no rows"
    assert found.tags[FAILED_CELL] == "3 (id c3)"
    assert "in f" in artifact(found, "traceback.txt")


def test_a_run_goes_on_when_the_same_cell_succeeds_also_with_another_source(
    shell: InteractiveShell,
) -> None:
    run_cell(shell, "%mlops track flights")
    run_cell(shell, "1/0", cell_id="c3")
    run_cell(shell, "2 + 2", cell_id="c4")
    assert mlops.get_run("last").status == "FAILED", "another cell heals nothing"
    run_cell(shell, "1/1", cell_id="c3")
    assert mlops.get_run("last").status == "RUNNING"
    assert mlops.get_run("last").verdict == "RUNNING"
    run_cell(shell, "%mlops end")
    assert mlops.get_run("last").verdict == "FINISHED"


def test_a_run_stays_failed_when_the_cell_is_never_mended(shell: InteractiveShell) -> None:
    run_cell(shell, "%mlops track flights")
    run_cell(shell, "1/0", cell_id="c3")
    run_cell(shell, "2 + 2", cell_id="c4")
    assert run_cell(shell, "%mlops end").result.verdict.startswith(
        "FAILED in cell 3 (id c3): ZeroDivision"
    )


def test_an_interrupted_cell_is_killed(shell: InteractiveShell) -> None:
    run_cell(shell, "%mlops track flights")
    run_cell(shell, "raise KeyboardInterrupt", cell_id="c3")
    assert mlops.get_run("last").verdict == "KILLED in cell 3 (id c3): KeyboardInterrupt"


@pytest.mark.parametrize("source", ["def (", "%nosuchmagic", "raise SystemExit(2)"])
def test_every_way_to_fail_is_a_failure(shell: InteractiveShell, source: str) -> None:
    run_cell(shell, "%mlops track flights")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_cell(shell, source, cell_id="c3")
    assert mlops.get_run("last").status == "FAILED"


def test_a_clean_exit_and_a_cell_that_is_meant_to_raise_are_no_failures(
    shell: InteractiveShell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("1/0", metadata={"tags": ["raises-exception"]})]
    )
    nbformat.write(book, folder / "n.ipynb")
    monkeypatch.setenv("MLOPS_NB_NOTEBOOK", str(folder / "n.ipynb"))
    run_cell(shell, "%mlops track flights")
    run_cell(shell, "1/0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_cell(shell, "raise SystemExit(0)")
    assert run_cell(shell, "%mlops end").result.status == "FINISHED"


def test_the_executed_cells_are_stored_as_they_ran_with_their_errors(
    shell: InteractiveShell,
) -> None:
    run_cell(shell, "%mlops track flights")
    run_cell(shell, "a = 1", cell_id="c2")
    run_cell(shell, "1/0", cell_id="c3")
    run_cell(shell, "a = 2", cell_id="c2")
    run = run_cell(shell, "%mlops end").result
    book = nbformat.reads(artifact(run, "notebook/executed.ipynb"), as_version=4)
    nbformat.validate(book)
    assert [c.source for c in book.cells[:5]] == [
        "%load_ext mlops_nb",
        "%mlops track flights",
        "a = 1",
        "1/0",
        "a = 2",
    ]
    facts = [c.metadata.mlops_nb for c in book.cells]
    assert facts[3].error == "ZeroDivisionError: division by zero"
    assert facts[2].duration is not None and facts[2].error is None
    assert run.tags["mlops_nb.cells"] == str(len(book.cells))


def test_trouble_with_the_store_is_a_line_on_stderr_and_never_fails_a_cell(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    run_cell(shell, "%mlops track flights")
    mlflow.MlflowClient().delete_run(mlops.get_run("last").run_id)
    result = run_cell(shell, "x = 1/0", cell_id="c")
    assert isinstance(result.error_in_exec, ZeroDivisionError)
    result = run_cell(shell, "x = 1", cell_id="c")
    assert result.success and shell.user_ns["x"] == 1
    Session.current().detach()
    said = capsys.readouterr().err
    assert "mlops_nb: noting a cell failed: " in said
    assert "mlops_nb: ending the runs failed: " in said


def test_trouble_with_the_store_does_not_hide_the_exception_of_a_block(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ZeroDivisionError), mlops.track("flights") as run:
        mlflow.MlflowClient().delete_run(run.run_id)
        raise ZeroDivisionError
    assert "mlops_nb: ending a run failed: " in capsys.readouterr().err


# --- provenance ----------------------------------------------------------------------------------


@pytest.fixture
def notebook(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = folder / "train.ipynb"
    cells = [
        nbformat.v4.new_code_cell(
            "depth = 3\nrate: float = 0.1\n_private = 1", metadata={"tags": ["parameters"]}
        )
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    monkeypatch.setenv("MLOPS_NB_NOTEBOOK", str(path))
    return path


def test_a_run_knows_its_notebook_and_is_named_after_it(
    notebook: Path, shell: InteractiveShell
) -> None:
    run_cell(shell, "%mlops track")
    run = run_cell(shell, "%mlops end").result
    assert (run.name, run.experiment) == ("train-01", "train")
    assert run.tags["mlflow.source.name"] == str(notebook)
    assert run.tags["mlflow.source.type"] == "NOTEBOOK"


def test_a_run_knows_its_commit_and_whether_the_checkout_was_changed(
    folder: Path, shell: InteractiveShell
) -> None:
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q", "-b", "main"], ["add", "mlops.toml"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
    run_cell(shell, "%mlops track flights\n%mlops log done=1")
    (folder / "mlops.toml").write_text("# changed\n")
    run_cell(shell, "%mlops track flights")
    run_cell(shell, "%mlops end")
    tags = {name: run.tags for name, run in runs_by_name().items()}
    assert {t["mlflow.source.git.commit"] for t in tags.values()} == {commit}
    assert tags["run-01"]["mlflow.source.git.branch"] == "main"
    assert [tags[n]["mlflow.source.git.dirty"] for n in ("run-01", "run-02")] == ["false", "true"]


def test_the_parameters_cell_becomes_params_whether_track_comes_before_or_after(
    notebook: Path, shell: InteractiveShell
) -> None:
    run_cell(shell, "%mlops track")
    run_cell(shell, "depth = 3\nrate: float = 0.1\n_private = 1")
    run_cell(shell, "1 + 1")
    assert mlops.get_run("last").params == {"depth": "3", "rate": "0.1"}
    run_cell(shell, "%mlops track")
    assert run_cell(shell, "%mlops end").result.params == {"depth": "3", "rate": "0.1"}


def test_values_that_papermill_injects_win_over_the_defaults(
    notebook: Path, shell: InteractiveShell
) -> None:
    run_cell(shell, "%mlops track")
    run_cell(shell, "depth = 3\nrate: float = 0.1\n_private = 1")
    run_cell(shell, "# Parameters\ndepth = 9\n")
    run_cell(shell, "1 + 1")
    assert run_cell(shell, "%mlops end").result.params == {"depth": "9", "rate": "0.1"}


# --- MLflow's own calls --------------------------------------------------------------------------


def test_plain_mlflow_calls_and_threads_go_to_the_open_run(shell: InteractiveShell) -> None:
    run_cell(shell, "%mlops track flights")
    run_cell(shell, "import mlflow\nmlflow.log_metric('plain', 1)\nmlflow.log_param('p', 2)")

    def work() -> None:
        mlops.log(thread=3)
        mlflow.log_metric("plain_thread", 4)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    run = run_cell(shell, "%mlops end").result
    assert run.metrics == {"plain": 1, "thread": 3, "plain_thread": 4}
    assert run.params == {"p": "2"}
    assert len(mlops.search_runs()) == 1


def test_a_log_in_a_thread_of_a_with_block_goes_to_the_block(folder: Path) -> None:
    mlops.track("flights", name="outer")
    with mlops.track(name="inner"):
        thread = threading.Thread(target=lambda: mlops.log(x=1))
        thread.start()
        thread.join()
    mlops.end()
    runs = runs_by_name()
    assert (runs["inner"].metrics, runs["outer"].metrics) == ({"x": 1}, {})


def test_a_forked_child_neither_logs_to_nor_ends_the_run(folder: Path) -> None:
    mlops.track("flights")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        refused = False
        try:
            mlops.log(x=1)
        except UsageError:
            refused = True
        api.current_workspace().tracker.shut_down()
        os._exit(0 if refused else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert mlops.get_run("last").status == "RUNNING"
    assert mlops.end().status == "FINISHED"


def test_mlflows_search_and_client_see_what_was_tracked(
    shell: InteractiveShell, folder: Path
) -> None:
    run_cell(shell, "import pandas as pd\ndf = pd.DataFrame({'a': [1, 2]})")
    run_cell(shell, "%mlops track flights")
    run_cell(
        shell, "%mlops data add df small\nimport mlops_nb as mlops\nmlops.load_data('small@v1')"
    )
    run = run_cell(shell, "%mlops end").result
    assert run.datasets == ("small@v1",)
    frame = mlflow.search_runs(experiment_names=["flights"])
    assert list(frame["run_id"]) == [run.run_id]
    found: Any = mlflow.get_run(run.run_id).inputs
    inputs = found.dataset_inputs
    assert {i.dataset.name for i in inputs} == {"small"}
    assert inputs[0].dataset.digest == mlops.get_data("small@v1").digest


def test_a_second_predictor_is_a_sibling_with_the_same_notebook_params(
    notebook: Path, shell: InteractiveShell
) -> None:
    run_cell(shell, "%mlops track")
    run_cell(shell, "depth = 3\nrate: float = 0.1\n_private = 1")
    shell.user_ns.update(X=X, y=y, L=LogisticRegression, T=DecisionTreeClassifier)
    run_cell(shell, "import mlops_nb as mlops\nL().fit(X, y)\nmlops.log(test_auc=0.5)")
    run_cell(shell, "T(max_depth=2).fit(X, y)\nmlops.log(test_auc=0.7)")
    run_cell(shell, "%mlops end")
    runs = runs_by_name()
    assert set(runs) == {"train-01", "train-02"}
    first, second = runs["train-01"], runs["train-02"]
    assert second.tags["mlops_nb.sibling_of"] == first.run_id
    assert (first.params["rate"], second.params["rate"]) == ("0.1", "0.1")
    assert ("C" in first.params, "max_depth" in second.params) == (True, True)
    assert (first.metrics["test_auc"], second.metrics["test_auc"]) == (0.5, 0.7)
    assert first.status == second.status == "FINISHED"
    assert len(first.models) == len(second.models) == 1


# --- the end of the process ----------------------------------------------------------------------


def python(code: str, *, cwd: Path, check: bool = False) -> subprocess.CompletedProcess[str]:
    (cwd / "train.py").write_text(code)
    return subprocess.run(
        [sys.executable, "train.py"], cwd=cwd, check=check, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("end", "verdict"),
    [
        ("", "FINISHED"),
        ("raise ValueError('no rows')", "FAILED: ValueError: no rows"),
        ("raise KeyboardInterrupt", "KILLED: KeyboardInterrupt"),
        ("import os; os.kill(os.getpid(), 9)", "KILLED: the process died"),
    ],
)
def test_a_script_ends_its_run_as_it_ends(folder: Path, end: Any, verdict: Any) -> None:
    python(f"import mlops_nb as mlops\nmlops.track()\nmlops.log(a=1)\n{end}\n", cwd=folder)
    run = mlops.get_run("last")
    assert (run.name, run.experiment, run.verdict) == ("train-01", "train", verdict)
    assert run.metrics == {"a": 1}
    assert run.tags["mlflow.source.name"] == str(folder / "train.py")
    assert run.tags["mlflow.source.type"] == "LOCAL"
    if verdict.startswith("FAILED"):
        assert "raise ValueError('no rows')" in artifact(run, "traceback.txt")


@pytest.fixture
def kernel(folder: Path) -> Iterator[Any]:
    """A real kernel in the folder with a run open in it: (manager, client)."""
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(folder))
    for source in (
        "%load_ext mlops_nb",
        "%mlops track flights",
        "import mlops_nb as mlops\nmlops.log(a=1)",
    ):
        reply = client.execute_interactive(source, timeout=120, output_hook=lambda _: None)
        assert reply["content"]["status"] == "ok"
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_a_killed_kernel_is_killed_in_the_record_at_the_next_start_of_anything(
    folder: Path, kernel: Any
) -> None:
    manager, client = kernel
    client.execute("open('begun', 'w').close()\nimport time\ntime.sleep(60)")
    _until((folder / "begun").exists)
    os.kill(manager.provisioner.pid, signal.SIGKILL)
    manager.provisioner.process.wait()
    run = mlops.get_run("last")
    assert run.verdict == "KILLED in cell 4: the process died"
    assert run.metrics == {"a": 1}
    book = nbformat.reads(artifact(run, "notebook/executed.ipynb"), as_version=4)
    assert book.cells[-1].source.endswith("time.sleep(60)")
    assert list((folder / ".mlops" / "journal").glob("*.jsonl")) == []


def test_a_living_kernel_keeps_its_run_and_a_graceful_shutdown_finishes_it(
    folder: Path, kernel: Any
) -> None:
    manager, _ = kernel
    assert mlops.get_run("last").status == "RUNNING"
    manager.shutdown_kernel(now=False)
    assert mlops.get_run("last").verdict == "FINISHED"
    assert list((folder / ".mlops" / "journal").iterdir()) == []


DYING = "import mlops_nb as mlops\nrun = mlops.track()\n{}\nimport os; os.kill(os.getpid(), 9)\n"


def test_a_run_that_had_failed_before_its_process_died_keeps_its_cause(folder: Path) -> None:
    failing = (
        "from mlops_nb import api\n"
        "api.current_workspace().tracker.process_failed(ValueError('no rows'))"
    )
    python(DYING.format(failing), cwd=folder)
    assert mlops.get_run("last").verdict == "FAILED: ValueError: no rows"


def test_a_deleted_run_of_a_dead_process_holds_up_no_other(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deleting = "import mlflow; mlflow.MlflowClient().delete_run(run.run_id)"
    python(DYING.format(deleting), cwd=folder)
    python(DYING.format(""), cwd=folder)
    assert mlops.get_run("last").status == "KILLED"
    assert list((folder / ".mlops" / "journal").iterdir()) == []
    assert capsys.readouterr().err == ""


def test_the_run_of_a_dead_process_of_another_store_is_left_to_that_store(folder: Path) -> None:
    python(DYING.format(""), cwd=folder)
    [journal] = (folder / ".mlops" / "journal").glob("*.jsonl")
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    records[0]["tracking"] = "http://elsewhere"
    journal.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert mlops.get_run("last").status == "RUNNING"
    assert journal.exists()


def _until(condition: Any, patience: float = 30) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)
