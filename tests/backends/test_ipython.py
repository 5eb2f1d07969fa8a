# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell

from mlops_nb.backends.ipython import Shell, attached_shell
from mlops_nb.errors import StoreError, UsageError
from mlops_nb.tracking import failures_warned

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Recorder:
    """A listener that writes down what it hears."""

    heard: list[tuple[Any, ...]] = field(default_factory=list)
    parameters: dict[str, Any] | None = None

    def cell_started(self, cell: Any) -> None:
        self.heard.append(("start", cell.number, cell.source))

    def cell_ended(self, cell: Any, error: Any, traceback: Any) -> None:
        self.heard.append(("end", cell.number, type(error).__name__, cell.error))

    def set_parameters(self, parameters: Any) -> None:
        self.parameters = dict(parameters)

    def guard(self, what: Any) -> Any:
        return failures_warned(what)


@pytest.fixture
def shell(ipython: InteractiveShell) -> Shell:
    found = attached_shell()
    assert found is not None
    return found


def run_cell(shell: Shell, source: str, **facts: Any) -> Any:
    return shell.shell.run_cell(source, store_history=True, **facts)


def save(path: Path, *sources: str, tags: tuple[str, ...] = ()) -> Path:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    if tags:
        cells[0].metadata["tags"] = list(tags)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


# --- cells ---------------------------------------------------------------------------------------


def test_a_shell_is_attached_once_and_none_outside_of_ipython(ipython: InteractiveShell) -> None:
    assert attached_shell() is attached_shell()
    InteractiveShell.clear_instance()
    assert attached_shell() is None


def test_cells_are_heard_with_number_source_and_error_as_they_run(shell: Shell) -> None:
    recorder = Recorder()
    shell.listen(recorder)
    run_cell(shell, "x = 1")
    run_cell(shell, "x / 0")
    run_cell(shell, "def (")
    assert recorder.heard == [
        ("start", 1, "x = 1"),
        ("end", 1, "NoneType", None),
        ("start", 2, "x / 0"),
        ("end", 2, "ZeroDivisionError", "ZeroDivisionError: division by zero"),
        ("start", 3, "def ("),
        ("end", 3, "SyntaxError", recorder.heard[-1][3]),
    ]
    assert [cell.number for cell in shell.cells] == [1, 2, 3]
    assert all(cell.duration is not None and cell.duration >= 0 for cell in shell.cells)


def test_silent_and_empty_requests_are_no_cells(shell: Shell) -> None:
    shell.shell.run_cell("hidden = 1", silent=True)
    run_cell(shell, "   \n")
    assert shell.cells == []


def test_the_front_ends_cell_id_is_kept(shell: Shell) -> None:
    run_cell(shell, "x = 1", cell_id="ab12")
    assert shell.cells[0].cell_id == "ab12"
    assert shell.cells[0].label == "1 (id ab12)"


def test_trouble_of_the_listener_is_a_line_on_stderr_and_the_cell_is_well(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    class Troubled(Recorder):
        def cell_started(self, cell: Any) -> None:
            raise StoreError("the store is gone", cure="start it")

    shell.listen(Troubled())
    assert run_cell(shell, "x = 1").success
    assert "mlops_nb: noting a cell failed: the store is gone; start it" in capsys.readouterr().err


# --- bodies --------------------------------------------------------------------------------------


def test_a_body_runs_in_the_notebooks_namespace_and_gives_its_last_expression(shell: Shell) -> None:
    assert shell.execute_body("a = 2\na + 1") == 3
    assert shell.execute_body("a = 5") is None
    assert shell.namespace["a"] == 5
    assert shell.execute_body("x = !echo hi\nx[0]") == "hi"


def test_an_error_of_a_body_passes_as_it_is(shell: Shell) -> None:
    with pytest.raises(ZeroDivisionError):
        shell.execute_body("a = 1\n1/0")
    with pytest.raises(SyntaxError):
        shell.execute_body("def (")
    with pytest.raises(SyntaxError, match="'return' outside function"):
        shell.execute_body("return 1")
    assert shell.namespace["a"] == 1


@pytest.mark.parametrize(
    "source", ["await f()", "x = await f()\nx", "async with f(): pass", "async for x in f(): pass"]
)
def test_a_body_that_awaits_is_refused_with_what_works(shell: Shell, source: str) -> None:
    with pytest.raises(UsageError, match=r"cannot await; write with mlops.track\(…\)"):
        shell.execute_body(source)


# --- parameters ----------------------------------------------------------------------------------


def test_parameters_are_what_the_tagged_cell_and_an_injected_one_leave(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "a = 1\nb: float = 0.5\n_c = 3\nimport os\ndef f(): pass\nd = [1, 2]"
    monkeypatch.setenv(
        "MLOPS_NB_NOTEBOOK", str(save(folder / "n.ipynb", source, tags=("parameters",)))
    )
    recorder = Recorder()
    shell.listen(recorder)
    run_cell(shell, source)
    run_cell(shell, "# Parameters\na = 7\n")
    assert recorder.parameters is None, "they are known once all have run"
    run_cell(shell, "a = 100")
    assert recorder.parameters == {"a": 7, "b": 0.5, "d": [1, 2]}


def test_parameters_that_ran_before_anybody_listened_are_told(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "MLOPS_NB_NOTEBOOK", str(save(folder / "n.ipynb", "a = 1", tags=("parameters",)))
    )
    run_cell(shell, "a = 1")
    recorder = Recorder()
    shell.listen(recorder)
    assert recorder.parameters == {"a": 1}


# --- the notebook's file -------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["MLOPS_NB_NOTEBOOK", "JPY_SESSION_NAME"])
def test_the_notebook_is_what_its_server_says(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch, variable: Any
) -> None:
    path = save(folder / "train.ipynb", "x = 1")
    save(folder / "other.ipynb", "x = 1")
    monkeypatch.setenv(variable, str(path))
    assert shell.notebook_path == path


def test_the_notebook_is_what_visual_studio_code_says(shell: Shell, folder: Path) -> None:
    path = save(folder / "train.ipynb", "x = 1")
    shell.namespace["__vsc_ipynb_file__"] = str(path)
    assert shell.notebook_path == path
    assert shell.life == "interactive"


def test_a_session_name_that_is_no_file_is_not_believed(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", str(folder / "console-1"))
    assert shell.notebook_path is None


def test_the_only_notebook_with_all_executed_cells_is_it_and_a_guess_is_never_made(
    shell: Shell, folder: Path
) -> None:
    train = save(folder / "train.ipynb", "x = 1", "y = 2")
    twin = save(folder / "copy.ipynb", "x = 1", "z = 3")
    (folder / "broken.ipynb").write_text("{")
    run_cell(shell, "x = 1")
    assert shell.notebook_path is None, f"it could be {twin.name}"
    run_cell(shell, "y = 2")
    assert shell.notebook_path == train


def test_a_changed_cell_leaves_the_notebook_unknown(shell: Shell, folder: Path) -> None:
    save(folder / "train.ipynb", "x = 1")
    run_cell(shell, "x = 2")
    assert shell.notebook_path is None


@pytest.mark.parametrize(
    ("environ", "life"),
    [
        ({}, "step"),
        ({"CI": "true"}, "ci"),
        ({"MLOPS_NB_LIFE": "step", "CI": "1"}, "step"),
        ({"JPY_SESSION_NAME": "x"}, "interactive"),
    ],
)
def test_which_of_the_three_lives_it_is(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, environ: Any, life: Any
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert shell.life == life


def test_the_tags_of_a_cell_are_those_of_its_saved_twin(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "MLOPS_NB_NOTEBOOK", str(save(folder / "n.ipynb", "1/0", tags=("raises-exception", "slow")))
    )
    run_cell(shell, "1/0")
    run_cell(shell, "2/0")
    assert [cell.tags for cell in shell.cells] == [("raises-exception", "slow"), ()]
    assert json.loads((folder / "n.ipynb").read_text())["cells"][0]["source"]
