"""Artifact paths in the database: MLflow keeps them whole, so a moved folder leaves them stale."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    import sqlite3

ARTIFACTS = "mlruns"  # MLflow's own name
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


@dataclass(frozen=True)
class Move:
    """Paths below `old` are below `new` now; `base` is the folder that went away."""

    base: Path
    old: Path
    new: Path


def find_move(here: Path, db: sqlite3.Connection) -> Move | None:
    """How the database's folder came to be `here`, if the artifacts it names are gone."""
    row = db.execute("SELECT artifact_location FROM experiments WHERE experiment_id = 0").fetchone()
    old = _local_folder(row[0]) if row and row[0] else None
    if old is None or old == here / ARTIFACTS or not _is_gone(old):
        return None
    names = [
        folder.name
        for (location,) in db.execute("SELECT artifact_location FROM experiments")
        if (folder := Path(_path_of(location or ""))).parent == old
    ]
    depth, kept = _counterpart(old, here, names)
    base = old.parents[depth - 1]
    if _is_gone(base):  # the whole workspace went: everything it named below itself went along
        return Move(base, base, here)
    return Move(base, old, here.joinpath(*old.parts[-depth:])) if kept else None


def rewrite_paths(db: sqlite3.Connection, old: Path, new: Path) -> int:
    """Rewrite all paths and URIs at or below `old`, in one transaction; the rows changed."""
    db.execute("BEGIN IMMEDIATE")
    pairs = [(str(old), str(new)), (old.as_uri(), new.as_uri())]
    changed = sum(_rewrite(db, *pair) for pair in pairs)
    db.execute("COMMIT")
    return changed


def location_of(folder: Path) -> str:
    """An artifact folder as MLflow itself writes it: a plain path, a URI on Windows."""
    return folder.as_uri() if sys.platform == "win32" else str(folder)


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
