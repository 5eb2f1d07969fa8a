"""Closing the runs of processes that died without a word, from what their journals say."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import UsageError
from mlops_nb.journal import orphans
from mlops_nb.runs import EXCEPTION, FAILED_CELL, PREFIX, ExecutedCell, executed_notebook

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mlops_nb.handles import Runs


def close_orphans(runs: Runs, journal_folder: Path, *, tracking: str) -> list[str]:
    """Close, as KILLED, the runs that dead processes of this host left open in this store.

    Gives their ids. Journals of other stores wait for their own.
    """
    closed = []
    for orphan in orphans(journal_folder):
        if orphan.records[0].get("tracking") != tracking:
            continue
        ended = {r["run_id"] for r in orphan.records if r["op"] == "close"}
        opened = [r["run_id"] for r in orphan.records if r["op"] == "open"]
        cells = _cells_of(orphan.records)
        for run_id in (run_id for run_id in opened if run_id not in ended):
            with suppress(UsageError):  # somebody has deleted the run since
                if runs.get(run_id).status != "RUNNING":
                    continue  # it had failed before the process died: that stays its cause
                _close_orphan(runs, run_id, cells, at=orphan.last_seen)
                closed.append(run_id)
        orphan.path.unlink(missing_ok=True)
    return closed


def _close_orphan(runs: Runs, run_id: str, cells: Sequence[ExecutedCell], *, at: float) -> None:
    tags = {EXCEPTION: "the process died", f"{PREFIX}cells": str(len(cells))}
    if cells:
        tags[FAILED_CELL] = cells[-1].label
        runs.log_text(run_id, executed_notebook(cells), "notebook/executed.ipynb")
    runs.set_tags(run_id, tags)
    runs.end(run_id, "KILLED", at=at)


def _cells_of(records: Sequence[Mapping[str, Any]]) -> list[ExecutedCell]:
    """The cells in the order they began, each as its last record says."""
    cells: dict[tuple[int, float], ExecutedCell] = {}
    for record in records:
        if record["op"] in ("cell-begin", "cell-end"):
            facts = {k: v for k, v in record.items() if k != "op"}
            cell = ExecutedCell(**{**facts, "tags": tuple(facts["tags"])})
            cells[cell.number, cell.started] = cell
    return list(cells.values())
