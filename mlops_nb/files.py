"""Writing files so that a crash leaves the old or the new one; locks that die with their owner."""

from __future__ import annotations

import errno
import os
import secrets
import sys
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING

from mlops_nb.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

if sys.platform == "win32":  # it has no flock; its byte locks do the same
    import msvcrt
else:
    import fcntl

CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def write_atomically(path: Path, data: str | bytes, *, aside: Path | None = None) -> None:
    """Replace `path` by `data`: written aside, synced, renamed. Raises StoreError.

    `aside` is a folder on the same disk where a kill may leave a part; default: that of `path`.
    """
    content = data.encode() if isinstance(data, str) else data
    with file_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = (aside or path.parent) / f".{path.name[:80]}.{secrets.token_hex(8)}.tmp"
        try:
            write_new(part, content)
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise


def write_new(path: Path, data: bytes) -> None:
    """Write a file that must not be there yet, and sync it."""
    with created(path) as descriptor:
        write_all(descriptor, data)
        os.fsync(descriptor)


@contextmanager
def created(path: Path) -> Iterator[int]:
    """The descriptor of a file that must not be there yet."""
    descriptor = os.open(path, CREATE, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte, in as many calls as the system wants."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync(path: Path) -> None:
    """Have a file, or a folder's list of files, on the disk."""
    if sys.platform == "win32" and path.is_dir():
        return  # Windows cannot open a folder
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def try_lock(stream: IO[bytes]) -> bool:
    """Take the lock on an open file without waiting; False when another process holds it."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, waiting for its present holder; it is free again if we die."""
    with file_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("ab")
    with stream:
        if sys.platform == "win32":
            msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK, 1)
        else:
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def file_errors(path: Path, *, outcome: str = "", cure: str = "") -> Iterator[None]:
    """The disk's own troubles as one line that says what to do.

    `outcome` is what came of it ("nothing was added"); `cure` what to do where neither space nor
    permission is missing.
    """
    try:
        yield
    except OSError as error:
        raise _translated(error, path, f", {outcome}" if outcome else "", cure) from error


def _translated(error: OSError, path: Path, outcome: str, cure: str) -> StoreError:
    where = error.filename or path
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(
            f"the disk of {path} is full{outcome}", cure="free some space and try again"
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return StoreError(
            f"cannot write {where}: {error.strerror}{outcome}",
            cure="work in a folder you may write to",
        )
    return StoreError(f"{where}: {error.strerror or error}{outcome}", cure=cure)
