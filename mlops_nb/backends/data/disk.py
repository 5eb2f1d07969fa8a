"""Below the store: tmp/ and its locks, folders and links, JSON files, names and errors in words."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any

from mlops_nb.errors import StoreError
from mlops_nb.files import file_errors, sync, try_lock
from mlops_nb.tables import plain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ELSEWHERE = "choose another folder (data in mlops.toml)"


@contextmanager
def disk_errors(place: Path, outcome: str, *, elsewhere: str = ELSEWHERE) -> Iterator[None]:
    """What the operating system refuses, in our words; `elsewhere` cures missing permission."""
    with file_errors(place, outcome=outcome, cure="check the disk and try again"):
        try:
            yield
        except OSError as error:
            if error.errno == errno.EROFS:
                problem = f"{place} is read-only for you, {outcome}"
            elif error.errno in (errno.EACCES, errno.EPERM):
                problem = f"{error.filename or place} is not permitted to you, {outcome}"
            else:
                raise
            raise StoreError(problem, cure=elsewhere) from error


# Folders and links


def make_folder(folder: Path) -> None:
    """The folder and those above it, each confirmed by the disk."""
    missing = [f for f in (folder, *folder.parents) if not f.exists()]
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        sync(each.parent)


def children(folder: Path) -> list[Path]:
    """What is in a folder; nothing if there is none."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def link_new(path: Path, target: Path) -> bool:
    """Give a whole file its name, unless the name is taken: no reader sees half of it."""
    try:
        os.link(path, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP):
            raise
        raise StoreError(
            f"the file system of {target.parent} has no hard links, nothing was added",
            cure="set data in mlops.toml to a folder on another disk",
        ) from error
    return True


# tmp/


@contextmanager
def workplace(parent: Path) -> Iterator[Path]:
    """A folder of our own in tmp/, gone afterwards, and known to be alive meanwhile."""
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent)
    lock, stream = _new_lock(parent)
    folder = lock.with_suffix("")
    with stream:
        try:
            folder.mkdir()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):
                lock.unlink()


def _new_lock(parent: Path) -> tuple[Path, IO[bytes]]:
    while True:
        lock = parent / f"{secrets.token_hex(8)}.lock"
        stream = os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), "r+b")
        with suppress(OSError):  # a disk without locks: then nobody can sweep either
            try_lock(stream)
        if lock.exists():  # else another process swept it between creation and lock
            return lock, stream
        stream.close()


def _sweep(parent: Path) -> None:
    """Remove what killed processes left."""
    for lock in parent.glob("*.lock"):
        with suppress(OSError), lock.open("r+b") as stream:
            if try_lock(stream):
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink()


# JSON


def to_json(value: dict[str, Any]) -> bytes:
    """An object as it stands in a file of the store, UTF-8."""
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=1).encode() + b"\n"


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file of the store; StoreError if it holds none."""
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise damaged(path, line(error)) from error
    if not isinstance(value, dict):
        raise damaged(path, "it is no JSON object")
    return value


# Words


def damaged(path: Path, reason: str) -> StoreError:
    """The error to raise for a file of the store that says what it cannot say."""
    return StoreError(
        f"{path} is damaged ({reason})", cure="restore it from a backup, or move it away"
    )


def clean(text: object) -> str:
    """Text for JSON and for one line: line ends and undecodable bytes of names become escapes."""
    plain_text = str(text).encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in plain_text)


def line(error: Exception) -> str:
    """An error's text as one line of at most 160 characters."""
    return " ".join(str(error).split())[:160]
