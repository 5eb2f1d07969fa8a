"""The embedded MLflow store: looked at cheaply, made at once, mended after a move.

MLflow builds its tables by 60-odd migrations, for seconds, and a second process or a kill in the
middle breaks the file for good. Here that happens once per user and MLflow version, in a process
of its own, on a file nobody waits in: the template. A fresh folder gets a finished copy of it,

    lock -> copy aside -> write the folder's artifact location into it -> sync -> link in place

and an empty database file gets the same tables in one transaction. Nothing here imports MLflow.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mlops_nb.errors import StoreError
from mlops_nb.files import file_errors, locked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.config import Settings

PATIENCE = 20.0  # seconds to wait for another writer, as MLflow does
SETTLING = 5.0  # seconds without a write after which a half-made database is given up
REACH = 2.0  # seconds for a tracking server to answer
BUILD = 600.0  # seconds for MLflow to build the template
ELSEWHERE = "set MLOPS_NB_TRACKING to a store in a folder you may write to"
ARTIFACTS = "mlruns"  # MLflow's own name
TABLES = {"experiments", "runs", "metrics", "latest_metrics", "params", "tags", "experiment_tags"}
TABLES |= {"registered_models", "model_versions", "logged_models", "workspaces"}
LOCATIONS = (  # (table, column, condition): where MLflow keeps absolute artifact paths
    ("experiments", "artifact_location", "1"),
    ("runs", "artifact_uri", "1"),
    ("logged_models", "artifact_location", "1"),
    ("model_versions", "source", "1"),
    ("model_versions", "storage_location", "1"),
    ("trace_tags", "value", "key = 'mlflow.artifactLocation'"),
    ("workspaces", "default_artifact_root", "1"),
    ("workspaces", "trace_archival_location", "1"),
)
BUILDER = """
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
SqlAlchemyStore("sqlite:///store.db", "mlruns").engine.dispose()
"""


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
    readable: bool = False
    revision: str = ""
    head: str = ""
    moved_from: Path | None = None
    moved_to: Path | None = None
    unfinished: bool = False
    written: float = 0.0  # when, if unfinished
    problem: str = ""
    cure: str = ""


def ensure_store(settings: Settings) -> None:
    """Make the store behind `settings.tracking` usable, at once if it is missing.

    Raises StoreError, with the cure, for a store that MLflow could not use.
    """
    uri = settings.tracking
    if settings.embedded is not None:
        _ensure_database(settings, settings.embedded)
    elif uri.startswith(("http://", "https://")):
        _check_server(uri)
    elif uri.startswith("file:") or ("://" not in uri and not uri.startswith(("databricks", "uc"))):
        raise _file_store(Path(unquote(urlsplit(uri).path) if uri.startswith("file:") else uri))


def inspect_store(path: Path) -> StoreState:
    """What is at `path`, by a few reads whatever its size. Raises StoreError without MLflow."""
    absent = StoreState(path, exists=False)
    try:
        if not path.exists():
            return absent
        if not path.is_file():
            return replace(absent, exists=True, problem=f"{path} is not a file", cure=_rename(path))
        if path.stat().st_size == 0:
            return absent
        with _reading(path) as db:
            return _examined(path, db)
    except sqlite3.Error as error:
        problem, cure = _explained(path, error)
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


def template(fallback: Path) -> Path:
    """A finished, empty database of the installed MLflow; built by MLflow if there is none.

    It is kept in MLOPS_NB_CACHE, else in the user's cache folder, else in `fallback`.
    Raises StoreError where none of them can be written.
    """
    schema = installed_schema()
    name = f"mlflow-{_version()}-{schema.head}.db"
    folders = [*_cache_folders(), fallback / "cache"]
    for folder in folders:
        if _is_sound(folder / name, schema.head):
            return folder / name
    for folder in folders[:-1]:
        with suppress(StoreError):  # a home over its quota is no reason not to start here
            if _is_writable(folder):
                return _built(folder / name, schema.head)
    return _built(folders[-1] / name, schema.head)


def repair_moved(settings: Settings) -> int:
    """Rewrite the artifact paths of a moved folder, in one transaction; the rows changed.

    Raises StoreError if the database has another problem or cannot be written.
    """
    if settings.embedded is None:
        return 0
    state = inspect_store(settings.embedded)
    if state.moved_from is None or state.moved_to is None:
        _accept(state)
        return 0
    with _making(state.path), closing(_connect(state.path, "rw")) as db:
        db.execute("BEGIN IMMEDIATE")
        pairs = [(str(state.moved_from), str(state.moved_to))]
        pairs.append((state.moved_from.as_uri(), state.moved_to.as_uri()))
        changed = sum(_rewrite(db, old, new) for old, new in pairs)
        db.execute("COMMIT")
    return changed


# --- opening -------------------------------------------------------------------------------------


def _ensure_database(settings: Settings, path: Path) -> None:
    _refuse_unspeakable(settings)
    state = _settled(path)
    if not state.exists:
        _refuse_file_store(path.parent)
        inside = path.is_relative_to(settings.root)
        lock = settings.state / "store.lock" if inside else path.with_name(f"{path.name}.lock")
        with _making(path), locked(lock):
            if not inspect_store(path).exists:
                _make(path, template(settings.state))
        state = _settled(path)
    _accept(state)


def _accept(state: StoreState) -> None:
    if state.problem:
        raise StoreError(state.problem, cure=state.cure)


def _settled(path: Path) -> StoreState:
    """The state, once a plain MLflow that sets the database up right now has finished or died."""
    while True:
        state = inspect_store(path)
        if not state.unfinished or time.time() - state.written > SETTLING:
            return state
        time.sleep(0.1)


def _refuse_unspeakable(settings: Settings) -> None:
    uri = settings.tracking
    own = f"sqlite:///{settings.root}"
    odd = re.search(r"%[0-9A-Fa-f]{2}", uri) or ("?" in own and uri.startswith(own))
    if settings.embedded is None or not settings.embedded.name:
        raise StoreError(f"{uri!r} names no file", cure="set tracking to sqlite:///mlflow.db")
    if odd:
        raise StoreError(
            f"MLflow cannot open {uri!r}: '?' and '%' with two digits mean something else in it",
            cure="rename the folder, or write the path without them",
        )


def _refuse_file_store(folder: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        for entry in (folder / ARTIFACTS).iterdir():
            if entry.name.isdigit() and (entry / "meta.yaml").exists():
                raise _file_store(folder / ARTIFACTS)


def _file_store(folder: Path) -> StoreError:
    folder = folder.absolute()
    source = folder.parent if folder.name == ARTIFACTS else folder
    target = f"sqlite:///{source / 'mlflow.db'}"
    return StoreError(
        f"{folder} is an old MLflow file store",
        cure=f"type mlflow migrate-filestore --source {shlex.quote(str(source))} "
        f"--target {shlex.quote(target)}",
    )


def _check_server(uri: str) -> None:
    """A connection attempt, unless a proxy stands between, which only MLflow's client can use."""
    import socket

    if any(os.environ.get(name) for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")) or any(
        os.environ.get(name) for name in ("http_proxy", "https_proxy", "all_proxy")
    ):
        return
    parts = urlsplit(uri)
    host = parts.hostname or ""
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((host, port), timeout=REACH).close()
    except (OSError, ValueError):
        shown = parts.netloc.rpartition("@")[2]  # without a password
        raise StoreError(
            f"tracking server {parts.scheme}://{shown} does not answer",
            cure="start it, or unset MLFLOW_TRACKING_URI to work in the folder",
        ) from None


# --- looking -------------------------------------------------------------------------------------


def _examined(path: Path, db: sqlite3.Connection) -> StoreState:
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return StoreState(path, exists=False, readable=True)
    schema = installed_schema()
    found = (
        db.execute("SELECT version_num FROM alembic_version") if "alembic_version" in tables else ()
    )
    revision = next((text for (text,) in found), "")
    state = StoreState(path, exists=True, readable=True, revision=revision, head=schema.head)
    state = _judged(state, db, tables, schema)
    return state if state.problem else _located(state, db)


def _judged(
    state: StoreState, db: sqlite3.Connection, tables: set[str], schema: Schema
) -> StoreState:
    path, revision = state.path, state.revision
    (page,) = db.execute("PRAGMA page_size").fetchone()
    filled = "experiments" in tables and db.execute("SELECT 1 FROM experiments LIMIT 1").fetchone()
    halfway = not revision or any(name.startswith("_alembic_tmp_") for name in tables)
    if path.stat().st_size % page:
        problem, cure = f"{path} is cut off in the middle of a page", _rename(path)
    elif "experiments" not in tables and tables - {"alembic_version"}:
        problem, cure = f"{path} is a database, but not MLflow's", "set tracking to another file"
    elif halfway and filled:
        problem = f"{path} is half migrated: an upgrade of it was interrupted"
        cure = f"put your backup back, or {_rename(path)}"
    elif halfway or (revision in schema.known and revision != schema.head and not filled):
        problem = f"{path} is half made: MLflow was stopped while it set it up"
        written = path.stat().st_mtime
        return replace(state, unfinished=True, written=written, problem=problem, cure=_rename(path))
    elif revision not in schema.known:
        problem = f"{path} was made by an MLflow newer than {_version()} (revision {revision})"
        cure = "type pip install --upgrade mlflow"
    elif revision != schema.head:
        problem = f"{path} was made by an MLflow older than {_version()} (revision {revision})"
        cure = f"copy the file, then type mlflow db upgrade {shlex.quote(f'sqlite:///{path}')}"
    elif missing := TABLES - tables:
        problem = f"{path} is damaged: no table {', '.join(sorted(missing))}"
        cure = _rename(path)
    else:
        return state
    return replace(state, problem=problem, cure=cure)


def _located(state: StoreState, db: sqlite3.Connection) -> StoreState:
    """The state, with `moved_from` if the artifacts it names are gone and the folder has moved."""
    row = db.execute("SELECT artifact_location FROM experiments WHERE experiment_id = 0").fetchone()
    old = _local_folder(row[0]) if row and row[0] else None
    here = state.path.parent
    if old is None or old == here / ARTIFACTS or not _is_gone(old):
        return state
    names = [
        folder.name
        for (location,) in db.execute("SELECT artifact_location FROM experiments")
        if (folder := Path(_path_of(location or ""))).parent == old
    ]
    depth, kept = _counterpart(old, here, names)
    base = old.parents[depth - 1]
    if _is_gone(base):  # the whole workspace went: everything it named below itself went along
        old, new = base, here
    elif kept:
        new = here.joinpath(*old.parts[-depth:])
    else:
        return state
    return replace(
        state,
        moved_from=old,
        moved_to=new,
        problem=f"{state.path} was moved from {base}, where its artifacts no longer are",
        cure="type mlops doctor --repair",
    )


def _counterpart(old: Path, here: Path, names: list[str]) -> tuple[int, int]:
    """How many last parts of `old` lie below `here` now, and how many of `names` are there."""
    found = [
        sum(here.joinpath(*old.parts[-depth:], name).exists() for name in names)
        for depth in range(1, len(old.parts))
    ]
    return found.index(max(found)) + 1, max(found)


def _local_folder(location: str) -> Path | None:
    """The `…/mlruns` of the Default experiment's location, None if it lies elsewhere."""
    path = Path(_path_of(location))
    if not path.is_absolute() or path.parts[-2:] != (ARTIFACTS, "0"):
        return None
    return path.parent


def _path_of(location: str) -> str:
    if not location.startswith("file:"):
        return location
    path = unquote(urlsplit(location).path)
    return path.lstrip("/") if sys.platform == "win32" else path


def _is_gone(folder: Path) -> bool:
    """Whether it is certain that there is no such folder (one we may not look into counts not)."""
    try:
        folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _explained(path: Path, error: sqlite3.Error) -> tuple[str, str]:
    text = str(error)
    if "not a database" in text:
        return f"{path} is not a database", _rename(path)
    if "locked" in text:
        return f"{path} is locked by another process", "try again when that is done"
    if "readonly" in text or "unable to open" in text:
        return f"{path} cannot be opened: {text}", "make the file and its folder writable"
    return f"{path} is damaged: {text}", f"put a backup back, or {_rename(path)}"


def _rename(path: Path) -> str:
    return f"rename it to {path.name}.broken to start with a new one (mlops doctor says more)"


# --- making --------------------------------------------------------------------------------------


def _make(path: Path, source: Path) -> None:
    """Put the template's content where no database is, or only an empty one."""
    location = _location(path.parent / ARTIFACTS / "0")
    path.parent.mkdir(parents=True, exist_ok=True)
    real = path.resolve()
    for left in real.parent.glob(f".{glob.escape(real.name)}.new-*"):
        left.unlink(missing_ok=True)
    if real.exists():
        _fill(real, source, location)
    else:
        _place(real, source, location)


def _place(path: Path, source: Path, location: str) -> None:
    aside = path.with_name(f".{path.name}.new-{os.urandom(6).hex()}")
    try:
        shutil.copyfile(source, aside)
        with closing(_connect(aside, "rw")) as db:
            db.execute("PRAGMA journal_mode = MEMORY")
            _localise(db, location)
        _sync(aside)
        for suffix in ("-journal", "-wal", "-shm"):  # of a database somebody removed: not of ours
            if not path.exists():
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        _publish(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    _sync(path.parent)


def _publish(aside: Path, path: Path) -> None:
    """Give the finished file its name, unless a plain MLflow has made one since."""
    try:
        os.link(aside, path)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        aside.replace(path)  # a file system without links


def _fill(path: Path, source: Path, location: str) -> None:
    """All tables in one transaction: whoever has the empty file open sees none or all of them."""
    with closing(_connect(source, "ro")) as finished, closing(_connect(path, "rw")) as db:
        db.execute("BEGIN EXCLUSIVE")
        if db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            return
        for statement in finished.iterdump():
            if statement not in ("BEGIN TRANSACTION;", "COMMIT;"):
                db.execute(statement)
        _localise(db, location)
        db.execute("COMMIT")


def _localise(db: sqlite3.Connection, location: str) -> None:
    now = int(time.time() * 1000)
    db.execute(
        "UPDATE experiments SET artifact_location = ?, creation_time = ?, last_update_time = ?"
        " WHERE experiment_id = 0",
        (location, now, now),
    )


def _location(folder: Path) -> str:
    """An artifact folder as MLflow itself writes it: a plain path, a URI on Windows."""
    return folder.as_uri() if sys.platform == "win32" else str(folder)


def _rewrite(db: sqlite3.Connection, old: str, new: str) -> int:
    changed = 0
    for table, column, condition in LOCATIONS:
        columns = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
        if column in columns:
            changed += db.execute(
                f"UPDATE {table} SET {column} = :new || substr({column}, length(:old) + 1)"
                f" WHERE ({column} = :old OR substr({column}, 1, length(:old) + 1) = :old || '/')"
                f" AND {condition}",
                {"old": old, "new": new},
            ).rowcount
    return changed


# --- the template --------------------------------------------------------------------------------


def _version() -> str:
    return metadata.version("mlflow")


def _cache_folders() -> list[Path]:
    if chosen := os.environ.get("MLOPS_NB_CACHE"):
        return [Path(chosen).absolute()]
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return [Path(cache).absolute() / "mlops_nb"]
    with suppress(RuntimeError):  # a container's user may have no home
        return [Path.home() / ".cache" / "mlops_nb"]
    return []


def _is_writable(folder: Path) -> bool:
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    return False


def _is_sound(file: Path, head: str) -> bool:
    with suppress(sqlite3.Error, OSError):
        if file.is_file():
            with closing(_connect(file, "ro")) as db:
                found = db.execute("SELECT version_num FROM alembic_version").fetchall()
                experiments = db.execute("SELECT experiment_id FROM experiments").fetchall()
                health = db.execute("PRAGMA integrity_check").fetchall()
            return found == [(head,)] and experiments == [(0,)] and health == [("ok",)]
    return False


def _built(file: Path, head: str) -> Path:
    with locked(file.with_name("template.lock")):
        if not _is_sound(file, head):
            _build(file, head)
    return file


def _build(file: Path, head: str) -> None:
    for left in file.parent.glob("building-*"):
        shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix="building-", dir=file.parent))
    try:
        said = _run_mlflow(work)
        if not _is_sound(work / "store.db", head):
            raise StoreError(
                f"MLflow could not make a database: {said}",
                cure=f"type {shlex.quote(sys.executable)} -m mlflow doctor",
            )
        _sync(work / "store.db")
        (work / "store.db").replace(file)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _run_mlflow(work: Path) -> str:
    """Let MLflow set up `store.db` in `work`, with no settings of the user's; its last words."""
    environ = {k: v for k, v in os.environ.items() if not k.lstrip("_").startswith("MLFLOW")}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", BUILDER],
            cwd=work,
            env=environ | {"TMPDIR": str(work)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=BUILD,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it took more than {BUILD:.0f} s"
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


# --- SQLite and the disk -------------------------------------------------------------------------


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None)


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection within one read transaction.

    The file is never opened but through SQLite: closing any other handle on it would drop the
    locks that an MLflow in this process holds.
    """
    db = _connect(path, "ro")
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
            db = _connect(path, "rw")  # what a killed writer began is undone only by a writer
            _begin(db)
        yield db
    finally:
        db.close()


def _begin(db: sqlite3.Connection) -> None:
    db.execute("BEGIN")
    db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()


def _sync(path: Path) -> None:
    """Have a file, or a folder's list of files, on the disk (Windows cannot open a folder)."""
    if sys.platform == "win32" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _making(path: Path) -> Iterator[None]:
    """Troubles of disk and database as one line."""
    try:
        with file_errors(path):
            yield
    except sqlite3.Error as error:
        if "full" in str(error):
            with file_errors(path):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        problem, cure = _explained(path, error)
        raise StoreError(problem, cure=cure) from error
    except StoreError as error:
        raise StoreError(error.problem, cure=error.cure or ELSEWHERE) from error
