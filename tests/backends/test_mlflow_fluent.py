# mypy: disable-error-code="no-untyped-call"
"""The contract with MLflow: what fluent.py wraps or reads; a new MLflow fails here first."""

from __future__ import annotations

import inspect
import threading
from typing import TYPE_CHECKING, Any

import mlflow
import pytest
from mlflow.tracking import fluent
from mlflow.utils import mlflow_tags
from mlflow.utils.autologging_utils import safety
from mlflow.utils.autologging_utils.client import MlflowAutologgingQueueingClient
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier

import mlops_nb as mlops
from mlops_nb.backends.mlflow import fluent as ours
from mlops_nb.backends.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_nb.runs import Run


X, y = make_classification(60, 5, random_state=0)


def runs_by_name() -> dict[str, Run]:
    return {run.name: run for run in mlops.search_runs().compare().runs}


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


# --- the names and their shapes ------------------------------------------------------------------


def test_the_four_wrapped_names_have_the_signatures_that_are_passed_on() -> None:
    assert parameters(fluent._get_or_start_run) == []
    assert parameters(mlflow.end_run) == ["status"]
    assert parameters(mlflow.active_run) == []
    assert {"run_id", "experiment_id", "run_name", "nested", "parent_run_id", "tags"} <= set(
        parameters(mlflow.start_run)
    )
    assert inspect.signature(mlflow.end_run).parameters["status"].default == ours.FINISHED


def test_the_names_of_the_package_are_the_functions_of_the_module() -> None:
    for name in ("start_run", "end_run", "active_run"):
        assert getattr(mlflow, name) is getattr(fluent, name)


def test_the_stack_of_active_runs_is_a_list_of_its_thread() -> None:
    stack = fluent._active_run_stack.get()
    assert stack == []
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(fluent._active_run_stack.get()))
    thread.start()
    thread.join()
    assert found == [[]]
    assert found[0] is not stack


def test_a_handle_is_made_of_a_run_alone() -> None:
    assert parameters(fluent.ActiveRun.__init__) == ["self", "run"]


def test_every_implicit_log_asks_one_function_for_its_run() -> None:
    for name in (
        "log_metric",
        "log_metrics",
        "log_params",
        "set_tag",
        "set_tags",
        "log_artifact",
        "log_text",
        "log_input",
    ):
        assert "_get_or_start_run()" in inspect.getsource(getattr(fluent, name)), name
    assert "_get_or_start_run()" in inspect.getsource(fluent.log_param)


def test_autologging_begins_its_runs_by_the_wrapped_start_run_with_its_tag() -> None:
    source = inspect.getsource(safety)
    assert "mlflow.start_run(" in source or "create_managed_run" in source
    assert ours.AUTOLOGGING == mlflow_tags.MLFLOW_AUTOLOGGING
    assert "def patch_with_managed_run(original, *args, **kwargs)" in source
    assert "end_run(RunStatus.to_string(RunStatus.FINISHED))" in source


def test_the_autologging_client_takes_run_id_and_a_mapping() -> None:
    assert parameters(MlflowAutologgingQueueingClient.log_params) == ["self", "run_id", "params"]
    assert parameters(MlflowAutologgingQueueingClient.set_tags) == ["self", "run_id", "tags"]


def test_autologging_can_leave_dataset_digests_off() -> None:
    assert {"silent", "log_datasets"} <= set(parameters(mlflow.autolog))


# --- what the wrapping does ----------------------------------------------------------------------


def test_everything_is_as_it_was_once_the_process_lets_go(folder: Path) -> None:
    owners = (
        (fluent, "_get_or_start_run"),
        (mlflow, "start_run"),
        (mlflow, "end_run"),
        (mlflow, "active_run"),
    )
    before = [getattr(owner, name) for owner, name in owners]
    queueing = (
        MlflowAutologgingQueueingClient.log_params,
        MlflowAutologgingQueueingClient.set_tags,
    )
    mlops.track("flights")
    assert all(getattr(o, n) is not b for (o, n), b in zip(owners, before, strict=True))
    Session.current().detach()
    assert [getattr(owner, name) for owner, name in owners] == before
    assert (
        MlflowAutologgingQueueingClient.log_params,
        MlflowAutologgingQueueingClient.set_tags,
    ) == queueing


def test_mlflow_without_an_open_run_of_ours_does_as_it_always_did(folder: Path) -> None:
    mlops.track("flights")
    mlops.end()
    with mlflow.start_run() as run:
        mlflow.log_metric("auc", 0.5)
    assert mlflow.active_run() is None
    found = mlflow.get_run(run.info.run_id)
    assert found.data.metrics == {"auc": 0.5}
    assert "mlflow.parentRunId" not in found.data.tags


def test_mlflows_active_run_is_ours_and_its_end_run_leaves_it_open(folder: Path) -> None:
    run = mlops.track("flights")
    active = mlflow.active_run()
    assert active is not None and active.info.run_id == run.run_id
    mlflow.end_run()
    assert mlops.get_run(run.run_id).status == "RUNNING"


def test_a_run_of_the_users_own_ends_by_itself_and_logs_go_back_to_ours(folder: Path) -> None:
    run = mlops.track("flights")
    with mlflow.start_run(run_name="mine") as own:
        mlflow.log_metric("inner", 1)
        with mlflow.start_run(nested=True) as nested:
            mlflow.log_metric("innermost", 2)
    mlflow.log_metric("outer", 3)
    tags = {r: mlflow.get_run(r).data.tags for r in (own.info.run_id, nested.info.run_id)}
    assert tags[own.info.run_id]["mlflow.parentRunId"] == run.run_id
    assert tags[nested.info.run_id]["mlflow.parentRunId"] == own.info.run_id
    assert own.info.experiment_id == mlflow.get_run(run.run_id).info.experiment_id
    assert mlops.get_run(run.run_id).metrics == {"outer": 3}
    assert mlops.get_run(own.info.run_id).metrics == {"inner": 1}
    assert mlops.get_run("mine").status == "FINISHED"


def test_a_run_of_the_users_own_that_fails_is_failed_and_ours_is_not(folder: Path) -> None:
    run = mlops.track("flights")
    with pytest.raises(ValueError), mlflow.start_run(run_name="mine"):
        raise ValueError("no rows")
    assert mlops.get_run("mine").status == "FAILED"
    assert mlops.get_run(run.run_id).status == "RUNNING"


def test_a_run_that_the_user_resumes_by_its_id_is_not_touched(folder: Path) -> None:
    mlops.track("flights", name="first")
    first = mlops.end()
    mlops.track("flights")
    with mlflow.start_run(run_id=first.run_id):
        mlflow.log_metric("later", 1)
    resumed = mlops.get_run(first.run_id)
    assert resumed.metrics == {"later": 1}
    assert "mlflow.parentRunId" not in resumed.tags


def test_plain_logging_from_other_threads_goes_to_our_run_and_opens_none(folder: Path) -> None:
    run = mlops.track("flights")
    threads = [threading.Thread(target=mlflow.log_metric, args=(f"m{i}", i)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mlops.end()
    assert mlops.get_run(run.run_id).metrics == {f"m{i}": float(i) for i in range(4)}
    assert len(mlops.search_runs()) == 1


# --- autologging ---------------------------------------------------------------------------------


def test_a_fitted_model_leaves_params_metrics_and_the_model_in_the_run(folder: Path) -> None:
    mlops.track("flights")
    LogisticRegression(C=0.5).fit(X, y)
    run = mlops.end()
    assert run.params["C"] == "0.5"
    assert run.metrics["training_accuracy_score"] > 0.5
    assert run.status == "FINISHED"
    version = mlops.register_model("churn", run.run_id)
    assert version.run_id == run.run_id
    model = mlflow.sklearn.load_model("models:/churn/1")
    assert list(model.predict(X[:3])) == list(LogisticRegression(C=0.5).fit(X, y).predict(X[:3]))


def test_a_transformer_before_the_model_opens_no_run_and_its_params_carry_its_name(
    folder: Path,
) -> None:
    mlops.track("flights")
    reduced = PCA(n_components=2, random_state=3).fit_transform(X)
    LogisticRegression(random_state=4).fit(reduced, y)
    run = mlops.end()
    assert len(mlops.search_runs()) == 1
    assert (run.params["PCA.random_state"], run.params["random_state"]) == ("3", "4")
    assert run.params["PCA.n_components"] == "2"
    assert run.tags["estimator_name"] == "LogisticRegression"


def test_a_grid_search_is_one_run_with_its_children(folder: Path) -> None:
    mlops.track("flights", name="search")
    GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [1, 2]}, cv=2).fit(X, y)
    parent = mlops.end()
    assert parent.params["best_max_depth"] in ("1", "2")
    children = mlops.search_runs(f"tags.mlflow.parentRunId = '{parent.run_id}'").compare().runs
    assert sorted(c.params["max_depth"] for c in children) == ["1", "2"]
    assert {c.status for c in children} == {parent.status} == {"FINISHED"}
    assert len(mlops.search_runs()) == 3


def test_a_fit_that_raises_leaves_the_run_open_and_the_next_fit_logs(folder: Path) -> None:
    mlops.track("flights")
    with pytest.raises(ValueError):
        LogisticRegression().fit(X, y[:-1])
    LogisticRegression(C=0.5).fit(X, y)
    mlops.end()
    runs = runs_by_name()
    assert {run.status for run in runs.values()} == {"FINISHED"}
    assert any(run.params.get("C") == "0.5" for run in runs.values())


def test_a_fit_in_the_users_own_run_is_logged_there(folder: Path) -> None:
    mlops.track("flights", name="outer")
    with mlflow.start_run(run_name="mine"):
        LogisticRegression(C=0.25).fit(X, y)
    mlops.end()
    runs = runs_by_name()
    assert runs["mine"].params["C"] == "0.25"
    assert runs["mine"].tags["mlflow.parentRunId"] == runs["outer"].run_id
    assert runs["outer"].params == {}
