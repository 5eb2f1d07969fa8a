from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pytest
from mlflow.data.numpy_dataset import from_numpy

from mlops_nb.backends.mlflow.frames import RunsFrame
from mlops_nb.backends.mlflow.runs import RunStore
from mlops_nb.config import read_settings
from mlops_nb.datasets import Column, DatasetVersion
from mlops_nb.errors import AmbiguousError, NotFoundError, StoreError, UsageError
from mlops_nb.references import RunReference

if TYPE_CHECKING:
    from pathlib import Path

FLIGHTS = DatasetVersion(
    name="flights", version=3, digest="0123456789abcdef" * 2, kind="table", n_files=1, size=1000,
    added_bytes=1000, created=datetime(2026, 3, 1, tzinfo=UTC), author="ada", source="f.csv",
    rows=10,
    columns=(Column("carrier", "string", 0),),
)  # fmt: skip


@pytest.fixture
def runs(folder: Path) -> RunStore:
    return RunStore(read_settings(folder))


def ended(
    runs: RunStore,
    name: Any = "train-*",
    *,
    experiment: Any = "flights",
    status: Any = "FINISHED",
    tags: Any = None,
    **metrics: Any,
) -> Any:
    run_id, _ = runs.create(experiment, name, tags or {})
    runs.log_metrics(run_id, metrics)
    runs.end(run_id, status)
    return runs.get(run_id)


def find(runs: RunStore, text: str, **facts: Any) -> Any:
    return runs.find(RunReference.parse(text), **facts)


# --- writing -------------------------------------------------------------------------------------


def test_run_names_count_within_their_experiment_and_stem(runs: RunStore) -> None:
    names = [ended(runs).name for _ in range(3)]
    assert names == ["train-01", "train-02", "train-03"]
    assert ended(runs, "eda-*").name == "eda-01"
    assert ended(runs, experiment="other").name == "train-01"
    assert ended(runs, "deep").name == "deep"


def test_a_stem_with_odd_characters_counts_too(runs: RunStore) -> None:
    assert [ended(runs, "a.b (1)'s-*").name for _ in range(2)] == ["a.b (1)'s-01", "a.b (1)'s-02"]


def test_a_run_keeps_params_metrics_tags_inputs_and_files(runs: RunStore, folder: Path) -> None:
    run_id, _ = runs.create("flights", "train-*", {"team": "north"})
    runs.log_params(run_id, {"depth": 3, "long": "x" * 10_000})
    runs.log_metrics(run_id, {"loss": math.nan, "auc": 0.5}, step=2)
    runs.log_input(run_id, FLIGHTS, context="training")
    runs.log_text(run_id, "hello", "notes/a.txt")
    (folder / "b.txt").write_text("b")
    runs.log_file(run_id, str(folder / "b.txt"), "notes")
    runs.end(run_id, "FINISHED")
    run = runs.get(run_id)
    assert run.params["depth"] == "3" and len(run.params["long"]) == 6000
    assert run.metrics["auc"] == 0.5 and math.isnan(run.metrics["loss"])
    assert (run.tags["team"], run.datasets, run.status) == ("north", ("flights@v3",), "FINISHED")
    assert run.ended is not None and run.started is not None and run.ended >= run.started
    artifacts = runs.client.list_artifacts(run_id, "notes")
    assert [a.path for a in artifacts] == ["notes/a.txt", "notes/b.txt"]


def test_many_params_tags_and_metrics_are_more_than_one_request(runs: RunStore) -> None:
    run_id, _ = runs.create("flights", "train-*", {})
    runs.log_params(run_id, {f"p{i}": i for i in range(250)})
    runs.set_tags(run_id, {f"t{i}": str(i) for i in range(250)})
    runs.log_metrics(run_id, {f"m{i}": i for i in range(1200)})
    run = runs.get(run_id)
    assert (len(run.params), len(run.metrics)) == (250, 1200)
    assert sum(key.startswith("t") for key in run.tags) >= 250


def test_a_tag_too_long_for_mlflow_is_cut(runs: RunStore) -> None:
    run_id, _ = runs.create("flights", "train-*", {"story": "x" * 10_000})
    assert len(runs.get(run_id).tags["story"]) == 8000


def test_mlflows_own_api_sees_the_run_its_dataset_and_where_it_comes_from(
    runs: RunStore, folder: Path
) -> None:
    run_id, _ = runs.create("flights", "train-*", {})
    runs.log_input(run_id, FLIGHTS, context="training")
    runs.log_input(run_id, FLIGHTS, context="training")
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    frame = mlflow.search_runs(experiment_names=["flights"])
    assert list(frame["run_id"]) == [run_id]
    inputs: Any = mlflow.get_run(run_id).inputs
    [entry] = inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("flights", FLIGHTS.digest)
    assert entry.tags[0].value == "training"
    assert "carrier" in str(entry.dataset.schema)


def test_artifacts_lie_in_the_workspace_wherever_the_current_folder_is(
    runs: RunStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "deep").mkdir()
    monkeypatch.chdir(folder / "deep")
    run_id, _ = runs.create("my flights: north", "train-*", {})
    runs.log_text(run_id, "x", "a.txt")
    assert len(list((folder / "mlruns" / "my-flights-north").rglob("a.txt"))) == 1
    assert list((folder / "deep").iterdir()) == []


def test_a_failed_run_that_goes_on_is_running_again(runs: RunStore) -> None:
    run = ended(runs, status="FAILED")
    runs.reopen(run.run_id)
    assert runs.get(run.run_id).status == "RUNNING"


def test_an_experiment_made_by_several_at_once_is_made_once(runs: RunStore) -> None:
    runs.search()  # the store exists
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: runs.create("shared", "train-*", {})[0], range(8)))
    assert len({runs.get(run_id).experiment for run_id in made}) == 1
    assert len(runs.search(experiment="shared")) == 8


def test_a_deleted_experiment_is_said_with_the_cure(runs: RunStore) -> None:
    run = ended(runs)
    experiment = runs.client.get_run(run.run_id).info.experiment_id
    runs.client.delete_experiment(experiment)
    with pytest.raises(
        UsageError, match=f"was deleted; .*mlflow experiments restore .*{experiment}"
    ):
        ended(runs)


def test_a_param_with_another_value_is_refused_in_one_line(runs: RunStore) -> None:
    run_id, _ = runs.create("flights", "train-*", {})
    runs.log_params(run_id, {"depth": 3})
    with pytest.raises(UsageError) as caught:
        runs.log_params(run_id, {"depth": 4})
    assert "\n" not in str(caught.value)
    assert runs.get(run_id).params == {"depth": "3"}


# --- finding -------------------------------------------------------------------------------------


def test_a_run_is_found_by_id_start_of_id_and_name(runs: RunStore) -> None:
    run = ended(runs)
    ended(runs)
    for word in (run.run_id, run.run_id[:12], run.name, f"run:{run.name}"):
        assert find(runs, word).run_id == run.run_id


def test_last_is_the_newest_of_mine_and_else_the_newest(runs: RunStore) -> None:
    mine = {"mlflow.user": "ada", "mlflow.source.name": '/w/it\'s "mine".ipynb'}
    run = ended(runs, tags=mine)
    twin = ended(runs, "it's mine")
    other = ended(runs, tags={"mlflow.user": "bob"})
    assert find(runs, "it's mine").run_id == twin.run_id
    assert find(runs, "last", mine=mine).run_id == run.run_id
    assert find(runs, "last", mine={"mlflow.user": "eve"}).run_id == other.run_id
    assert find(runs, "last").run_id == other.run_id


def test_the_best_is_by_direction_and_never_nan(runs: RunStore) -> None:
    low, high = ended(runs, auc=0.1, loss=0.1), ended(runs, auc=0.9, loss=0.9)
    ended(runs, auc=math.nan, loss=math.nan)
    ended(runs, auc=math.inf)
    assert find(runs, "best:auc").run_id == high.run_id
    assert find(runs, "best:auc:min").run_id == low.run_id
    assert find(runs, "best:loss").run_id == low.run_id
    assert [r.run_id for r in runs.best("auc", limit=5)] == [high.run_id, low.run_id]


def test_a_name_that_fits_several_runs_is_ambiguous_and_all_are_named(runs: RunStore) -> None:
    twins = [ended(runs, "deep"), ended(runs, "deep")]
    with pytest.raises(
        AmbiguousError, match=r"'deep' could be 2 runs: .*give more of the id"
    ) as caught:
        find(runs, "deep")
    assert all(run.run_id[:10] in str(caught.value) for run in twins)


def test_a_start_that_fits_several_ids_is_ambiguous(runs: RunStore) -> None:
    seen: dict[str, str] = {}
    for _ in range(17):  # of 17 ids two begin alike; four characters is the shortest start
        run = ended(runs)
        seen.setdefault(run.run_id[:1], run.run_id)
    prefixes = [run.run_id[:4] for run in runs.search()]
    assert all(
        find(runs, prefix).run_id.startswith(prefix)
        for prefix in prefixes
        if prefixes.count(prefix) == 1
    )


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("train-1", "no run 'train-1'; did you mean train-01"),
        ("0123456789abcdef" * 2, "0123456789abcdef"),
        ("o'brien", 'no run "o\'brien"; '),
        ("best:f1", "no run has a metric 'f1'; "),
        ("best:acu", "no run has a metric 'acu'; did you mean auc"),
    ],
)
def test_a_run_that_is_not_there_is_said_with_the_nearest(
    runs: RunStore, word: Any, words: Any
) -> None:
    ended(runs, auc=0.5)
    with pytest.raises(NotFoundError, match=words) as caught:
        find(runs, word)
    assert "\n" not in str(caught.value)


def test_without_any_run_the_cure_is_to_track(runs: RunStore) -> None:
    with pytest.raises(NotFoundError, match="there is no run yet; type %mlops track"):
        find(runs, "last")


# --- searching -----------------------------------------------------------------------------------


def test_runs_are_searched_in_mlflows_grammar_newest_first(runs: RunStore) -> None:
    first, second = ended(runs, auc=0.8), ended(runs, auc=0.9)
    third = ended(runs, experiment="other", auc=0.95)
    found = [[r.run_id for r in runs.search(query)] for query in ("", "metrics.auc > 0.85")]
    assert found == [[third.run_id, second.run_id, first.run_id], [third.run_id, second.run_id]]
    assert [r.run_id for r in runs.search(limit=1)] == [third.run_id]
    assert [r.run_id for r in runs.search(experiment="other")] == [third.run_id]
    ordered = runs.search(order_by=["metrics.auc ASC"])
    assert [r.run_id for r in ordered] == [first.run_id, second.run_id, third.run_id]


@pytest.mark.parametrize(
    "query", ["metrics.auc >", "auc > 1", "metrics.auc > 'x'", "foo.bar = 1", "status = RUNNING"]
)
def test_a_query_that_mlflow_does_not_understand_is_a_usage_error_that_quotes_it(
    runs: RunStore, query: Any
) -> None:
    ended(runs, auc=0.5)
    with pytest.raises(UsageError) as caught:
        runs.search(query)
    assert query in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_experiment_is_said_with_the_nearest(runs: RunStore) -> None:
    ended(runs)
    with pytest.raises(NotFoundError, match="no experiment 'fligths'; did you mean flights"):
        runs.search(experiment="fligths")


def test_a_dataset_that_others_recorded_is_named_by_its_digest(
    runs: RunStore, folder: Path
) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    runs.search()
    with mlflow.start_run() as started:
        data = from_numpy(np.zeros(3), name="zeros")
        mlflow.log_input(data)
    assert runs.get(started.info.run_id).datasets == (f"zeros#{data.digest}",)


def test_a_run_made_while_we_look_in_a_new_experiment_has_its_name(
    runs: RunStore, folder: Path
) -> None:
    runs.search()
    other = RunStore(runs.settings)
    run = ended(other, experiment="new")
    assert runs.get(run.run_id).experiment == "new"


def test_a_broken_store_is_a_store_error(folder: Path) -> None:
    (folder / "mlflow.db").write_text("this is no database " * 100)
    with pytest.raises(StoreError, match=r"mlflow\.db is not a database; rename it") as caught:
        RunStore(read_settings(folder)).search()
    assert caught.value.exit_code == 5


# --- as a table ----------------------------------------------------------------------------------


def test_a_frame_has_mlflows_column_names_and_is_shown_short(runs: RunStore) -> None:
    for depth in (3, 5):
        run_id, _ = runs.create("flights", "train-*", {})
        runs.log_params(run_id, {"depth": depth, "seed": 0})
        runs.log_metrics(run_id, {"auc": depth / 10})
        runs.end(run_id, "FINISHED")
    frame = RunsFrame.of_runs(runs.search())
    assert list(frame["metrics.auc"]) == [0.5, 0.3]
    assert list(frame["params.seed"]) == ["0", "0"]
    assert {"run_id", "name", "experiment", "status", "start_time"} <= set(frame.columns)
    shown = str(frame)
    assert "train-02" in shown and "depth" in shown and "seed" not in shown
    assert frame.best("auc")["name"] == "train-02"
    assert frame.best("auc:min")["name"] == "train-01"
    assert [r.name for r in frame[frame["metrics.auc"] > 0.4].compare().runs] == ["train-02"]
    with pytest.raises(UsageError, match="no run here has a metric 'acu'; did you mean auc"):
        frame.best("acu")


def test_an_empty_frame_says_so_and_has_its_columns(runs: RunStore) -> None:
    frame = RunsFrame.of_runs([])
    assert str(frame) == "no run fits"
    assert "run_id" in frame.columns
    assert frame.compare().runs == ()
