# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Any

import nbformat
import pytest

from mlops_nb.backends.papermill import execute


@pytest.fixture
def run(folder: Path) -> Any:
    """Executes the cells given in a real kernel: (outcome, executed notebook)."""

    def run(
        *sources: str, parameters: Any = None, environment: Any = None, extensions: Any = ()
    ) -> Any:
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        cells[0].metadata["tags"] = ["parameters"]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        book = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
        nbformat.write(book, folder / "n.ipynb")
        (folder / "place").mkdir()
        outcome = execute(
            folder / "n.ipynb",
            folder / "new" / "out.ipynb",
            parameters=parameters or {},
            environment=environment or {},
            extensions=extensions,
            folder=folder / "place",
            progress=False,
        )
        return outcome, nbformat.read(folder / "new" / "out.ipynb", as_version=4)

    return run


def printed(book: Any) -> str:
    return "".join(
        o.text
        for c in book.cells
        if c.cell_type == "code"
        for o in c.outputs
        if o.output_type == "stream"
    )


def test_a_notebook_gets_its_values_environment_extensions_and_folder(
    run: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEPT", "before")
    outcome, book = run(
        "a = 1\nday = None\nplaces = []",
        "import os, datetime, pathlib\nkept, new = os.environ['KEPT'], os.environ['NEW']",
        "print(a, repr(day), places, kept, new)",
        "print(os.getcwd(), 'mlops' in get_ipython().magics_manager.magics['line'])",
        parameters={"a": 2, "day": date(2026, 3, 1), "places": [Path("x y/z"), "it's"]},
        environment={"KEPT": "within", "NEW": "new"},
        extensions=["mlops_nb"],
    )
    assert outcome.status == "ok"
    assert printed(book).splitlines() == [
        "2 datetime.date(2026, 3, 1) [PosixPath('x y/z'), \"it's\"] within new",
        f"{folder}/place True",
    ]
    assert (os.environ["KEPT"], "NEW" in os.environ) == ("before", False)


def test_a_cell_that_raises_is_failed_with_cause_cell_and_traceback(run: Any) -> None:
    outcome, book = run(
        "a = 1", "def f():\n    raise ValueError('no rows\\nat all')", "f()", "print('never')"
    )
    assert (outcome.status, outcome.cause, outcome.cell) == ("failed", "ValueError: no rows", "3")
    assert "in f()" in outcome.traceback
    assert "\x1b" not in outcome.traceback
    assert "never" not in printed(book)


def test_a_dead_kernel_is_said_and_never_an_error_of_ours(run: Any) -> None:
    outcome, _ = run("import os", "print('here')", "os._exit(9)")
    assert (outcome.status, outcome.cause) == ("kernel-died", "the kernel died")
