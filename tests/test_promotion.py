from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from mlflow import MlflowClient

from mlops_nb import promotion
from mlops_nb.backends.mlflow.models import ModelStore
from mlops_nb.backends.mlflow.runs import RunStore
from mlops_nb.config import read_settings
from mlops_nb.errors import NotFoundError, UsageError
from mlops_nb.references import ModelReference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def models(folder: Path) -> ModelStore:
    """A registry with churn/1 to churn/5."""
    store = ModelStore(RunStore(read_settings(folder)))
    store.client.create_registered_model("churn")
    for _ in range(5):
        store.client.create_model_version("churn", source=str(folder))
    return store


def promote(models: ModelStore, version: int, alias: str = "champion") -> Any:
    return promotion.promote(
        models, ModelReference("churn", version=version), alias=alias, by="ada"
    )


def rollback(models: ModelStore, alias: str = "champion") -> Any:
    return promotion.rollback(models, "churn", alias=alias, by="bob")


def champion(models: ModelStore) -> int | None:
    return models.alias_version("churn", "champion")


class CrashError(Exception):
    """Stands for the death of the process between two calls."""


@contextmanager
def crashing() -> Iterator[None]:
    """The move made in the block is written down, and then the process dies."""

    def dies(*_: object) -> None:
        raise CrashError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(CrashError):
        patch.setattr(MlflowClient, "set_registered_model_alias", dies)
        yield


def test_a_promotion_moves_the_alias_and_says_who_from_where_and_that_no_gate_was_passed(
    models: ModelStore,
) -> None:
    promote(models, 1)
    move = promote(models, 3)
    assert (move.version, move.previous, move.kind, move.by, move.gate) == (
        3,
        1,
        "promote",
        "ada",
        "none",
    )
    assert champion(models) == 3
    assert [entry.number for entry in models.promotions("churn", "champion")] == [1, 2]


def test_rollback_walks_the_history_back_again_and_again_and_stops_at_the_first(
    models: ModelStore,
) -> None:
    for version in (1, 2, 3):
        promote(models, version)
    assert [rollback(models).version, rollback(models).version] == [2, 1]
    with pytest.raises(
        UsageError, match="churn@champion only ever stood on churn/1; nothing to roll back"
    ):
        rollback(models)
    assert champion(models) == 1


def test_a_promotion_after_a_rollback_goes_on_from_there(models: ModelStore) -> None:
    promote(models, 1)
    promote(models, 2)
    rollback(models)
    promote(models, 3)
    assert rollback(models).version == 1


def test_a_rollback_can_be_rolled_forward_by_a_promotion(models: ModelStore) -> None:
    promote(models, 1)
    promote(models, 2)
    rollback(models)
    assert promote(models, 2).previous == 1


def test_each_alias_has_its_own_history(models: ModelStore) -> None:
    promote(models, 1)
    promote(models, 2, alias="challenger")
    promote(models, 3)
    assert rollback(models).version == 1
    assert models.alias_version("churn", "challenger") == 2
    with pytest.raises(UsageError, match="nothing to roll back"):
        rollback(models, alias="challenger")


def test_a_move_by_plain_mlflow_is_respected(models: ModelStore) -> None:
    promote(models, 1)
    models.client.set_registered_model_alias("churn", "champion", "4")
    assert promote(models, 2).previous == 4
    assert [rollback(models).version, rollback(models).version] == [4, 1]


def test_a_move_by_plain_mlflow_alone_can_be_rolled_back(models: ModelStore) -> None:
    promote(models, 1)
    models.client.set_registered_model_alias("churn", "champion", "4")
    assert rollback(models).version == 1


def test_an_alias_already_there_is_not_promoted_twice(models: ModelStore) -> None:
    promote(models, 1)
    with pytest.raises(UsageError, match="churn/1 is churn@champion already"):
        promote(models, 1)
    assert len(models.promotions("churn")) == 1


def test_an_alias_never_set_cannot_be_rolled_back(models: ModelStore) -> None:
    with pytest.raises(UsageError, match="churn@champion was never set"):
        rollback(models)


def test_a_version_that_does_not_exist_is_not_promoted(models: ModelStore) -> None:
    with pytest.raises(NotFoundError, match="has no version 9"):
        promote(models, 9)
    assert models.promotions("churn") == []


def test_a_crash_in_a_promotion_leaves_the_alias_and_can_be_repeated(models: ModelStore) -> None:
    promote(models, 1)
    with crashing():
        promote(models, 5)
    assert champion(models) == 1
    with pytest.raises(UsageError, match="only ever stood on churn/1"):
        rollback(models)
    promote(models, 5)
    assert rollback(models).version == 1


def test_a_version_that_a_crash_kept_from_the_alias_is_never_rolled_back_to(
    models: ModelStore,
) -> None:
    promote(models, 1)
    with crashing():
        promote(models, 5)
    promote(models, 4)
    assert rollback(models).version == 1


def test_a_crash_in_a_rollback_leaves_the_alias_and_can_be_repeated(models: ModelStore) -> None:
    promote(models, 1)
    promote(models, 2)
    with crashing():
        rollback(models)
    assert champion(models) == 2
    assert rollback(models).version == 1
