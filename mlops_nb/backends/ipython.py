"""The shell we live in: which cells it executes, which notebook it belongs to."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
import time
import traceback
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mlops_nb.errors import MlopsError, UsageError
from mlops_nb.names import names_of
from mlops_nb.notebooks import Notebook, python_of
from mlops_nb.runs import ExecutedCell
from mlops_nb.slices import upstream

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager

    from mlops_nb.names import Names

ATTRIBUTE = "_mlops_nb"
SEARCHES = 20  # cells after which a notebook without evidence stays unknown
INJECTED = "# Parameters"  # papermill's first line of the cell it injects


class Listener(Protocol):
    """Who wants to hear of cells: see tracking.Tracker."""

    def cell_started(self, cell: ExecutedCell) -> None: ...
    def cell_ended(
        self, cell: ExecutedCell, error: BaseException | None, traceback: str
    ) -> None: ...
    def set_parameters(self, parameters: Mapping[str, Any]) -> None: ...
    def guard(self, what: str) -> AbstractContextManager[None]: ...


class Shell:
    """One IPython shell: its executed cells, its notebook, its variables."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.cells: list[ExecutedCell] = []
        self._listener: Listener | None = None
        self._path: Path | None = None
        self._parameter_names: set[str] = set()
        self._before_loading()
        shell.events.register("pre_run_cell", self._pre_run_cell)
        shell.events.register("post_run_cell", self._post_run_cell)

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of cells from now on; its own troubles never fail a cell."""
        self._listener = listener
        self._publish_parameters()

    def upstream(self, cell: ExecutedCell) -> list[ExecutedCell]:
        """The executed cells that `cell`, the newest, takes its names from."""
        pieces = [_names(each.source) for each in self.cells]
        target = next(
            i for i in reversed(range(len(pieces))) if self.cells[i].number == cell.number
        )
        return [kept(self.cells[position]) for position in sorted(upstream(pieces, target))]

    def execute_body(self, source: str) -> Any:
        """Run a cell's body in the notebook's namespace; the value of a last expression.

        As `%%time` does it: through `run_cell` an error would not stop *Run All*.
        """
        __tracebackhide__ = True
        tree = ast.parse(self.shell.transform_cell(source))
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        name = self.shell.compile.cache(source, self.shell.execution_count, raw_code=source)
        try:
            body = self.shell.compile(tree, name, "exec")
            value = last and self.shell.compile(ast.Expression(last.value), name, "eval")
        except SyntaxError as error:
            raise _explained(error) from None
        exec(body, self.namespace)
        return eval(value, self.namespace) if value else None

    @property
    def namespace(self) -> dict[str, Any]:
        return self.shell.user_ns  # type: ignore[no-any-return]

    @property
    def notebook_path(self) -> Path | None:
        """The notebook's file, or None: found by evidence, never guessed."""
        if self._path is None and len(self.cells) <= SEARCHES:
            self._path = self._find_path()
        return self._path

    @cached_property
    def life(self) -> str:
        """Which of the three lives this is: interactive, step or ci."""
        if life := os.environ.get("MLOPS_NB_LIFE"):
            return life
        if os.environ.get("CI"):
            return "ci"
        hosted = "JPY_SESSION_NAME" in os.environ or "__vsc_ipynb_file__" in self.namespace
        terminal = type(self.shell).__name__ == "TerminalInteractiveShell"
        return "interactive" if hosted or terminal else "step"

    # -- events ----------------------------------------------------------------------------

    def _pre_run_cell(self, info: Any) -> None:
        if info.silent or not info.raw_cell.strip():
            return
        source = info.raw_cell
        if not self._is_parameters(source):
            self._publish_parameters()
        cell = ExecutedCell(
            number=len(self._history) or self.shell.execution_count,
            source=source,
            cell_id=info.cell_id or self._request_metadata().get("cellId"),
            tags=self._tags_of(source),
            started=time.time(),
        )
        self.cells.append(cell)
        if self._listener is not None:
            with self._listener.guard("noting a cell"):
                self._listener.cell_started(kept(cell))

    def _post_run_cell(self, result: Any) -> None:
        if not self.cells or self.cells[-1].duration is not None:
            return
        error = result.error_before_exec or result.error_in_exec
        cell = replace(
            self.cells[-1],
            number=result.execution_count or self.cells[-1].number,
            duration=time.time() - self.cells[-1].started,
            error=f"{type(error).__name__}: {error}"[:2000] if error is not None else None,
        )
        self.cells[-1] = cell
        if error is None:
            self._remember_parameters(cell)
        if self._listener is not None:
            with self._listener.guard("noting a cell"):
                self._listener.cell_ended(kept(cell), error, _formatted(error))

    def _before_loading(self) -> None:
        """The cell that loads us began before we could hear of it."""
        if len(self._history) > 1 and self._history[-1].strip():
            self.cells.append(
                ExecutedCell(
                    number=len(self._history) - 1,
                    source=self._history[-1],
                    cell_id=self._request_metadata().get("cellId"),
                    started=time.time(),
                )
            )

    @property
    def _history(self) -> list[str]:
        """The sources by execution count, of which there is none 0."""
        manager = getattr(self.shell, "history_manager", None)
        return manager.input_hist_raw if manager is not None else []

    def _request_metadata(self) -> Mapping[str, Any]:
        """What the front end said of the cell; JupyterLab says its id, papermill nothing."""
        kernel = getattr(self.shell, "kernel", None)
        if kernel is None:
            return {}
        return kernel.get_parent().get("metadata") or {}

    # -- parameters ------------------------------------------------------------------------

    def _is_parameters(self, source: str) -> bool:
        return source.startswith(INJECTED) or "parameters" in self._tags_of(source)

    def _remember_parameters(self, cell: ExecutedCell) -> None:
        if self._is_parameters(cell.source):
            defined = names_of(python_of(cell.source)).defined
            self._parameter_names |= {name for name in defined if not name.startswith("_")}

    def _publish_parameters(self) -> None:
        """Once the cells that set them have all run (an injected one follows the defaults)."""
        if not self._parameter_names or self._listener is None:
            return
        values = {
            n: self.namespace[n] for n in sorted(self._parameter_names) if n in self.namespace
        }
        self._parameter_names = set()
        with self._listener.guard("noting the parameters"):
            self._listener.set_parameters({k: v for k, v in values.items() if _is_plain(v)})

    # -- the notebook's file ---------------------------------------------------------------

    def _tags_of(self, source: str) -> tuple[str, ...]:
        """The tags of the saved cell with this source."""
        if source.startswith(INJECTED):
            return ("injected-parameters",)
        return self._saved_tags.get(source.strip(), ())

    @property
    def _saved_tags(self) -> Mapping[str, tuple[str, ...]]:
        path = self.notebook_path
        return _tags_by_source(path, path.stat().st_mtime_ns) if path and path.is_file() else {}

    def _find_path(self) -> Path | None:
        named = (
            os.environ.get("MLOPS_NB_NOTEBOOK"),
            os.environ.get("JPY_SESSION_NAME"),
            self.namespace.get("__vsc_ipynb_file__"),
            _path_of_parent(),
        )
        for name in named:
            if name and name.endswith(".ipynb") and Path(name).is_file():
                return Path(name).resolve()
        return self._path_by_sources()

    def _path_by_sources(self) -> Path | None:
        """The only notebook of this folder that has all executed cells."""
        sources = {c.source.strip() for c in self.cells if not c.source.startswith(INJECTED)}
        if not sources or type(self.shell).__name__ == "TerminalInteractiveShell":
            return None
        matches = [path for path in sorted(Path.cwd().glob("*.ipynb")) if _has_all(path, sources)]
        return matches[0].resolve() if len(matches) == 1 else None


def attached_shell() -> Shell | None:
    """The running IPython shell with us attached; IPython is not imported to be asked."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None:
        return None
    if not hasattr(shell, ATTRIBUTE):
        setattr(shell, ATTRIBUTE, Shell(shell))
    return getattr(shell, ATTRIBUTE)  # type: ignore[no-any-return]


@lru_cache(maxsize=1000)
def _names(source: str) -> Names | None:
    try:
        return names_of(python_of(source))
    except (SyntaxError, RecursionError):
        return None


def kept(cell: ExecutedCell) -> ExecutedCell:
    """The cell as it may leave this process: without secrets."""
    return replace(
        cell, source=_redacted(cell.source), error=_redacted(cell.error) if cell.error else None
    )


@lru_cache(maxsize=1000)
def _redacted(text: str) -> str:
    from mlops_nb.redaction import redact_text

    return redact_text(text)


def _path_of_parent() -> str | None:
    """The first existing notebook on the command line of the process that started us."""
    try:
        line = Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode().split("\0")
        folder = Path(f"/proc/{os.getppid()}/cwd").resolve()
    except (OSError, UnicodeDecodeError):
        return None
    words = (folder / word for word in line if word.endswith(".ipynb"))
    return next((str(path) for path in words if path.is_file()), None)


@lru_cache(maxsize=4)
def _tags_by_source(path: Path, mtime_ns: int) -> Mapping[str, tuple[str, ...]]:
    notebook = _read(path)
    cells = notebook.cells if notebook else ()
    return {cell.source.strip(): tuple(sorted(cell.tags)) for cell in cells if cell.tags}


def _read(path: Path) -> Notebook | None:
    try:
        return Notebook.read(path)
    except MlopsError:
        return None


def _has_all(path: Path, sources: Iterable[str]) -> bool:
    notebook = _read(path)
    if notebook is None:
        return False
    return set(sources) <= {cell.source.strip() for cell in notebook.code_cells}


def _is_plain(value: Any) -> bool:
    """What a parameter can be; a frame or a function that the cell made is none."""
    if isinstance(value, (str, int, float, bool)) or value is None:
        return True
    try:
        json.dumps(value, default=str)
    except (TypeError, ValueError):
        return False
    return isinstance(value, (list, tuple, dict)) or type(value).__module__ in (
        "datetime",
        "pathlib",
        "numpy",
    )


def _explained(error: SyntaxError) -> Exception:
    """IPython runs a cell with a top-level `await` in its own loop, which a body has not."""
    if not re.match(r"'?(await|async)\w*\b.* outside ", str(error.msg)):
        return error
    return UsageError(
        "a tracked cell cannot await", cure="write with mlops.track(…): in a plain cell instead"
    )


def _formatted(error: BaseException | None) -> str:
    if error is None:
        return ""
    return "".join(traceback.format_exception(error))
