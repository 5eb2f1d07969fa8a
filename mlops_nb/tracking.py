"""The open runs of one process, from `track` to the end, whatever happens in between.

A *notebook run* is opened by `track` and lives across cells until `end`, the next `track`, a
second trained model, a repeated cell (see contributions.py), or the end of the process. A *scope*
(`%%mlops track`, `with mlops.track`) lives inside its block and is a child of the notebook run.
Where both are open, logs go to the innermost scope of their thread.

A cell that raises sets FAILED (interrupted: KILLED) in the store at once. If the same cell then
succeeds the run goes on; else it stays so. What happened is also appended to the journal, from
which the next process closes the runs of a dead one: see recovery.py.
"""

from __future__ import annotations

import contextvars
import os
import threading
from contextlib import nullcontext, suppress
from dataclasses import asdict
from traceback import format_exception
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import StoreError, UsageError
from mlops_nb.handles import OpenRun, failures_warned, is_clean_exit
from mlops_nb.journal import Journal
from mlops_nb.runs import (
    EXCEPTION,
    FAILED_CELL,
    NOTE,
    PREFIX,
    SOURCE,
    ExecutedCell,
    checked_metrics,
    describe_exception,
    executed_notebook,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from mlops_nb.datasets import DatasetVersion
    from mlops_nb.handles import Runs


class Tracker:
    """All that this process tracks. `describe` gives the tags of provenance for a new run."""

    def __init__(
        self,
        runs: Runs,
        *,
        tracking: str,
        journal_folder: Path,
        describe: Callable[[], Mapping[str, str]],
        cells: Callable[[], Sequence[ExecutedCell]] = tuple,
        upstream: Callable[[ExecutedCell], Sequence[ExecutedCell]] | None = None,
        attach: Callable[[], None] = lambda: None,
    ) -> None:
        self.runs = runs
        self.run: OpenRun | None = None  # the notebook run
        self._describe = describe
        self._cells = cells
        self._upstream = upstream  # the executed cells that one depends on
        self._attach = attach  # done once, before the first run opens
        self._tracking = tracking  # the store's URI, for whoever closes our runs if we die
        self._journal_folder = journal_folder
        self._journal: Journal | None = None
        self._pending: OpenRun | None = None  # asked for while another was open: see `track`
        self._scopes: list[OpenRun] = []
        self._scope = contextvars.ContextVar[OpenRun | None]("mlops_nb_scope", default=None)
        self._parameters: dict[str, str] = {}
        self._lock = threading.RLock()
        self._running: ExecutedCell | None = None
        self._pid = os.getpid()

    # -- opening ---------------------------------------------------------------------------

    def track(self, experiment: str, *, name: str, tags: Mapping[str, str]) -> OpenRun:
        """Open a run, at once if none is open.

        While one is open nobody can know yet whether `with` follows (then it becomes a child) or
        not (then it replaces the open one): the first use decides.
        """
        with self._lock:
            self._settle()
            run = OpenRun(self, experiment, name, tags)
            if self.current() is None:
                self.run = self._open(run)
            else:
                self._pending = run
            return run

    def settle(self) -> None:
        """No `with` will follow: what `track` gave is the notebook run from now on."""
        with self._lock:
            self._settle()

    def adopt(self, run_id: str) -> None:
        """Write to a run that a parent process opened and will end."""
        self.run = OpenRun(self, "", "", {}, run_id=run_id, is_own=False)
        self._attach()

    def enter_scope(self, run: OpenRun) -> None:
        with self._lock:
            if run is self.run:
                self.run = None  # opened a moment ago by `track`: it is a scope
            elif self._pending is run:
                self._pending = None
                self._open(run, parent=self.current())
            self._scopes.append(run)
        self._scope.set(run)

    def leave_scope(self, run: OpenRun, error: BaseException | None) -> None:
        with self._lock:
            with failures_warned("ending a run"):
                if error is not None and not is_clean_exit(error):
                    self._fail(run, error, cell=self._running_cell())
            self._scopes.remove(run)
            self._scope.set(self._scopes[-1] if self._scopes else None)
            with failures_warned("ending a run"):
                self._close(run)

    def current(self) -> OpenRun | None:
        """Where a log of this thread goes."""
        if os.getpid() != self._pid:
            return None  # a forked child has no part in our runs
        with self._lock:
            self._settle()
            scope = self._scope.get()
            if scope in self._scopes:
                return scope
            return self._scopes[-1] if self._scopes else self.run

    def require(self) -> OpenRun:
        run = self.current()
        if run is None:
            raise UsageError("no run is open here", cure="type %mlops track first")
        return run

    # -- logging ---------------------------------------------------------------------------

    def log(
        self, metrics: Mapping[str, float], *, step: int = 0, run: OpenRun | None = None
    ) -> None:
        values = checked_metrics(metrics)
        run = self.contribute({}) if run is None or run is self.run else run
        self.runs.log_metrics(run.run_id, values, step=step)

    def log_params(self, params: Mapping[str, Any], *, run: OpenRun | None = None) -> None:
        """Params of a run are written once; another value for one opens the notebook's next run.

        In a scope, which is never split, it is refused by name.
        """
        run = self.contribute(params) if run is None or run is self.run else run
        texts = {key: str(value) for key, value in params.items()}
        if key := run.conflict(texts):
            raise UsageError(
                f"param {key} of {run.name} is {run.params[key]!r}, not {texts[key]!r}",
                cure="open another scope for it: with mlops.track(…)",
            )
        self._put_params(run, texts)

    def contribute(self, params: Mapping[str, Any]) -> OpenRun:
        """The run for what the running cell is about to log, params among it perhaps.

        The notebook's next run is opened first if the cell gave to the open one in an earlier
        execution, or if a param has another value there. Raises UsageError if no run is open.
        """
        with self._lock:
            run = self.require()
            if run is not self.run:
                return run
            texts = {key: str(value) for key, value in params.items()}
            if texts and run.fits:  # autologging has given it params of its own
                run.params |= self.runs.get(run.run_id).params
            if run.given.is_repeated(self._cell) or run.conflict(texts):
                run = self._open_next(run, relation="rerun_of")
            run.given.of(self._cell).params.update(texts)
            run.params.update(texts)
            return run

    def log_input(self, dataset: DatasetVersion, *, context: str = "training") -> None:
        """A dataset version is an input of the open run, if there is one."""
        if self.current() is None:
            return
        run = self.contribute({})
        self.runs.log_input(run.run_id, dataset, context=context)
        run.given.of(self._cell).inputs.append((dataset, context))

    def note(self, text: str) -> None:
        self.runs.set_tags(self.require().run_id, {NOTE: text})

    def tag(self, tags: Mapping[str, str]) -> None:
        self.runs.set_tags(self.require().run_id, tags)

    def current_run_id(self) -> str | None:
        run = self.current()
        if self._journal is not None:
            self._journal.touch()
        return run.run_id if run else None

    def fit_run_id(self, *, predictor: bool) -> str | None:
        """The run that autologging writes to: a second trained model opens a sibling."""
        with self._lock:
            run = self.current()
            if run is None or not predictor:
                return run.run_id if run else None
            run = self.contribute({})
            if run is self.run and run.fits:
                run = self._open_next(run, relation="sibling_of")
            run.fits += 1
            run.given.of(self._cell).fitted = True
            return run.run_id

    # -- what the process says -------------------------------------------------------------

    def cell_started(self, cell: ExecutedCell) -> None:
        self._running = cell
        self._write({"op": "cell-begin", **asdict(cell)})

    def cell_ended(self, cell: ExecutedCell, error: BaseException | None, traceback: str) -> None:
        """A cell is over: note it, and what its end means for the notebook run."""
        with self._lock:
            self._settle()
            self._running = None
            self._write({"op": "cell-end", **asdict(cell)})
            run = self.run
            if run is None:
                return
            if (
                error is not None
                and "raises-exception" not in cell.tags
                and not is_clean_exit(error)
            ):
                run.failed_in = cell.key
                # The cell has just said that the store is gone: once is enough.
                with suppress(StoreError) if isinstance(error, StoreError) else nullcontext():
                    self._fail(run, error, cell=cell.label, traceback=traceback)
            elif error is None and run.failed_in == cell.key:
                run.failed_in, run.status = None, "FINISHED"
                self.runs.reopen(run.run_id)

    def process_failed(self, error: BaseException) -> None:
        """An exception ends the process: its runs have failed."""
        with self._lock, failures_warned("noting the failure"):
            for run in [*self._scopes, *([self.run] if self.run else [])]:
                self._fail(run, error, cell=None, traceback="".join(format_exception(error)))

    def guard(self, what: str) -> AbstractContextManager[None]:
        return failures_warned(what)

    def set_parameters(self, parameters: Mapping[str, Any]) -> None:
        """The notebook's parameters, known once their cells have run: params of all its runs."""
        self._parameters = {key: str(value) for key, value in parameters.items()}
        if self.run is not None:
            if self.run.conflict(self._parameters):
                self._open_next(self.run, relation="rerun_of")  # begins with the new ones
            else:
                self._put_params(self.run, self._parameters)

    # -- ending ----------------------------------------------------------------------------

    def end(self, run: OpenRun | None = None) -> str:
        """Close the notebook run (or `run`) and give its id."""
        with self._lock:
            self._settle()
            run = run or self.run
            if run is None:
                raise UsageError("no run is open here", cure="type %mlops track to open one")
            self._close(run)
            return run.run_id

    def shut_down(self) -> None:
        """The process ends in good order: so do its runs.

        What cannot be ended now keeps its journal, for the next process to end it.
        """
        if os.getpid() != self._pid:
            return
        with self._lock, failures_warned("ending the runs"):
            self._settle()
            for run in [*reversed(self._scopes), *([self.run] if self.run else [])]:
                self._close(run)
            if self._journal is not None:
                self._journal.close()
                self._journal = None

    # -- inside ----------------------------------------------------------------------------

    def _open(
        self, run: OpenRun, *, parent: OpenRun | None = None, link: Mapping[str, str] | None = None
    ) -> OpenRun:
        self._attach()
        tags = {**self._describe(), **run.tags, **(link or {})}
        if parent is not None:
            tags["mlflow.parentRunId"] = parent.run_id
        run.run_id, run.name = self.runs.create(run.experiment, run.name, tags)
        run.is_located = SOURCE in tags
        self._write({"op": "open", "run_id": run.run_id})
        if parent is None and self._parameters:
            self._put_params(run, self._parameters)
        return run

    def _open_next(self, run: OpenRun, *, relation: str) -> OpenRun:
        """The notebook's next run: same parameters and data, linked to the one it follows."""
        self._close(run)
        following = OpenRun(self, run.experiment, run.next_name, run.tags)
        self.run = self._open(following, link={f"{PREFIX}{relation}": run.run_id})
        self._carry(run, following, same_pass=relation == "sibling_of")
        return following

    def _carry(self, run: OpenRun, following: OpenRun, *, same_pass: bool) -> None:
        """What the cells above gave holds for the next run too; tagged as not its own."""
        cells = self._upstream(self._cell) if self._cell and self._upstream else None
        carried = run.given.carried(self._cell, cells, same_pass=same_pass)
        params = {k: v for k, v in carried.params.items() if k not in following.params}
        if carried.fitted:  # autologging's params are not among ours
            logged = self.runs.get(run.run_id).params
            own = {key for given in run.given.of_all() for key in given.params} | {
                *self._parameters
            }
            params |= {k: v for k, v in logged.items() if k not in own}
        self._put_params(following, params)
        for dataset, context in carried.inputs:
            self.runs.log_input(following.run_id, dataset, context=context)
        names = dict.fromkeys([*params, *(dataset.reference for dataset, _ in carried.inputs)])
        if names:
            self.runs.set_tags(following.run_id, {f"{PREFIX}carried": ", ".join(names)})

    def _settle(self) -> None:
        """A `track` that no `with` followed takes the place of the open notebook run."""
        run, self._pending = self._pending, None
        if run is None:
            return
        earlier = self.run
        if earlier is not None and earlier.is_as_good_as(run):
            run.run_id, run.name, run.params = earlier.run_id, earlier.name, earlier.params
            run.is_located, self.run = earlier.is_located, run
            return
        link = {f"{PREFIX}rerun_of": earlier.run_id} if earlier else {}
        if earlier is not None:
            self._close(earlier)
        self.run = self._open(run, link=link)

    def _fail(
        self, run: OpenRun, error: BaseException, *, cell: str | None, traceback: str = ""
    ) -> None:
        run.status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        tags = {EXCEPTION: describe_exception(error)}
        if cell is not None:
            tags[FAILED_CELL] = cell
        self.runs.set_tags(run.run_id, tags)
        self.runs.end(run.run_id, run.status)
        if traceback:
            self.runs.log_text(run.run_id, traceback, "traceback.txt")
        self._store_cells(run)

    def _close(self, run: OpenRun) -> None:
        if run is self.run:
            self.run = None
        self._store_cells(run)
        if run.is_own:
            self.runs.end(run.run_id, run.status)
        self._write({"op": "close", "run_id": run.run_id})

    def _store_cells(self, run: OpenRun) -> None:
        cells = self._cells()
        if not cells:
            return
        tags = {f"{PREFIX}cells": str(len(cells))}
        if not run.is_located and (source := self._describe().get(SOURCE)):
            tags[SOURCE] = source  # which notebook it is became clear by more of its cells
        self.runs.log_text(run.run_id, executed_notebook(cells), "notebook/executed.ipynb")
        self.runs.set_tags(run.run_id, tags)

    @property
    def _cell(self) -> ExecutedCell | None:
        """The running cell; a thread may be of any, so its logs never split a run."""
        return self._running if threading.current_thread() is threading.main_thread() else None

    def _put_params(self, run: OpenRun, params: Mapping[str, str]) -> None:
        if params:
            self.runs.log_params(run.run_id, params)
            run.params.update(params)

    def _running_cell(self) -> str | None:
        cells = self._cells()
        return cells[-1].label if cells and cells[-1].duration is None else None

    def _write(self, record: Mapping[str, Any]) -> None:
        """To the journal, which begins with the first run."""
        if self._journal is None:
            if record["op"] != "open":
                return
            self._journal = Journal(self._journal_folder, tracking=self._tracking)
            for cell in self._cells():
                self._journal.append({"op": "cell-begin", **asdict(cell)})
        self._journal.append(record)
