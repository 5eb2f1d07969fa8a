"""The whole chain through a real tracking server, and its sudden death."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from mlflow import MlflowClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Server, Terminal

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def place(
    tracking_server: Server,
    tmp_path_factory: pytest.TempPathFactory,
    terminal: Callable[[Path], Terminal],
    track_two_runs: Callable[[Path], None],
) -> Terminal:
    """A workspace whose store is the server, with two runs in it."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "mlops.toml").write_text(f'tracking = "{tracking_server.url}"\n')
    track_two_runs(folder)
    return terminal(folder)


@pytest.fixture
def client(tracking_server: Server) -> MlflowClient:
    return MlflowClient(tracking_server.url, tracking_server.url)


@pytest.fixture
def dead(tracking_server: Server) -> Iterator[Server]:
    """The server, killed; it comes back after the test."""
    with killed(tracking_server):
        yield tracking_server


def test_runs_of_a_kernel_are_on_the_server(place: Terminal, client: MlflowClient) -> None:
    runs = client.search_runs([experiment_id(client, "trees")], order_by=["start_time ASC"])
    assert [run.info.run_name for run in runs] == ["trees-01", "trees-02"]
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    assert [run.data.metrics["auc"] for run in runs] == [0.7, 0.9]
    for run in runs:
        assert run.inputs is not None
        (data,) = {each.dataset.name for each in run.inputs.dataset_inputs}
        assert data == "flights"
        assert run.data.tags["mlflow.source.name"] == str(place.folder / "trees.ipynb")
        kept = [item.path for item in client.list_artifacts(run.info.run_id, "notebook")]
        assert kept == ["notebook/executed.ipynb"]
    assert not (place.folder / "mlruns").exists()


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
    history = place.value("model", "show", "delays@champion")["promotions"]
    assert [(move["kind"], move["version"]) for move in history] == [
        ("promote", 1),
        ("promote", 2),
        ("rollback", 1),
    ]


@pytest.mark.parametrize(
    "words",
    ["runs", "show last", "compare --last 2", "model list", "model promote delays/2 --to champion"],
)
def test_a_killed_server_is_one_clear_line_within_10_seconds(
    place: Terminal, dead: Server, words: str
) -> None:
    started = time.monotonic()
    line = place.refusal(*words.split())
    assert time.monotonic() - started < 10
    assert line.startswith(f"Error: tracking server {dead.url} does not answer; ")


def test_cells_of_an_open_run_go_on_while_the_server_is_dead(
    place: Terminal, tracking_server: Server, kernel: Callable[..., Any], client: MlflowClient
) -> None:
    with kernel(place.folder) as running:
        running.run("%load_ext mlops_nb\n%mlops track survivors")
        with killed(tracking_server):
            assert running.run("6 * 7") == "42"
        running.run("%mlops log auc=0.5\n%mlops end")
    (run,) = client.search_runs([experiment_id(client, "survivors")])
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"auc": 0.5})


def test_a_cell_that_raises_while_the_server_is_dead_is_soon_over(
    place: Terminal, tracking_server: Server, kernel: Callable[..., Any]
) -> None:
    with kernel(place.folder) as running:
        running.run("%load_ext mlops_nb\n%mlops track mourners")
        with killed(tracking_server):
            started = time.monotonic()
            shown = running.error("1 / 0")
            assert time.monotonic() - started < 10
    assert "ZeroDivisionError: division by zero" in shown
    assert "mlops_nb: noting a cell failed: " in shown


def test_logging_to_a_dead_server_is_one_clear_line_within_10_seconds(
    place: Terminal, tracking_server: Server, kernel: Callable[..., Any]
) -> None:
    with kernel(place.folder) as running:
        running.run("%load_ext mlops_nb\n%mlops track loggers")
        with killed(tracking_server):
            started = time.monotonic()
            shown = running.error("%mlops log auc=0.5")
            assert time.monotonic() - started < 10
    (line,) = shown.splitlines()
    assert line.startswith("StoreError: ")
    assert "; " in line  # and what to do


@contextmanager
def killed(server: Server) -> Iterator[None]:
    server.stop(signal.SIGKILL)
    try:
        yield
    finally:
        server.start()


def experiment_id(client: MlflowClient, name: str) -> str:
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return str(experiment.experiment_id)


def champion(client: MlflowClient) -> int:
    return int(client.get_model_version_by_alias("delays", "champion").version)
