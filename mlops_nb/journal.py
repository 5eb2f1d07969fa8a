"""What a tracked process did, appended to a file as it happens.

The file is in `.mlops/journal`; one JSON line is one record, written by one call. A process is
alive while it holds the lock on its file, which the operating system lets go when it dies however
it dies: no heartbeat, no pid that could be reused, no clock. Whoever next opens the workspace on
the same host finds the file unlocked and closes the runs that were left open.
"""

from __future__ import annotations

import json
import os
import socket
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_nb.files import file_errors, try_lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


class Journal:
    """The open, locked file of this process."""

    def __init__(self, folder: Path, *, tracking: str) -> None:
        name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl"
        self.path = folder / name
        aside = folder / f"{name}.new"
        with file_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._stream = aside.open("ab", buffering=0)
            # Locked before it gets its name: nobody can take a newborn for an orphan.
            try_lock(self._stream)
            aside.rename(self.path)
        # A forked child shares the lock; it must not keep it when we are dead.
        os.register_at_fork(after_in_child=self._stream.close)
        host, pid = socket.gethostname(), os.getpid()
        self.append({"op": "begin", "host": host, "pid": pid, "tracking": tracking})

    def append(self, record: Mapping[str, Any]) -> None:
        """One record, safe against the death of this process once the call returns."""
        if not self._stream.closed:
            with file_errors(self.path):
                self._stream.write(json.dumps(record, default=str).encode() + b"\n")

    def touch(self) -> None:
        """A sign of life without a record."""
        if not self._stream.closed:
            os.utime(self._stream.fileno())

    def close(self) -> None:
        """All is delivered: the file is no longer needed."""
        with suppress(OSError):
            self.path.unlink()
        self._stream.close()


@dataclass(frozen=True)
class Orphan:
    """The journal of a dead process; `last_seen` is its last sign of life (epoch seconds)."""

    path: Path
    records: Sequence[Mapping[str, Any]]
    last_seen: float


def orphans(folder: Path) -> Iterator[Orphan]:
    """The journals whose process is dead and was on this host; locked while you look at one."""
    if not folder.is_dir():
        return
    for path in sorted(folder.glob("*.jsonl")):
        with suppress(FileNotFoundError), path.open("r+b") as stream:
            if not try_lock(stream):
                continue
            records = list(_records(stream.read()))
            if records and records[0].get("host") == socket.gethostname():
                yield Orphan(path, records, path.stat().st_mtime)


def _records(content: bytes) -> Iterator[dict[str, Any]]:
    """All whole records; a torn last line of a killed process is not one."""
    for line in content.split(b"\n"):
        with suppress(ValueError):
            if line:
                yield json.loads(line)
