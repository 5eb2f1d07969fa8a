"""A folder, its settings, its stores; every verb of the product as a short method."""

from __future__ import annotations

import getpass
import os
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb import checking, execution, handles, promotion, recovery, tracking
from mlops_nb.backends.data import DatasetStore
from mlops_nb.backends.mlflow import store
from mlops_nb.backends.mlflow.models import ModelStore
from mlops_nb.backends.mlflow.runs import RunStore
from mlops_nb.backends.session import Session
from mlops_nb.config import Settings, find_root, read_settings
from mlops_nb.errors import MlopsError, NotFoundError, StoreError, UsageError
from mlops_nb.files import write_atomically
from mlops_nb.health import Ailment, Diagnosis, Status
from mlops_nb.models import ModelList
from mlops_nb.notebooks import Notebook
from mlops_nb.references import DataReference, ModelReference, RunReference, check_alias, check_name
from mlops_nb.runs import Comparison, Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from mlops_nb.backends.mlflow.frames import RunsFrame
    from mlops_nb.checking import Report
    from mlops_nb.datasets import Added, DatasetList, DatasetVersion
    from mlops_nb.handles import OpenRun
    from mlops_nb.models import ModelVersion, Promotion
    from mlops_nb.steps import StepResult
    from mlops_nb.tracking import Tracker

IGNORED = (b"mlflow.db", b"mlruns/", b".mlops/")


class Workspace:
    """One folder. Nothing is read, written or imported before a verb needs it."""

    def __init__(self, settings: Settings, session: Session) -> None:
        self.settings = settings
        self.session = session

    @classmethod
    def find(cls, start: Path | None = None, *, env: str | None = None) -> Workspace:
        """The workspace of a folder (default: of the notebook, else the current folder)."""
        session = Session.current()
        root = find_root(start or session.folder)
        return cls(read_settings(root, env=env, environ=session.environ), session)

    @property
    def root(self) -> Path:
        return self.settings.root

    @property
    def runs(self) -> RunStore:
        """The run store, with the runs of dead processes closed; that costs a look at a folder."""
        with handles.failures_warned("closing the runs of dead processes"):
            self._close_orphans()
        return self._runs

    @cached_property
    def _runs(self) -> RunStore:
        self._write_ignores()
        return RunStore(self.settings)

    @cached_property
    def models(self) -> ModelStore:
        return ModelStore(self._runs)

    @cached_property
    def datasets(self) -> DatasetStore:
        if self.settings.data.is_relative_to(self.settings.state):
            self._write_ignores()
        return DatasetStore(self.settings.data)

    @cached_property
    def tracker(self) -> Tracker:
        tracker = tracking.Tracker(
            self._runs,
            tracking=self.settings.tracking,
            journal_folder=self._journal_folder,
            describe=self.session.describe,
            cells=self.session.cells,
            upstream=self.session.upstream,
            attach=lambda: self.session.attach(tracker, self.settings),
        )
        if run_id := os.environ.get("MLOPS_NB_RUN_ID"):
            tracker.adopt(run_id)
        return tracker

    # -- tracking --------------------------------------------------------------------------

    def track(
        self,
        experiment: str | None = None,
        *,
        name: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> OpenRun:
        """Open a run; see tracking.Tracker.track for what happens while one is open."""
        stem = self.session.stem or "run"
        return self.tracker.track(
            experiment or self.experiment, name=name or f"{stem}-*", tags=dict(tags or {})
        )

    def end(self) -> Run:
        return self.runs.get(self.tracker.end())

    def log(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        self.tracker.log(metrics, step=step)

    def log_params(self, params: Mapping[str, Any]) -> None:
        self.tracker.log_params(params)

    def note(self, text: str) -> None:
        self.tracker.note(text)

    def tag(self, tags: Mapping[str, str]) -> None:
        self.tracker.tag(tags)

    @property
    def experiment(self) -> str:
        """Where runs go unless told otherwise."""
        return self.settings.experiment or self.session.stem or self.root.name or "default"

    # -- runs ------------------------------------------------------------------------------

    def search_runs(
        self,
        query: str = "",
        *,
        order_by: Sequence[str] = (),
        last: int = 1000,
        experiment: str | None = None,
    ) -> RunsFrame:
        from mlops_nb.backends.mlflow.frames import RunsFrame

        found = self.runs.search(query, order_by=order_by, limit=last, experiment=experiment)
        return RunsFrame.of_runs(found)

    def run(self, reference: str) -> Run:
        """The run a reference means; `last` is mine, in this notebook where there is one."""
        return self.runs.find(RunReference.parse(reference), mine=self.session.mine)

    def compare(self, *references: str, last: int = 0, best: str | None = None) -> Comparison:
        """The runs named, or the newest `last`, or the five best by a metric."""
        if references:
            return Comparison(tuple(self.run(reference) for reference in references))
        if best is not None:
            return Comparison(tuple(self.runs.best(best, limit=last or 5)))
        found = tuple(self.runs.search(limit=last or 5))
        if not found:
            raise NotFoundError(
                "there is no run to compare", cure="type %mlops track in a notebook"
            )
        return Comparison(found)

    # -- data ------------------------------------------------------------------------------

    def add_data(self, source: Any, name: str, *, message: str = "", label: str = "") -> Added:
        """A new version of `name` from a path or a frame; the present one if nothing changed."""
        run = self.open_run
        source = Path(source) if isinstance(source, str) else source
        added = self.datasets.add(
            source, name, message=message, run_id=run.run_id if run else None, source_label=label
        )
        if run is not None:
            self.tracker.log_input(added.version, context="output")
        return added

    def load_data(self, reference: str) -> pd.DataFrame:
        """The version's rows as a DataFrame; an input of the open run."""
        version = self.datasets.get(DataReference.parse(reference))
        frame = self.datasets.load(DataReference(version.name, version=version.version))
        if self.open_run is not None:
            self.tracker.log_input(version, context="training")
        return frame

    def list_data(self, name: str | None = None) -> DatasetList:
        return self.datasets.listing(name)

    def dataset(self, reference: str) -> DatasetVersion:
        return self.datasets.get(DataReference.parse(reference))

    def checkout_data(
        self, reference: str, to: Path | None = None, *, overwrite: bool = False
    ) -> Path:
        return self.datasets.checkout(DataReference.parse(reference), to, overwrite=overwrite)

    # -- models ----------------------------------------------------------------------------

    def register_model(
        self, name: str, run: str = "last", *, model: str | None = None
    ) -> ModelVersion:
        """A version of `name` from the model of a run."""
        return self.models.register(check_name(name, "model"), self.run(run), model=model)

    def list_models(self, name: str | None = None) -> ModelList:
        return ModelList(tuple(self.models.versions(name)))

    def model(self, reference: str) -> ModelVersion:
        return self.models.get(ModelReference.parse(reference))

    def promote(self, reference: str, *, to: str) -> Promotion:
        return promotion.promote(
            self.models, ModelReference.parse(reference), alias=check_alias(to), by=_user()
        )

    def rollback(self, name: str, *, alias: str = "champion") -> Promotion:
        return promotion.rollback(
            self.models, ModelReference.parse(name).name, alias=check_alias(alias), by=_user()
        )

    # -- notebooks -------------------------------------------------------------------------

    def run_notebook(
        self,
        notebook: Path | str,
        output: Path | str | None = None,
        *,
        parameters: Mapping[str, Any] | None = None,
        progress: bool = False,
    ) -> StepResult:
        """Run a notebook in a fresh kernel; how it ended is in the result."""
        from mlops_nb.backends.papermill import execute

        book = Notebook.read(Path(notebook).resolve())
        store.ensure_store(self.settings)  # a broken store is said before the kernel starts
        return execution.run_step(
            book,
            Path(output) if output else None,
            parameters={**self._default_parameters(book), **(parameters or {})},
            execute=execute,
            runs=self.runs,
            close_orphans=self._close_orphans,
            experiment=self.settings.experiment or Path(notebook).stem,
            folder=self.settings.state / "runs",
            environment=self._kernel_environment(),
            progress=progress,
        )

    def check(self, notebook: Path | str | None = None) -> Report:
        path = Path(notebook) if notebook else self.session.notebook
        if path is None:
            raise UsageError("no notebook named", cure="type mlops check NOTEBOOK.ipynb")
        return checking.check_notebook(Notebook.read(path))

    # -- the house -------------------------------------------------------------------------

    def status(self) -> Status:
        run = self.open_run
        runs = self.runs.search(limit=3) if self.has_store() else []
        return Status(
            workspace=self.root,
            env=self.settings.env,
            tracking=self.settings.tracking,
            experiment=self.experiment,
            open_run=run.name if run else None,
            last_runs=tuple((r.name, r.status) for r in runs),
            next="%mlops end, %mlops show last"
            if run
            else "%mlops track"
            if not runs
            else "%mlops runs",
        )

    def doctor(self, *, repair: bool = False) -> Diagnosis:
        """What is wrong with this workspace; with `repair`, mended where it can be."""
        found = [*self._moved(repair=repair)]
        try:
            store.ensure_store(self.settings)
            dead = self._close_orphans()
            found += [
                Ailment(f"run {r} of a dead process was left open", "", mended=True) for r in dead
            ]
        except MlopsError as error:
            if not found:
                found.append(Ailment(error.problem, error.cure))
        return Diagnosis(self.root, tuple(found))

    # -- inside ----------------------------------------------------------------------------

    def _moved(self, *, repair: bool) -> Iterator[Ailment]:
        """A workspace that was moved: MLflow keeps artifact paths whole."""
        if self.settings.embedded is None:
            return
        state = store.inspect_store(self.settings.embedded)
        if state.moved_from is not None:
            rows = store.repair_moved(self.settings) if repair else 0
            done = f"; {rows} paths rewritten" if repair else ""
            yield Ailment(f"{state.problem}{done}", state.cure, mended=repair)

    def _close_orphans(self) -> list[str]:
        return recovery.close_orphans(
            self._runs, self._journal_folder, tracking=self.settings.tracking
        )

    @property
    def _journal_folder(self) -> Path:
        return self.settings.state / "journal"

    @property
    def open_run(self) -> OpenRun | None:
        """The open run, without opening a store to find that there is none."""
        if "tracker" not in self.__dict__ and "MLOPS_NB_RUN_ID" not in os.environ:
            return None
        return self.tracker.current()

    def has_store(self) -> bool:
        embedded = self.settings.embedded
        return embedded is None or embedded.exists()

    def _default_parameters(self, notebook: Notebook) -> dict[str, Any]:
        """The environment's parameters, as far as this notebook declares them."""
        declared = execution.schema_of(notebook).parameters
        return {k: v for k, v in self.settings.params.items() if k in declared}

    def _kernel_environment(self) -> dict[str, str]:
        return {
            "MLFLOW_TRACKING_URI": self.settings.tracking,
            "MLFLOW_REGISTRY_URI": self.settings.registry,
            "MLOPS_NB_ENV": self.settings.env or "",
            "MLOPS_NB_LIFE": "ci" if os.environ.get("CI") else "step",
        }

    def _write_ignores(self) -> None:
        """Keep stores out of git; lines of the user's stay as they are."""
        path = self.root / ".gitignore"
        with suppress(StoreError):  # a folder that cannot be written says so where it matters
            present = path.read_bytes() if path.is_file() else b""
            missing = [line for line in IGNORED if line not in present.splitlines()]
            if missing:
                start = present if present.endswith(b"\n") or not present else present + b"\n"
                write_atomically(path, start + b"\n".join(missing) + b"\n")


def _user() -> str:
    return getpass.getuser()
