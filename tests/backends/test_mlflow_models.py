from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput

from mlops_nb.backends.mlflow.models import HISTORY, ModelStore
from mlops_nb.backends.mlflow.runs import RunStore
from mlops_nb.config import read_settings
from mlops_nb.errors import AmbiguousError, NotFoundError, UsageError
from mlops_nb.references import ModelReference

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def runs(folder: Path) -> RunStore:
    return RunStore(read_settings(folder))


@pytest.fixture
def models(runs: RunStore) -> ModelStore:
    return ModelStore(runs)


def trained(runs: RunStore, *names: str, tags: Any = None) -> Any:
    """A run that logged models of these names, as autologging does it."""
    run_id, _ = runs.create(
        "flights", "train-*", {"mlflow.source.name": "/w/train.ipynb", **(tags or {})}
    )
    experiment = runs.client.get_run(run_id).info.experiment_id
    for name in names:
        model = runs.client.create_logged_model(experiment, name=name, source_run_id=run_id)
        runs.client.finalize_logged_model(model.model_id, "READY")
        runs.client.log_outputs(run_id, models=[LoggedModelOutput(model.model_id, step=0)])
    runs.log_metrics(run_id, {"auc": 0.9})
    runs.end(run_id, "FINISHED")
    return runs.get(run_id)


def test_a_version_says_which_run_notebook_and_commit_it_comes_from(
    runs: RunStore, models: ModelStore
) -> None:
    run = trained(runs, "model", tags={"mlflow.source.git.commit": "c0ffee"})
    version = models.register("churn", run)
    assert (version.reference, version.run_id, version.run_name) == (
        "churn/1",
        run.run_id,
        "train-01",
    )
    assert (version.notebook, version.commit) == ("/w/train.ipynb", "c0ffee")
    assert version.metrics == {"auc": 0.9}
    assert version.source == f"models:/{run.models[0]}"


def test_plain_mlflow_sees_versions_and_aliases(
    runs: RunStore, models: ModelStore, folder: Path
) -> None:
    models.register("churn", trained(runs, "model"))
    promote(models, "churn", 1)
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    assert int(client.get_model_version_by_alias("churn", "champion").version) == 1
    assert [int(v.version) for v in client.search_model_versions("name = 'churn'")] == [1]


def test_a_second_version_counts_on_and_the_list_is_newest_first(
    runs: RunStore, models: ModelStore
) -> None:
    for _ in range(2):
        models.register("churn", trained(runs, "model"))
    models.register("late", trained(runs, "model"))
    promote(models, "churn", 1)
    assert [(v.reference, v.aliases) for v in models.versions()] == [
        ("churn/2", ()),
        ("churn/1", ("champion",)),
        ("late/1", ()),
    ]
    assert [v.reference for v in models.versions("late")] == ["late/1"]


def test_a_run_without_a_model_cannot_be_registered(runs: RunStore, models: ModelStore) -> None:
    with pytest.raises(UsageError, match="run train-01 logged no model; fit one while tracking"):
        models.register("churn", trained(runs))
    assert models.versions() == []


def test_of_several_models_one_must_be_chosen(runs: RunStore, models: ModelStore) -> None:
    run = trained(runs, "deep", "flat")
    with pytest.raises(AmbiguousError, match=r"logged 2 models: .*deep \(m-.*--model ID"):
        models.register("churn", run)
    assert models.register("churn", run, model="flat").version == 1
    assert models.register("churn", run, model=run.models[0]).version == 2
    with pytest.raises(NotFoundError, match=r"has no model 'wide'; it logged .*deep"):
        models.register("churn", run, model="wide")


def test_a_bare_name_means_the_only_version_and_is_refused_when_there_are_more(
    runs: RunStore, models: ModelStore
) -> None:
    models.register("churn", trained(runs, "model"))
    assert models.get(ModelReference("churn")).version == 1
    models.register("churn", trained(runs, "model"))
    with pytest.raises(AmbiguousError, match="churn has 2 versions; name one: churn/2, churn/1"):
        models.get(ModelReference("churn"))


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("chrun/1", "no model 'chrun' is registered; did you mean churn"),
        ("churn/7", "model churn has no version 7; name one: churn/1"),
        (
            "churn@prod",
            "churn has no alias 'prod'; it has none yet; .*mlops model promote churn/1 --to prod",
        ),
    ],
)
def test_what_is_not_registered_is_named_with_what_is(
    runs: RunStore, models: ModelStore, reference: Any, words: Any
) -> None:
    models.register("churn", trained(runs, "model"))
    with pytest.raises(NotFoundError, match=words):
        models.get(ModelReference.parse(reference))


def test_without_any_model_the_cure_is_the_command(models: ModelStore) -> None:
    with pytest.raises(
        NotFoundError, match="no model 'churn' is registered; type mlops model list"
    ):
        models.versions("churn")
    assert models.versions() == []


def test_every_move_is_a_numbered_tag_of_the_registered_model(
    runs: RunStore, models: ModelStore
) -> None:
    models.register("churn", trained(runs, "model"))
    promote(models, "churn", 1)
    tags = models.client.get_registered_model("churn").tags
    assert [key for key in tags if key.startswith(HISTORY)] == [f"{HISTORY}champion.000001"]
    assert [p.version for p in models.get(ModelReference("churn")).promotions] == [1]


def test_a_registration_of_a_model_that_plain_mlflow_registered_joins_it(
    runs: RunStore, models: ModelStore
) -> None:
    models.client.create_registered_model("churn")
    assert models.register("churn", trained(runs, "model")).version == 1


def test_a_version_whose_run_was_deleted_is_still_listed(
    runs: RunStore, models: ModelStore
) -> None:
    run = trained(runs, "model")
    models.register("churn", run)
    models.client.delete_run(run.run_id)
    assert [v.run_name for v in models.versions()] == ["train-01"]
    assert models.get(ModelReference("churn")).version == 1


def promote(models: ModelStore, name: str, version: int) -> None:
    from mlops_nb import promotion

    promotion.promote(models, ModelReference(name, version=version), alias="champion", by="ada")
