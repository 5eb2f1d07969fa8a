"""The template: a finished, empty database of the installed MLflow, built once per user."""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, suppress
from pathlib import Path

from mlops_nb.backends.mlflow.inspection import connect, installed_schema, installed_version
from mlops_nb.errors import StoreError
from mlops_nb.files import locked, sync

BUILD = 600.0  # seconds for MLflow to build the template
BUILDER = """
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
SqlAlchemyStore("sqlite:///store.db", "mlruns").engine.dispose()
"""


def ensure_template(fallback: Path) -> Path:
    """A finished, empty database of the installed MLflow; built by MLflow if there is none.

    It is kept in MLOPS_NB_CACHE, else in the user's cache folder, else in `fallback`.
    Raises StoreError where none of them can be written.
    """
    schema = installed_schema()
    name = f"mlflow-{installed_version()}-{schema.head}.db"
    folders = [*_cache_folders(), fallback / "cache"]
    for folder in folders:
        if _is_sound(folder / name, schema.head):
            return folder / name
    for folder in folders[:-1]:
        with suppress(StoreError):  # a home over its quota is no reason not to start here
            if _is_writable(folder):
                return _built(folder / name, schema.head)
    return _built(folders[-1] / name, schema.head)


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
            with closing(connect(file, "ro")) as db:
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
        sync(work / "store.db")
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
