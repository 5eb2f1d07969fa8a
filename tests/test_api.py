from __future__ import annotations

import inspect
import subprocess
import sys
from typing import TYPE_CHECKING

import pandas as pd
import pytest

import mlops_nb as mlops
from mlops_nb import api
from mlops_nb.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_face_is_flat_and_every_verb_is_documented() -> None:
    for name in mlops.__all__:
        assert name in dir(mlops)
    for name in set(mlops.__all__) - {"__version__", "MlopsError"}:
        verb = getattr(mlops, name)
        assert inspect.getdoc(verb), name
        assert not isinstance(verb, type(sys)), f"{name} is a module"
    with pytest.raises(AttributeError, match="'mlops_nb' has no attribute 'nosuch'"):
        mlops.nosuch  # noqa: B018


def test_every_verb_works_whatever_was_imported_before(folder: Path) -> None:
    code = (
        "import mlops_nb.workspace, mlops_nb.api, mlops_nb.commands\nmlops_nb.commands.group()\n"
        "import mlops_nb as m\nimport types\n"
        "bad = [n for n in m.__all__ if isinstance(getattr(m, n), types.ModuleType)]\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_only_the_first_argument_or_two_are_positional() -> None:
    for name in set(mlops.__all__) - {"__version__", "MlopsError"}:
        kinds = [p.kind for p in inspect.signature(getattr(api, name)).parameters.values()]
        assert kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) <= 2, name


def test_a_session_in_python_alone(folder: Path, tmp_path: Path) -> None:
    mlops.add_data(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), "small", message="first")
    with mlops.track("flights", name="one") as run:
        frame = mlops.load_data("small@v1")
        run.log(auc=0.5, step=1)
        run.log_params(rows=len(frame))
        mlops.note("in a block")
        mlops.tag(owner="ada")
    found = mlops.get_run("one")
    assert found.datasets == ("small@v1",)
    assert (found.params, found.metrics, found.own_tags()) == (
        {"rows": "2"},
        {"auc": 0.5},
        {"owner": "ada"},
    )
    assert list(mlops.search_runs("metrics.auc > 0.1")["name"]) == ["one"]
    assert mlops.compare(best="auc").runs == (found,)
    assert mlops.list_data().versions[0].reference == "small@v1"
    path = mlops.checkout_data("small", tmp_path / "out")
    assert path.exists()


def test_an_unchanged_dataset_is_no_new_version(folder: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    assert mlops.add_data(frame, "small").is_new
    again = mlops.add_data(frame, "small")
    assert (again.is_new, again.version.version) == (False, 1)


def test_a_path_may_be_text(folder: Path) -> None:
    (folder / "a.csv").write_text("a\n1\n")
    assert mlops.add_data("a.csv", "small").version.rows == 1
    assert mlops.load_data("small")["a"].tolist() == [1]


def test_a_run_is_ended_by_its_handle_once(folder: Path) -> None:
    run = mlops.track("flights", name="one")
    run.end()
    assert mlops.get_run("one").status == "FINISHED"
    with pytest.raises(UsageError, match="no run is open"):
        mlops.end()


def test_the_root_of_all_errors_is_in_the_face(folder: Path) -> None:
    with pytest.raises(mlops.MlopsError):
        mlops.get_run("nosuch")
