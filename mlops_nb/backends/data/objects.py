"""objects/: bytes named by their hash, and the manifests that list them.

Entry         one file of a version
open_object   the bytes of an entry, verified
Writer        puts objects into the store: into tmp/ first, all renamed by `place`
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from mlops_nb.backends.data.disk import clean, disk_errors, make_folder, to_json
from mlops_nb.errors import StoreError
from mlops_nb.files import CREATE, sync, write_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlops_nb.datasets import DatasetVersion

BLOCK = 4 << 20  # bytes read at once; smaller files never touch tmp/ if the store has them


@dataclass(frozen=True)
class Entry:
    """One file of a version: relative path, bytes, hash of the bytes."""

    path: str
    size: int
    blake2b: str

    @property
    def is_folder(self) -> bool:
        return self.path.endswith("/")

    @property
    def is_inside(self) -> bool:
        """Whether the path stays below the folder it is written to."""
        parts = self.path.removesuffix("/").split("/")
        return not PurePosixPath(self.path).is_absolute() and not {"", ".", ".."} & set(parts)


def manifest_of(entries: Iterable[Entry]) -> bytes:
    """The object that lists a version's files."""
    return to_json({"files": [asdict(entry) for entry in entries]})


def read_manifest(content: bytes) -> tuple[Entry, ...]:
    """The entries; KeyError, TypeError or ValueError if it is no manifest."""
    return tuple(Entry(**file) for file in json.loads(content)["files"])


def digest_of(entries: Iterable[Entry]) -> str:
    """32 hex characters over paths, sizes and hashes."""
    whole = hashlib.blake2b(b"mlops_nb files 0\n", digest_size=16)
    for entry in entries:
        whole.update(f"{entry.path}\0{entry.size}\0{entry.blake2b}\n".encode())
    return whole.hexdigest()


def new_hash() -> hashlib.blake2b:
    """The hash that names objects: 64 hex characters."""
    return hashlib.blake2b(digest_size=32)


def object_path(objects: Path, blake2b: str) -> Path:
    """Where the bytes of this hash are, if the store has them."""
    return objects / blake2b[:2] / blake2b


def is_whole(path: Path, entry: Entry) -> bool:
    """Whether the file holds the entry's bytes."""
    try:
        with path.open("rb") as handle:
            if os.fstat(handle.fileno()).st_size != entry.size:
                return False
            return hashlib.file_digest(handle, new_hash).hexdigest() == entry.blake2b
    except FileNotFoundError:
        return False


def open_object(store: Path, version: DatasetVersion, entry: Entry) -> IO[bytes]:
    """A version's object, opened, hashed and found to be what its name says, else StoreError."""
    path = object_path(store / "objects", entry.blake2b)
    problem = f"{version.reference}: object {entry.blake2b[:12]}… of {clean(entry.path)}"
    cure = f"add it again from {version.source}, that mends the object, or restore {path}"
    with disk_errors(store, "nothing was read"), ExitStack() as stack:
        try:
            handle = stack.enter_context(path.open("rb"))
        except FileNotFoundError:
            raise StoreError(f"{problem} is missing", cure=cure) from None
        if hashlib.file_digest(handle, new_hash).hexdigest() != entry.blake2b:
            raise StoreError(f"{problem} is damaged", cure=cure)
        handle.seek(0)
        stack.pop_all()
        return handle


class Writer:
    """Objects on their way into the store: in tmp/ until `place` renames them."""

    def __init__(self, objects: Path, folder: Path) -> None:
        self.objects = objects
        self.folder = folder
        self.staged: dict[str, tuple[Path, bool]] = {}
        self.added_bytes = 0

    def store(self, data: bytes) -> Entry:
        return self.store_blocks("", [data])

    def store_blocks(self, path: str, blocks: Iterable[bytes]) -> Entry:
        with self.open() as staged:
            for block in blocks:
                staged.write(block)
            return staged.finish(path)

    @contextmanager
    def open(self) -> Iterator[Staged]:
        staged = Staged(self, self.folder / secrets.token_hex(8))
        try:
            yield staged
        finally:
            staged.close_file()

    def path_of(self, entry: Entry) -> Path:
        """Where the bytes are now."""
        staged = self.staged.get(entry.blake2b)
        return staged[0] if staged else object_path(self.objects, entry.blake2b)

    def place(self, *, only_mended: bool = False) -> None:
        """Rename what is new (or mends a damaged object) to where readers find it."""
        folders = set()
        for blake2b, (path, is_mended) in self.staged.items():
            if only_mended and not is_mended:
                continue
            target = object_path(self.objects, blake2b)
            make_folder(target.parent)
            path.replace(target)
            folders.add(target.parent)
        for folder in sorted(folders):
            sync(folder)


class Staged:
    """One object being written; a small one waits in memory, and is dropped if it is known."""

    closed = False  # writers of Parquet ask

    def __init__(self, writer: Writer, path: Path) -> None:
        self.writer = writer
        self.path = path
        self.size = 0
        self._hash = new_hash()
        self._waiting: list[bytes] = []
        self._fd: int | None = None

    def write(self, data: Any) -> int:
        block = bytes(data)
        self._hash.update(block)
        self.size += len(block)
        self._waiting.append(block)
        if self._fd is not None or self.size > BLOCK:
            self._spill()
        return len(block)

    def flush(self) -> None:
        """Nothing to do: `finish` writes; asked for by writers of files."""

    def finish(self, path: str) -> Entry:
        """Keep the object, unless the store has it whole."""
        entry = Entry(path, self.size, self._hash.hexdigest())
        known = object_path(self.writer.objects, entry.blake2b)
        if entry.blake2b in self.writer.staged or is_whole(known, entry):
            self.close_file()
            self.path.unlink(missing_ok=True)
            return entry
        self._spill()
        if self._fd is not None:
            os.fsync(self._fd)
        self.close_file()
        is_mended = known.exists()
        self.writer.staged[entry.blake2b] = (self.path, is_mended)
        self.writer.added_bytes += self.size - (known.stat().st_size if is_mended else 0)
        return entry

    def close_file(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _spill(self) -> None:
        if self._fd is None:
            self._fd = os.open(self.path, CREATE, 0o666)
        for block in self._waiting:
            write_all(self._fd, block)
        self._waiting.clear()
