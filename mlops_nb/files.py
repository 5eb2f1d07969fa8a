"""Writing files so that a crash leaves the old or the new one, and locks that die with their owner."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mlops_nb.errors import StoreError

if sys.platform == "win32":  # it has no flock; its byte locks do the same
    import msvcrt
else:
    import fcntl


def write_atomically(path: Path, data: str | bytes) -> None:
    """Replace `path` by `data`: written aside, synced, renamed. Raises StoreError."""
    content = data.encode() if isinstance(data, str) else data
    with file_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(aside).chmod(0o666 & ~current_umask())  # mkstemp's 0600 would hide it from the team
            Path(aside).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(aside).unlink()
            raise


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
def file_errors(path: Path) -> Iterator[None]:
    """The disk's own troubles as one line that says what to do."""
    try:
        yield
    except OSError as error:
        raise _translated(error, path) from error


def current_umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _translated(error: OSError, path: Path) -> StoreError:
    where = error.filename or path
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(f"the disk of {path} is full", cure="free some space and try again; nothing was changed")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return StoreError(f"cannot write {where}: {error.strerror}", cure="work in a folder you may write to")
    return StoreError(f"{where}: {error.strerror or error}")
