from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import mlops_nb as mlops
from mlops_nb import api
from mlops_nb.errors import StoreError, UsageError
from mlops_nb.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path


def test_looking_at_a_folder_changes_nothing_in_it(folder: Path) -> None:
    card = mlops.status()
    assert card.workspace == folder
    assert (card.open_run, card.last_runs, card.next) == (None, (), "%mlops track")
    assert [path.name for path in folder.iterdir()] == ["mlops.toml"]


def test_the_first_write_keeps_the_stores_out_of_git_once_and_leaves_other_lines(
    folder: Path,
) -> None:
    (folder / ".gitignore").write_text("*.pyc\nmlruns/")
    for _ in range(2):
        mlops.track("flights")
        mlops.end()
    assert (folder / ".gitignore").read_text() == "*.pyc\nmlruns/\nmlflow.db\n.mlops/\n"


def test_the_card_shows_the_open_run_the_last_ones_and_what_to_type(folder: Path) -> None:
    mlops.track("flights", name="one")
    mlops.end()
    mlops.track("flights", name="two")
    card = mlops.status()
    assert card.open_run == "two"
    assert card.last_runs == (("two", "RUNNING"), ("one", "FINISHED"))
    assert "%mlops end" in card.next
    for word in ("open run    two", "one FINISHED", str(folder)[:30]):
        assert word in str(card)


def test_the_same_folder_is_the_same_workspace_and_an_open_run_stays_the_current_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = api.current_workspace()
    assert api.current_workspace(folder) is place
    mlops.track("flights")
    monkeypatch.chdir(tmp_path)
    assert api.current_workspace() is place
    mlops.end()
    assert api.current_workspace() is not place


def test_the_experiment_is_set_named_or_the_folders(folder: Path) -> None:
    assert Workspace.find(folder).experiment != "flights"
    (folder / "mlops.toml").write_text('experiment = "flights"\n')
    assert Workspace.find(folder).experiment == "flights"


def test_a_moved_folder_is_said_with_the_cure_and_mended_with_all_artifacts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = mlops.track("flights")
    api.current_workspace().runs.log_text(run.run_id, "hello", "a.txt")
    mlops.end()
    there = folder.with_name("moved")
    folder.rename(there)
    monkeypatch.chdir(there)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    api._open.clear()
    found = mlops.doctor()
    assert found.exit_code == 1
    assert "was moved from" in str(found) and "mlops doctor --repair" in str(found)
    with pytest.raises(StoreError, match="was moved from"):
        mlops.get_run("last")
    assert mlops.doctor(repair=True).exit_code == 0
    assert mlops.doctor().ailments == ()
    client = api.current_workspace().runs.client
    assert client.get_run(run.run_id).info.artifact_uri.startswith(str(there))
    assert [a.path for a in client.list_artifacts(run.run_id)] == ["a.txt"]


def test_a_healthy_folder_has_no_ailments(folder: Path) -> None:
    mlops.track("flights")
    mlops.end()
    found = mlops.doctor()
    assert (found.exit_code, found.ailments) == (0, ())
    assert "nothing is wrong" in str(found)


def test_comparing_nothing_and_checking_nothing_say_what_to_type(folder: Path) -> None:
    with pytest.raises(UsageError, match="there is no run to compare; type %mlops track"):
        mlops.compare()
    with pytest.raises(UsageError, match=r"no notebook named; type mlops check NOTEBOOK\.ipynb"):
        mlops.check()


def test_a_dataset_added_while_tracking_is_an_output_and_loaded_an_input(folder: Path) -> None:
    run = mlops.track("flights")
    mlops.add_data(pd.DataFrame({"a": [1]}), "small")
    mlops.load_data("small")
    mlops.end()
    inputs: Any = api.current_workspace().runs.client.get_run(run.run_id).inputs
    entries = inputs.dataset_inputs
    contexts = sorted(tag.value for entry in entries for tag in entry.tags)
    assert set(contexts) <= {"output", "training"} and contexts
    assert mlops.get_data("small").run_id == run.run_id
