from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from mlops_nb.errors import UsageError
from mlops_nb.references import (
    NAME,
    DataReference,
    ModelReference,
    RunReference,
    check_alias,
    check_name,
    direction_of,
    split_direction,
)

names = st.from_regex(NAME, fullmatch=True)
versions = st.integers(1, 999_999_999)
aliases = names.filter(lambda word: word != "latest" and not word.lstrip("v").isdigit())


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("flights", DataReference("flights")),
        ("flights@latest", DataReference("flights")),
        ("flights@v3", DataReference("flights", version=3)),
        ("flights:v3", DataReference("flights", version=3)),
        ("flights@prod", DataReference("flights", alias="prod")),
        ("data:flights@v3", DataReference("flights", version=3)),
        ("flights@v03", DataReference("flights", alias="v03")),
    ],
)
def test_a_dataset_is_named_by_version_alias_or_nothing(text: str, reference: Any) -> None:
    assert DataReference.parse(text) == reference


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("churn", ModelReference("churn")),
        ("churn/3", ModelReference("churn", version=3)),
        ("churn/v3", ModelReference("churn", version=3)),
        ("churn@champion", ModelReference("churn", alias="champion")),
        ("model:churn/3", ModelReference("churn", version=3)),
    ],
)
def test_a_model_is_named_by_version_alias_or_nothing(text: str, reference: Any) -> None:
    assert ModelReference.parse(text) == reference


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("last", RunReference("last", last=True)),
        ("run:last", RunReference("last", last=True)),
        ("best:auc", RunReference("best:auc", best="auc")),
        ("best:loss", RunReference("best:loss", best="loss", direction="min")),
        ("best:auc:min", RunReference("best:auc:min", best="auc", direction="min")),
        ("best:val:auc", RunReference("best:val:auc", best="val:auc")),
        ("train-07", RunReference("train-07")),
        ("run:3fa6", RunReference("3fa6")),
    ],
)
def test_a_run_is_named_by_id_name_last_or_best(text: str, reference: Any) -> None:
    assert RunReference.parse(text) == reference


@given(names, versions)
def test_what_a_dataset_version_prints_reads_back_as_the_same(name: Any, version: Any) -> None:
    reference = DataReference(name, version=version)
    assert DataReference.parse(str(reference)) == reference


@given(names, aliases)
def test_what_a_dataset_alias_prints_reads_back_as_the_same(name: Any, alias: Any) -> None:
    reference = DataReference(name, alias=alias)
    assert DataReference.parse(str(reference)) == reference


@given(names, versions, aliases)
def test_what_a_model_prints_reads_back_as_the_same(name: Any, version: Any, alias: Any) -> None:
    for reference in (
        ModelReference(name),
        ModelReference(name, version=version),
        ModelReference(name, alias=alias),
    ):
        assert ModelReference.parse(str(reference)) == reference


@given(st.text(max_size=30))
def test_any_text_is_a_reference_or_a_usage_error_in_one_line(text: str) -> None:
    for kind in (DataReference, ModelReference, RunReference):
        try:
            kind.parse(text)
        except UsageError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("alias", ["latest", "v1", "v27"])
def test_an_alias_that_means_a_version_already_is_refused(alias: Any) -> None:
    with pytest.raises(UsageError, match="already means a version; use a word"):
        check_alias(alias)


@pytest.mark.parametrize(
    "name", ["", "../up", "a b", "-x", ".hidden", "a/b", "a" * 101, "a\nb", "é"]
)
def test_a_name_that_could_not_be_a_file_is_refused(name: Any) -> None:
    with pytest.raises(UsageError, match="cannot name a dataset; use letters"):
        check_name(name, "dataset")


@pytest.mark.parametrize("text", ["churn/", "churn/0", "churn/-1", "churn/three", "churn/1/2"])
def test_a_model_version_that_is_no_number_is_refused_with_the_right_form(text: str) -> None:
    with pytest.raises(UsageError, match="a model version is a number; write churn/3"):
        ModelReference.parse(text)


@pytest.mark.parametrize("text", ["", "run:", "best:"])
def test_a_run_reference_without_a_word_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write"):
        RunReference.parse(text)


@pytest.mark.parametrize(
    ("metric", "direction"),
    [
        ("auc", "max"), ("accuracy_score", "max"), ("loss", "min"), ("val_loss", "min"),
        ("training_log_loss", "min"), ("RMSE", "min"), ("mean_squared_error", "min"),
        ("lossless_ratio", "max"), ("flossing", "max"),
    ],
)  # fmt: skip
def test_losses_and_errors_are_better_low_all_else_high(metric: Any, direction: Any) -> None:
    assert direction_of(metric) == direction
    assert split_direction(metric) == (metric, direction)
