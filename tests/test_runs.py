# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import nbformat
import pytest

from mlops_nb.runs import (
    EXCEPTION,
    FAILED_CELL,
    Comparison,
    ExecutedCell,
    Run,
    describe_exception,
    executed_notebook,
)

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def run(name: Any = "train-01", **facts: Any) -> Run:
    defaults = {
        "run_id": f"{name:0>32}",
        "experiment": "flights",
        "status": "FINISHED",
        "started": START,
    }
    return Run(name=name, **{**defaults, **facts})


FAILED = {EXCEPTION: "ValueError: no rows", FAILED_CELL: "3 (id ab12)"}


@pytest.mark.parametrize(
    ("status", "tags", "verdict"),
    [
        ("FINISHED", {}, "FINISHED"),
        ("FAILED", FAILED, "FAILED in cell 3 (id ab12): ValueError: no rows"),
        ("KILLED", {EXCEPTION: "the process died"}, "KILLED: the process died"),
        ("FINISHED", FAILED, "FINISHED"),
        ("RUNNING", FAILED, "RUNNING"),
    ],
)
def test_a_verdict_is_the_status_and_its_cause_if_it_ended_badly(
    status: Any, tags: Any, verdict: Any
) -> None:
    assert run(status=status, tags=tags).verdict == verdict


def test_a_run_shows_its_facts_metrics_and_params() -> None:
    shown = str(
        run(
            ended=START + timedelta(seconds=75),
            metrics={"auc": 0.91234},
            params={"depth": "3"},
            datasets=("flights@v1",),
            tags={"team": "north", "mlflow.user": "ada", "mlflow.note.content": "a try"},
        )
    )
    for words in (
        "train-01  FINISHED",
        "1 min 15 s",
        "0.9123",
        "depth",
        "flights@v1",
        "team=north",
        "a try",
    ):
        assert words in shown
    assert "mlflow.user" not in shown


def test_a_run_that_has_not_ended_has_no_duration() -> None:
    assert run(ended=None).duration is None
    assert "took" not in str(run(ended=None))


def test_a_comparison_names_the_best_and_the_params_that_differ() -> None:
    comparison = Comparison((
        run("a", metrics={"auc": 0.9, "log_loss": 3}, params={"depth": "3", "seed": "0", "C": "1"}),
        run("b", metrics={"auc": 0.8, "log_loss": 2}, params={"depth": "5", "seed": "0"}),
    ))  # fmt: skip
    assert comparison.best("auc") is comparison.runs["ab".index("a")]
    assert comparison.best("log_loss") is comparison.runs["ab".index("b")]
    assert comparison.differing_params == ("depth",)
    assert comparison.partial_params == ("C",)
    text = str(comparison)
    assert "0.9 *" in text and "2 *" in text
    assert text.splitlines()[-1].endswith("some have: C")
    assert "seed" not in text


def test_the_best_of_a_metric_is_never_nan_and_nobody_without_one() -> None:
    comparison = Comparison((run("a", metrics={"auc": math.nan}), run("b", metrics={"auc": 0.5})))
    assert comparison.best("auc") is comparison.runs["ab".index("b")]
    assert comparison.best("f1") is None
    assert Comparison((run("a", metrics={"auc": math.nan}),)).best("auc") is None


def test_training_metrics_come_last() -> None:
    metrics = {"training_score": 1.0, "auc": 0.9, "training_f1": 1.0, "zeta": 0.1}
    assert Comparison((run(metrics=metrics),)).metrics == (
        "auc",
        "zeta",
        "training_f1",
        "training_score",
    )


def test_an_empty_comparison_shows_nothing_wrong() -> None:
    assert Comparison(()).to_dict()["runs"] == []
    assert "0 runs" in str(Comparison(()))


def test_executed_cells_become_a_valid_notebook_in_the_order_they_ran() -> None:
    cells = [
        ExecutedCell(
            2, "a = 1\nprint(a)", cell_id="ab", tags=("parameters",), started=1.0, duration=0.5
        ),
        ExecutedCell(3, "1/0 # é", error="ZeroDivisionError: division by zero"),
    ]
    text = executed_notebook(cells)
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert [c.source for c in notebook.cells] == ["a = 1\nprint(a)", "1/0 # é"]
    assert [c.execution_count for c in notebook.cells] == [2, 3]
    assert notebook.cells[0].metadata.tags == ["parameters"]
    assert notebook.cells[0].metadata.mlops_nb.cell_id == "ab"
    assert notebook.cells[1].metadata.mlops_nb.error.startswith("ZeroDivisionError")
    assert "é" in text, "readable, not escaped"


def test_a_cell_is_named_by_number_and_id() -> None:
    assert ExecutedCell(3, "x").label == "3"
    assert ExecutedCell(3, "x", cell_id="ab12").label == "3 (id ab12)"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no rows\nbut many lines"), "ValueError: no rows"),
        (KeyError("x"), "KeyError: 'x'"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (ValueError("\x1b[31mred"), "ValueError: \\x1b[31mred"),
        (ValueError("x" * 1000), "ValueError: " + "x" * 488),
    ],
)
def test_an_exception_is_described_in_one_short_harmless_line(error: Any, text: str) -> None:
    assert describe_exception(error) == text


def test_a_run_is_json() -> None:
    record = json.loads(json.dumps(run(metrics={"loss": math.inf}).to_dict(), allow_nan=False))
    assert record["metrics"] == {"loss": "inf"}
    assert record["started"] == "2026-03-01T12:00:00+00:00"
