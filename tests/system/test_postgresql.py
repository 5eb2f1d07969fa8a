"""The whole chain on a real PostgreSQL, and what is said while it is stopped."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psycopg
import pytest
from mlflow import MlflowClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Postgresql, Terminal

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def place(
    postgresql: Postgresql,
    tmp_path_factory: pytest.TempPathFactory,
    terminal: Callable[[Path], Terminal],
    track_two_runs: Callable[[Path], None],
) -> Terminal:
    """A workspace whose store is the database, with two runs in it."""
    folder = tmp_path_factory.mktemp("banked")
    (folder / "mlops.toml").write_text(f'tracking = "{postgresql.uri}"\n')
    track_two_runs(folder)
    return terminal(folder)


@pytest.fixture
def client(postgresql: Postgresql) -> MlflowClient:
    return MlflowClient(postgresql.uri, postgresql.uri)


@pytest.fixture
def stopped(postgresql: Postgresql) -> Iterator[Postgresql]:
    """The database, stopped; it comes back after the test."""
    postgresql.stop()
    yield postgresql
    postgresql.start()


def test_runs_of_a_kernel_are_in_the_database(place: Terminal, postgresql: Postgresql) -> None:
    with (
        psycopg.connect(postgresql.uri) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT name, status, source_name FROM runs ORDER BY start_time")
        found = cursor.fetchall()
        cursor.execute("SELECT DISTINCT name FROM datasets")
        data = cursor.fetchall()
    assert [row[:2] for row in found] == [("trees-01", "FINISHED"), ("trees-02", "FINISHED")]
    assert data == [("flights",)]
    assert not (place.folder / "mlflow.db").exists()


def test_artifacts_lie_in_the_workspace(place: Terminal, client: MlflowClient) -> None:
    for run in place.value("runs"):
        (kept,) = client.list_artifacts(run["run_id"], "notebook")
        path = client.get_run(run["run_id"]).info.artifact_uri.removeprefix("file://")
        assert (place.folder / "mlruns").resolve() in (place.folder / path / kept.path).parents
        assert (place.folder / path / kept.path).is_file()


def test_runs_and_compare_read_them_back(place: Terminal) -> None:
    (best,) = place.value("runs", "metrics.auc > 0.8")
    assert best["name"] == "trees-02"
    compared = place.value("compare", "--best", "auc")
    assert [run["name"] for run in compared["runs"]] == ["trees-02", "trees-01"]
    assert compared["best"]["auc"] == best["run_id"]


def test_an_alias_goes_forth_and_back(place: Terminal, client: MlflowClient) -> None:
    for run in ("trees-01", "trees-02"):
        place.value("model", "register", "delays", run)
    for version in (1, 2):
        place.value("model", "promote", f"delays/{version}", "--to", "champion")
    assert champion(client) == 2
    moved = place.value("model", "rollback", "delays")
    assert (moved["version"], moved["previous"]) == (1, 2)
    assert champion(client) == 1
    assert not (place.folder / "mlflow.db").exists()


@pytest.mark.parametrize("words", ["runs", "model list"])
def test_a_stopped_database_is_one_clear_line_without_its_password(
    place: Terminal, stopped: Postgresql, words: str
) -> None:
    started = time.monotonic()
    line = place.refusal(*words.split())
    assert time.monotonic() - started < 10
    assert line.startswith("Error: ")
    assert f"127.0.0.1:{stopped.port}" in line
    assert "; " in line  # and what to do
    assert stopped.password not in line


def test_the_work_goes_on_when_the_database_is_back(
    place: Terminal, postgresql: Postgresql
) -> None:
    postgresql.stop()
    postgresql.start()
    assert [run["name"] for run in place.value("runs")] == ["trees-02", "trees-01"]


def champion(client: MlflowClient) -> int:
    return int(client.get_model_version_by_alias("delays", "champion").version)
