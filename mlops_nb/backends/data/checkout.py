"""Checkout: a version's files written to where somebody wants them, every byte verified."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.backends.data.disk import clean, disk_errors
from mlops_nb.backends.data.objects import BLOCK, Entry, is_whole, new_hash, open_object
from mlops_nb.errors import StoreError, UsageError
from mlops_nb.files import created, write_all

if TYPE_CHECKING:
    from mlops_nb.datasets import DatasetVersion, Kind

ELSEWHERE = "choose another place with --to"


def check_out(
    store: Path,
    version: DatasetVersion,
    entries: tuple[Entry, ...],
    to: Path | None,
    *,
    overwrite: bool,
) -> Path:
    """Write the entries aside, then rename; returns where they are. See DatasetStore.checkout."""
    target = _target(version, entries, to)
    if os.path.lexists(target):
        if _matches(target, version.kind, entries):
            return target
        _check_replaceable(target, version, store, overwrite=overwrite)
    with disk_errors(target, "nothing was replaced", elsewhere=ELSEWHERE):
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.parent / f".{target.name[:80]}.{secrets.token_hex(4)}"
        try:
            _write_out(store, version, entries, aside)
            _swap(aside, target)
        finally:
            _remove(aside)
    return target


def _target(version: DatasetVersion, entries: tuple[Entry, ...], to: Path | None) -> Path:
    if version.kind == "folder":
        return Path(to if to is not None else version.name)
    to = Path() if to is None else Path(to)
    return to / entries[0].path if to.is_dir() else to


def _check_replaceable(
    target: Path, version: DatasetVersion, store: Path, *, overwrite: bool
) -> None:
    inside = (Path.cwd().resolve(), store.resolve())
    if target.is_dir() and any(path.is_relative_to(target.resolve()) for path in inside):
        raise UsageError(
            f"{clean(target)} holds the current folder or the dataset store", cure=ELSEWHERE
        )
    if not overwrite and not _is_empty_folder(target):
        raise UsageError(
            f"{clean(target)} is there already and is not {version.reference}",
            cure=f"add --overwrite to replace it, or {ELSEWHERE}",
        )


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _matches(target: Path, kind: Kind, entries: tuple[Entry, ...]) -> bool:
    """Whether the target is this content already; links never are."""
    if target.is_symlink() or target.is_dir() != (kind == "folder"):
        return False
    if kind != "folder":
        return target.is_file() and is_whole(target, entries[0])
    found = {f.relative_to(target).as_posix(): f for f in target.rglob("*")}
    if any(f.is_symlink() or not (f.is_dir() or f.is_file()) for f in found.values()):
        return False
    files = {path for path, f in found.items() if f.is_file()}
    empty = {f"{path}/" for path, f in found.items() if f.is_dir() and not any(f.iterdir())}
    if files | empty != {entry.path for entry in entries}:
        return False
    return all(e.is_folder or is_whole(found[e.path], e) for e in entries)


def _write_out(
    store: Path, version: DatasetVersion, entries: tuple[Entry, ...], aside: Path
) -> None:
    if version.kind == "folder":
        aside.mkdir()
    for entry in entries:
        path = aside / entry.path if version.kind == "folder" else aside
        if entry.is_folder:
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_file(store, version, entry, path)


def _write_file(store: Path, version: DatasetVersion, entry: Entry, path: Path) -> None:
    with open_object(store, version, entry) as handle, created(path) as descriptor:
        seen = new_hash()
        for block in iter(lambda: handle.read(BLOCK), b""):
            seen.update(block)
            write_all(descriptor, block)
        if seen.hexdigest() != entry.blake2b:
            raise StoreError(
                f"{version.reference}: {clean(entry.path)} changed while being read",
                cure="try again when nothing writes to the store",
            )
        os.fsync(descriptor)


def _swap(aside: Path, target: Path) -> None:
    """Rename into place; a folder that is there steps aside first, and back if that fails."""
    is_there, is_link = os.path.lexists(target), target.is_symlink()
    if not is_there or is_link or not (aside.is_dir() or target.is_dir()):
        if is_link and aside.is_dir():
            target.unlink()
        aside.replace(target)
        return
    old = aside.with_name(f"{aside.name}.old")
    target.replace(old)
    try:
        aside.replace(target)
    except OSError:
        old.replace(target)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
