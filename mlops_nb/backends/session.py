"""The process that mlops_nb was called in: a notebook, a script or a terminal."""

from __future__ import annotations

import atexit
import getpass
import os
import platform
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mlops_nb.backends import git
from mlops_nb.backends.ipython import Listener, Shell, attached_shell, kept
from mlops_nb.runs import PREFIX, ExecutedCell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from mlops_nb.config import Settings

TRACKING = "MLFLOW_TRACKING_URI"


class Tracker(Listener, Protocol):
    """What attaches to a process: see tracking.Tracker."""

    def current_run_id(self) -> str | None: ...
    def fit_run_id(self, *, predictor: bool) -> str | None: ...
    def contribute(self, params: Mapping[str, Any]) -> object: ...
    def process_failed(self, error: BaseException) -> None: ...
    def guard(self, what: str) -> AbstractContextManager[None]: ...
    def shut_down(self) -> None: ...


class Session:
    """Facts about the process, and its one attached tracker."""

    in_terminal = False  # the `mlops` command: neither a notebook nor a script of the user's

    def __init__(self) -> None:
        self._tracker: Tracker | None = None
        self._redirection: Any = None
        self._offered: str | None = None  # what we put into MLFLOW_TRACKING_URI
        self._given: str | None = None  # what stood there before
        self._excepthook: Any = None  # sys.excepthook as it was

    @staticmethod
    @cache
    def current() -> Session:
        return Session()

    @property
    def shell(self) -> Shell | None:
        return attached_shell()

    @property
    def notebook(self) -> Path | None:
        return self.shell.notebook_path if self.shell else None

    @property
    def source(self) -> Path | None:
        """The notebook or the script that runs here."""
        if self.notebook is not None:
            return self.notebook
        main = getattr(sys.modules.get("__main__"), "__file__", None)
        if main is None or self.shell is not None or self.in_terminal:
            return None
        return Path(main).resolve()

    @property
    def folder(self) -> Path:
        return self.notebook.parent if self.notebook else Path.cwd()

    @property
    def stem(self) -> str | None:
        """The name of the notebook or script; of a package run by `-m`, the package's."""
        if self.source is None:
            return None
        return self.source.parent.name if self.source.stem == "__main__" else self.source.stem

    @property
    def environ(self) -> dict[str, str]:
        """The environment as others set it, without the store that we put there."""
        environ = dict(os.environ)
        if self._offered and environ.get(TRACKING) == self._offered:
            del environ[TRACKING]
            environ |= {TRACKING: self._given} if self._given else {}
        return environ

    @property
    def mine(self) -> dict[str, str]:
        """The tags of my runs; in a notebook, of this notebook."""
        tags = {"mlflow.user": getpass.getuser()}
        if self.notebook is not None:
            tags["mlflow.source.name"] = str(self.notebook)
        return tags

    def describe(self) -> dict[str, str]:
        """The provenance of a run that opens here, as MLflow's own tags and ours."""
        tags = {
            "mlflow.user": getpass.getuser(),
            "mlflow.source.type": "NOTEBOOK" if self.shell else "LOCAL",
            f"{PREFIX}life": self.shell.life if self.shell else "script",
            f"{PREFIX}host": platform.node(),
            f"{PREFIX}python": platform.python_version(),
        }
        if self.source is not None:
            tags["mlflow.source.name"] = str(self.source)
        if step := os.environ.get("MLOPS_NB_STEP"):
            tags[f"{PREFIX}step"] = step
        return tags | git.provenance(self.folder)

    def upstream(self, cell: ExecutedCell) -> Sequence[ExecutedCell]:
        return self.shell.upstream(cell) if self.shell else ()

    def cells(self) -> Sequence[ExecutedCell]:
        """The executed cells, as they may be kept."""
        return [kept(cell) for cell in self.shell.cells] if self.shell else ()

    def offer_store(self, settings: Settings) -> None:
        """Let plain MLflow calls, from any folder, meet the workspace's store."""
        uri = settings.tracking
        if TRACKING not in os.environ:
            os.environ[TRACKING] = self._offered = uri

    def attach(self, tracker: Tracker, settings: Settings) -> None:
        """Hear of cells, MLflow calls and the end of the process for `tracker`; once."""
        if self._tracker is tracker:
            return
        self.detach()
        from mlops_nb.backends.mlflow.fluent import Redirection, forget_run, start_autologging

        os.environ.pop("MLFLOW_RUN_ID", None)  # a worker that inherits it would end our run
        forget_run(os.environ.get("MLOPS_NB_RUN_ID"))
        given = self.environ.get(TRACKING)
        start_autologging(settings.tracking, settings.registry)
        if os.environ.get(TRACKING) != given:  # MLflow writes there what it is told
            self._offered, self._given = os.environ.get(TRACKING), given
        self._tracker, self._redirection = tracker, Redirection(tracker)
        self._redirection.install()
        atexit.register(tracker.shut_down)
        if self.shell is not None:
            self.shell.listen(tracker)
        else:
            self._watch_exceptions()

    def detach(self) -> None:
        """Close what is open and leave the process as it was."""
        if self._tracker is None:
            return
        self._tracker.shut_down()
        atexit.unregister(self._tracker.shut_down)
        self._redirection.uninstall()
        if self._excepthook is not None:
            sys.excepthook, self._excepthook = self._excepthook, None
        self._tracker = self._redirection = None

    def _watch_exceptions(self) -> None:
        """A script that ends by an exception has failed; its atexit could not know."""
        self._excepthook = before = sys.excepthook

        def hook(
            kind: type[BaseException], error: BaseException, traceback: TracebackType | None
        ) -> None:
            if self._tracker is not None:
                self._tracker.process_failed(error)
            before(kind, error, traceback)

        sys.excepthook = hook
