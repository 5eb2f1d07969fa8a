"""The embedded MLflow store: made at once, mended after a move.

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
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mlops_nb.backends.mlflow.inspection import StoreState, connect, explain, inspect_store
from mlops_nb.backends.mlflow.moving import ARTIFACTS, location_of, rewrite_paths
from mlops_nb.backends.mlflow.reach import check_answers
from mlops_nb.backends.mlflow.template import ensure_template
from mlops_nb.config import sqlite_path
from mlops_nb.errors import StoreError
from mlops_nb.files import file_errors, locked, sync

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.config import Settings

__all__ = ["ensure_store", "inspect_store", "repair_moved"]

SETTLING = 5.0  # seconds without a write after which a half-made database is given up


def ensure_store(settings: Settings) -> None:
    """Make the store behind `settings.tracking` usable, at once if it is missing.

    An SQLite registry of its own too. Raises StoreError, with the cure, for a store that MLflow
    could not use.
    """
    uri = settings.tracking
    check_answers(uri)
    if settings.embedded is not None:
        _accept(_ensure_database(settings, settings.embedded, "tracking"))
    elif uri.startswith("file:") or ("://" not in uri and not uri.startswith(("databricks", "uc"))):
        raise _file_store(Path(unquote(urlsplit(uri).path) if uri.startswith("file:") else uri))
    if (registry := _own_registry(settings)) is not None:
        _accept_registry(_ensure_database(settings, registry, "registry"))


def repair_moved(settings: Settings) -> int:
    """Rewrite the artifact paths of a moved folder, a transaction a database; the rows changed.

    Raises StoreError if a database has another problem or cannot be written.
    """
    if settings.embedded is None:
        return 0
    state = inspect_store(settings.embedded)
    if state.moved_from is None or state.moved_to is None:
        _accept(state)
        return 0
    states = [state]
    registry = _own_registry(settings)
    if registry is not None and (other := inspect_store(registry, setting="registry")).exists:
        _accept_registry(other)
        states.insert(0, other)  # the tracking database last: until then it says that it was moved
    return sum(_rewrite(each, state.moved_from, state.moved_to) for each in states)


def _rewrite(state: StoreState, old: Path, new: Path) -> int:
    with _making(state.path, state.setting), closing(connect(state.path, "rw")) as db:
        return rewrite_paths(db, old, new)


def _own_registry(settings: Settings) -> Path | None:
    """The SQLite file of a registry that is not the tracking store."""
    return sqlite_path(settings.registry) if settings.registry != settings.tracking else None


def _accept(state: StoreState) -> None:
    if state.problem:
        raise StoreError(state.problem, cure=state.cure)


def _accept_registry(state: StoreState) -> None:
    """A registry names artifacts of the tracking store: where it lies itself is no matter."""
    if state.moved_from is None:
        _accept(state)


# --- opening -------------------------------------------------------------------------------------


def _ensure_database(settings: Settings, path: Path, setting: str) -> StoreState:
    _refuse_unspeakable(settings, path, setting)
    state = _settled(path, setting)
    if state.exists:
        return state
    if setting == "tracking":  # runs of an old store beside it would be lost from sight
        _refuse_file_store(path.parent)
    inside = path.is_relative_to(settings.root)
    lock = settings.state / "store.lock" if inside else path.with_name(f"{path.name}.lock")
    with _making(path, setting), locked(lock):
        if not inspect_store(path, setting=setting).exists:
            _make(path, ensure_template(settings.state))
    return _settled(path, setting)


def _settled(path: Path, setting: str) -> StoreState:
    """The state, once a plain MLflow that sets the database up right now has finished or died."""
    while True:
        state = inspect_store(path, setting=setting)
        if not state.unfinished or time.time() - state.written > SETTLING:
            return state
        time.sleep(0.1)


def _refuse_unspeakable(settings: Settings, path: Path, setting: str) -> None:
    uri = settings.tracking if setting == "tracking" else settings.registry
    own = f"sqlite:///{settings.root}"
    odd = re.search(r"%[0-9A-Fa-f]{2}", uri) or ("?" in own and uri.startswith(own))
    if not path.name:
        raise StoreError(f"{uri!r} names no file", cure=f"set {setting} to sqlite:///mlflow.db")
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


# --- making --------------------------------------------------------------------------------------


def _make(path: Path, source: Path) -> None:
    """Put the template's content where no database is, or only an empty one."""
    location = location_of(path.parent / ARTIFACTS / "0")
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
        with closing(connect(aside, "rw")) as db:
            db.execute("PRAGMA journal_mode = MEMORY")
            _localise(db, location)
        sync(aside)
        for suffix in ("-journal", "-wal", "-shm"):  # of a database somebody removed: not of ours
            if not path.exists():
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        _publish(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    sync(path.parent)


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
    with closing(connect(source, "ro")) as finished, closing(connect(path, "rw")) as db:
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


@contextmanager
def _making(path: Path, setting: str) -> Iterator[None]:
    """Troubles of disk and database as one line."""
    elsewhere = f"set MLOPS_NB_{setting.upper()} to a store in a folder you may write to"
    try:
        with file_errors(path):
            yield
    except sqlite3.Error as error:
        if "full" in str(error):
            with file_errors(path):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        problem, cure = explain(path, error)
        raise StoreError(problem, cure=cure) from error
    except StoreError as error:
        raise StoreError(error.problem, cure=error.cure or elsewhere) from error
