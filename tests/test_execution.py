# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import nbformat
import pytest

import mlops_nb as mlops
from mlops_nb import api
from mlops_nb.cli import call
from mlops_nb.errors import KernelDiedError, NotFoundError, ParameterError, StepError
from mlops_nb.runs import EXCEPTION, FAILED_CELL, Run

if TYPE_CHECKING:
    from collections.abc import Callable

NOTEBOOKS = Path(__file__).parent / "notebooks" / "tracking"


@pytest.fixture
def notebook(folder: Path) -> Any:
    """A copy of one of the notebooks in the workspace."""

    def copy(name: str) -> Path:
        path = folder / f"{name}.ipynb"
        path.write_bytes((NOTEBOOKS / path.name).read_bytes())
        return path

    return copy


def artifacts(run_id: str) -> list[str]:
    return sorted(a.path for a in mlflow.MlflowClient().list_artifacts(run_id, "notebook"))


def runs() -> list[Run]:
    return list(mlops.search_runs().compare().runs)


# --- before a kernel starts ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"mnoth": 2}, "has no parameter 'mnoth'; did you mean month"),
        ({"month": "two"}, "month"),
        ({"rate": [1]}, "rate"),
        ({"month": 2, "extra": 1}, "has no parameter 'extra'"),
    ],
)
def test_wrong_parameters_are_refused_before_a_kernel_starts_and_leave_nothing(
    notebook: Callable[[str], Path], parameters: Any, words: Any
) -> None:
    path = notebook("with-parameters")
    with pytest.raises(ParameterError, match=words) as caught:
        mlops.run_notebook(path, "out.ipynb", parameters=parameters)
    assert "\n" not in str(caught.value)
    assert runs() == []
    assert not Path("out.ipynb").exists()
    assert not Path(".mlops/runs").exists(), "no kernel was started"


def test_the_words_of_the_command_line_have_their_declared_types(
    notebook: Callable[[str], Path], capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    path = notebook("with-parameters")
    (folder / "p.yaml").write_text("month: 2\nrate: 9.0\n")
    line = [
        "run", str(path), "out.ipynb", "-f", "p.yaml", "-y", "rate: 0.25",
        "-p", "month", "4", "-r", "name", "7",
    ]  # fmt: skip
    assert call([*line, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["parameters"] == {"month": 4, "rate": 0.25, "name": "7"}
    [run] = runs()
    assert run.params == {"month": "4", "rate": "0.25", "name": "7"}
    assert run.metrics == {"score": 1.0}
    assert list(result["runs"]) == [run.run_id]
    assert run.tags["mlops_nb.life"] == "step"
    assert run.tags["mlflow.source.name"] == str(path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-p", "month", "two"], "month"),
        (["-p", "mnoth", "2"], "has no parameter 'mnoth'; did you mean month"),
        (["-y", "a: [1"], "-y, line 1: not valid YAML; write NAME: VALUE lines"),
        (["-y", "[1, 2]"], "-y: not a mapping; write NAME: VALUE lines"),
        (["-f", "nosuch.yaml"], "nosuch.yaml: No such file or directory; give a YAML file"),
    ],
)
def test_wrong_words_are_one_line_and_exit_code_2(
    notebook: Callable[[str], Path], capsys: pytest.CaptureFixture[str], words: Any, said: Any
) -> None:
    path = notebook("with-parameters")
    assert call(["run", str(path), *words]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_parameters_of_the_environment_are_used_as_far_as_the_notebook_declares_them(
    notebook: Callable[[str], Path], folder: Path
) -> None:
    path = notebook("with-parameters")
    (folder / "mlops.toml").write_text(
        '[env.prod]\ntracking = "sqlite:///prod.db"\nparams = { month = 7, other = 1 }\n'
    )
    result = mlops.run_notebook(path, parameters={"rate": 2.0}, env="prod")
    assert result.parameters == {"month": 7, "rate": 2.0}
    place = api.current_workspace(env="prod")
    [run] = place.runs.search()
    assert run.metrics == {"score": 14.0}
    assert not (folder / "mlflow.db").exists()


# --- the record ----------------------------------------------------------------------------------


def test_a_step_leaves_the_same_kind_of_run_with_the_executed_notebook_and_writes_the_output_whole(
    notebook: Callable[[str], Path], folder: Path
) -> None:
    path = notebook("with-parameters")
    result = mlops.run_notebook(path, folder / "new" / "out.ipynb", parameters={"month": 3})
    assert (result.status, result.exit_code) == ("ok", 0)
    [run] = runs()
    assert (run.name, run.experiment, run.status) == (
        "with-parameters-01",
        "with-parameters",
        "FINISHED",
    )
    assert run.params == {"month": "3", "rate": "0.5", "name": "a"}
    book = nbformat.read(folder / "new" / "out.ipynb", as_version=4)
    nbformat.validate(book)
    assert [p.name for p in (folder / "new").iterdir()] == ["out.ipynb"]
    assert "notebook/executed.ipynb" in artifacts(run.run_id)
    assert len(artifacts(run.run_id)) == 2
    assert list((folder / ".mlops" / "runs").iterdir()) == []
    assert path.read_bytes() == (NOTEBOOKS / path.name).read_bytes(), (
        "the notebook itself is not touched"
    )


def test_a_notebook_without_any_track_still_leaves_a_run_with_plain_mlflow_calls(
    notebook: Callable[[str], Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = notebook("without-track")
    deep = folder / "deep"
    deep.mkdir()
    monkeypatch.chdir(deep)
    result = mlops.run_notebook(f"../{path.name}", parameters={"month": 3})
    [run] = runs()
    assert (run.status, run.metrics) == ("FINISHED", {"twice": 6.0})
    assert run.params == {"month": "3", "kinds": "['a']"}
    assert run.tags["mlflow.source.name"] == str(path)
    assert result.output.parent == folder / ".mlops" / "runs", (
        "without an output it is kept with ours"
    )


def test_a_notebook_that_fails_before_its_track_leaves_a_failed_run(
    notebook: Callable[[str], Path], folder: Path
) -> None:
    path = notebook("fails-before-track")
    with pytest.raises(
        StepError, match=r"failed in cell 2: ZeroDivisionError: division by zero; see "
    ) as caught:
        mlops.run_notebook(path.name, folder / "out.ipynb")
    assert caught.value.exit_code == 1
    [run] = runs()
    assert run.status == "FAILED"
    assert (run.tags[EXCEPTION], run.tags[FAILED_CELL]) == (
        "ZeroDivisionError: division by zero",
        "2",
    )
    assert run.tags["mlflow.source.name"] == str(path)
    assert (run.name, run.experiment) == ("fails-before-track-01", "fails-before-track")
    assert (folder / "out.ipynb").exists()
    assert len(artifacts(run.run_id)) == 1


def test_the_failing_cell_has_the_number_that_the_kernel_gave_it_also_after_an_injected_one(
    notebook: Callable[[str], Path],
) -> None:
    path = notebook("third-cell-raises")
    result = api.current_workspace().run_notebook(path, parameters={"rows": 0})
    [run] = runs()
    assert (result.status, run.tags[FAILED_CELL].split()[0]) == ("failed", result.cell)
    cells = [c for c in nbformat.read(result.output, as_version=4).cells if c.cell_type == "code"]
    [failed] = [c for c in cells if any(o.output_type == "error" for o in c.outputs)]
    assert str(failed.execution_count) == result.cell


def test_a_kernel_killed_inside_a_step_is_killed_and_exit_code_138(
    notebook: Callable[[str], Path], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = notebook("kernel-dies")
    assert call(["run", str(path), "out.ipynb"]) == 138
    assert "kernel-died" in capsys.readouterr().out
    [run] = runs()
    assert run.verdict.startswith("KILLED in cell 2")
    assert Path("out.ipynb").exists()
    with pytest.raises(KernelDiedError):
        mlops.run_notebook(path)


def test_ctrl_c_in_a_step_is_cancelled_with_exit_code_130_and_the_run_killed(folder: Path) -> None:
    cells = [
        "%load_ext mlops_nb\n%mlops track",
        "import time\nopen('begun', 'w').close()\ntime.sleep(60)",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    book.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(book, folder / "slow.ipynb")
    process = subprocess.Popen(
        [sys.executable, "-m", "mlops_nb", "run", "slow.ipynb", "out.ipynb"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + 60
    while not (folder / "begun").exists():
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    try:
        assert process.returncode == 130, out + err
        assert "cancelled" in out
        [run] = runs()
        assert run.status == "KILLED"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_kernel_that_is_not_installed_is_said_before_anything_runs(
    notebook: Callable[[str], Path], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = notebook("with-parameters")
    book = json.loads(path.read_text())
    book["metadata"]["kernelspec"]["name"] = "nosuchkernel"
    path.write_text(json.dumps(book))
    assert call(["run", str(path)]) == 2
    err = capsys.readouterr().err
    assert "the kernel 'nosuchkernel', which is not installed here; type " in err
    assert err.count("\n") == 1
    assert runs() == []


def test_a_missing_notebook_is_named_with_the_nearest(notebook: Callable[[str], Path]) -> None:
    notebook("with-parameters")
    with pytest.raises(NotFoundError, match=r"did you mean with-parameters.ipynb"):
        mlops.run_notebook("with-parameter.ipynb")


# --- a notebook that fails, in all lives ---------------------------------------------------------

FAILING = NOTEBOOKS / "third-cell-raises.ipynb"


def artifact(run: Run, path: str) -> str:
    return mlflow.artifacts.load_text(f"{mlflow.get_run(run.run_id).info.artifact_uri}/{path}")


def run_by_papermill(path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "papermill", path.name, "out.ipynb", "--no-progress-bar"],
        cwd=path.parent, check=False, capture_output=True,
    )  # fmt: skip


def run_by_nbclient(path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "jupyter", "execute", path.name],
        cwd=path.parent, check=False, capture_output=True,
    )  # fmt: skip


def run_by_mlops(path: Path) -> None:
    result = api.current_workspace().run_notebook(path)
    assert (result.status, result.cell, result.cause) == ("failed", "3", "ValueError: no rows left")


@pytest.mark.parametrize("execute", [run_by_papermill, run_by_nbclient, run_by_mlops])
def test_a_notebook_whose_third_cell_raises_leaves_a_failed_run_with_exception_and_cell(
    folder: Path, execute: Any
) -> None:
    path = folder / FAILING.name
    path.write_bytes(FAILING.read_bytes())
    execute(path)
    [run] = mlops.search_runs().compare().runs
    assert run.status == "FAILED"
    assert run.tags[EXCEPTION] == "ValueError: no rows left"
    assert run.tags[FAILED_CELL].split()[0] == "3"
    assert (run.name, run.experiment) == ("third-cell-raises-01", "third-cell-raises")
    assert run.tags["mlflow.source.name"] == str(path)
    assert run.params == {"rows": "0"}
    assert "no rows left" in artifact(run, "traceback.txt")
    book = nbformat.reads(artifact(run, "notebook/executed.ipynb"), as_version=4)
    assert [c.source for c in book.cells] == [c.source for c in nbformat.read(FAILING, 4).cells[:3]]
