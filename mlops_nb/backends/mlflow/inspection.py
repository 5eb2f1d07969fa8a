"""What is at a database path: nothing, a store MLflow can use, or a trouble and its cure.

Looked at by a few reads whatever the size, and without MLflow.
"""

from __future__ import annotations

import re
import shlex
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.backends.mlflow.moving import find_move
from mlops_nb.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 20.0  # seconds to wait for another writer, as MLflow does
TABLES = {"experiments", "runs", "metrics", "latest_metrics", "params", "tags", "experiment_tags"}
TABLES |= {"registered_models", "model_versions", "logged_models", "workspaces"}
FILLED = ("experiments", "registered_models")  # MLflow makes a registry without experiments


@dataclass(frozen=True)
class Schema:
    """The database schema of the installed MLflow: its newest revision and all that it knows."""

    head: str
    known: frozenset[str]


@dataclass(frozen=True)
class StoreState:
    """What is found at a database path; `problem` and `cure` are empty if MLflow can use it.

    `exists` is False also for a database without a table: there is nothing in it.
    `moved_from` and `moved_to` are the folders before and after, where artifact paths are stale.
    """

    path: Path
    exists: bool
    setting: str = "tracking"  # what names the path
    readable: bool = False
    revision: str = ""
    head: str = ""
    moved_from: Path | None = None
    moved_to: Path | None = None
    unfinished: bool = False
    written: float = 0.0  # when, if unfinished
    problem: str = ""
    cure: str = ""


def inspect_store(path: Path, *, setting: str = "tracking") -> StoreState:
    """What is at `path`, which `setting` names. Raises StoreError without MLflow."""
    absent = StoreState(path, exists=False, setting=setting)
    try:
        if not path.exists():
            return absent
        if not path.is_file():
            return replace(absent, exists=True, problem=f"{path} is not a file", cure=_rename(path))
        if path.stat().st_size == 0:
            return absent
        with _reading(path) as db:
            return _examined(absent, db)
    except sqlite3.Error as error:
        problem, cure = explain(path, error)
    except OSError as error:
        problem, cure = f"{path} cannot be read: {error.strerror}", "make it readable to you"
    return replace(absent, exists=True, problem=problem, cure=cure)


def installed_schema() -> Schema:
    """The schema of the installed MLflow, read from its files. Raises StoreError."""
    spec = util.find_spec("mlflow")
    if spec is None or not spec.submodule_search_locations:
        raise StoreError("MLflow is not installed here", cure="type pip install mlflow")
    folder = Path(next(iter(spec.submodule_search_locations)), "store/db_migrations/versions")
    known: set[str] = set()
    followed: set[str] = set()
    for file in sorted(folder.glob("*.py")):
        for down, value in re.findall(
            r"^(down_)?revision\b[^=\n]*=\s*(\([^)]*\)|.+)", file.read_text("utf-8"), re.MULTILINE
        ):
            (followed if down else known).update(re.findall(r"""["']([^"']+)["']""", value))
    heads = known - followed
    if len(heads) != 1:
        raise StoreError(
            f"{folder} does not say which database revision is the newest",
            cure="install MLflow anew: pip install --force-reinstall mlflow",
        )
    return Schema(heads.pop(), frozenset(known))


def installed_version() -> str:
    """The version of the installed MLflow."""
    return metadata.version("mlflow")


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection that begins no transactions by itself; `mode` is ro or rw."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None)


def explain(path: Path, error: sqlite3.Error) -> tuple[str, str]:
    """Problem and cure of a database error at `path`."""
    text = str(error)
    if "not a database" in text:
        return f"{path} is not a database", _rename(path)
    if "locked" in text:
        return f"{path} is locked by another process", "try again when that is done"
    if "readonly" in text or "unable to open" in text:
        return f"{path} cannot be opened: {text}", "make the file and its folder writable"
    return f"{path} is damaged: {text}", f"put a backup back, or {_rename(path)}"


def _examined(absent: StoreState, db: sqlite3.Connection) -> StoreState:
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return replace(absent, readable=True)
    schema = installed_schema()
    found = (
        db.execute("SELECT version_num FROM alembic_version") if "alembic_version" in tables else ()
    )
    revision = next((text for (text,) in found), "")
    state = replace(absent, exists=True, readable=True, revision=revision, head=schema.head)
    state = _judged(state, db, tables, schema)
    return state if state.problem else _located(state, db)


def _judged(
    state: StoreState, db: sqlite3.Connection, tables: set[str], schema: Schema
) -> StoreState:
    path, revision = state.path, state.revision
    made = f"{path} was made by an MLflow"
    (page,) = db.execute("PRAGMA page_size").fetchone()
    filled = any(_has_rows(db, table) for table in FILLED if table in tables)
    halfway = not revision or any(name.startswith("_alembic_tmp_") for name in tables)
    if path.stat().st_size % page:
        problem, cure = f"{path} is cut off in the middle of a page", _rename(path)
    elif "experiments" not in tables and tables - {"alembic_version"}:
        problem = f"{path} is a database, but not MLflow's"
        cure = f"set {state.setting} to another file"
    elif halfway and filled:
        problem = f"{path} is half migrated: an upgrade of it was interrupted"
        cure = f"put your backup back, or {_rename(path)}"
    elif halfway or (revision in schema.known and revision != schema.head and not filled):
        problem = f"{path} is half made: MLflow was stopped while it set it up"
        written = path.stat().st_mtime
        return replace(state, unfinished=True, written=written, problem=problem, cure=_rename(path))
    elif revision not in schema.known:
        problem = f"{made} newer than {installed_version()} (revision {revision})"
        cure = "type pip install --upgrade mlflow"
    elif revision != schema.head:
        problem = f"{made} older than {installed_version()} (revision {revision})"
        cure = f"copy the file, then type mlflow db upgrade {shlex.quote(f'sqlite:///{path}')}"
    elif missing := TABLES - tables:
        problem = f"{path} is damaged: no table {', '.join(sorted(missing))}"
        cure = _rename(path)
    else:
        return state
    return replace(state, problem=problem, cure=cure)


def _has_rows(db: sqlite3.Connection, table: str) -> bool:
    return db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None


def _located(state: StoreState, db: sqlite3.Connection) -> StoreState:
    """The state, told apart from one whose folder has moved away from its artifacts."""
    move = find_move(state.path.parent, db)
    if move is None:
        return state
    return replace(
        state,
        moved_from=move.old,
        moved_to=move.new,
        problem=f"{state.path} was moved from {move.base}, where its artifacts no longer are",
        cure="type mlops doctor --repair",
    )


def _rename(path: Path) -> str:
    return f"rename it to {path.name}.broken to start with a new one (mlops doctor says more)"


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection within one read transaction.

    The file is never opened but through SQLite: closing any other handle on it would drop the
    locks that an MLflow in this process holds.
    """
    db = connect(path, "ro")
    try:
        try:
            _begin(db)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (
                sqlite3.SQLITE_READONLY,
                sqlite3.SQLITE_CANTOPEN,
            ):
                raise
            db.close()
            db = connect(path, "rw")  # what a killed writer began is undone only by a writer
            _begin(db)
        yield db
    finally:
        db.close()


def _begin(db: sqlite3.Connection) -> None:
    db.execute("BEGIN")
    db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
