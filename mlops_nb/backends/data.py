"""The store of dataset versions: a folder, written so that a crash leaves the old or new state.

    format.json                   {"format": 0, "hash": "blake2b-256"}; written first, never changed
    objects/ab/abcd…              the bytes whose blake2b-256 is abcd… (64 hex characters), as they
                                  are; immutable; equal files are stored once
    versions/NAME/v000003.json    one version, and the commit point: linked into place exclusively
    aliases/NAME/prod.json        {"version": 3}; replaced as a whole
    tmp/TOKEN/ and TOKEN.lock     what one process is writing; the lock is held while it lives, so
                                  that the next writer can tell and remove what a killed one left

A version file is JSON: format, name, version, kind ("file", "folder", "table"), digest, manifest,
n_files, size, added_bytes, created (ISO 8601, UTC), author, source, message, run_id, rows,
columns (name, type, nulls, distinct, min, max, mean), note.

`manifest` is the hash of an object that is JSON too, and lists the files, sorted by path:

    {"files": [{"path": "a/b.csv", "size": 12, "blake2b": "abcd…"}, {"path": "empty/", …}]}

A path is relative with `/`; one that ends in `/` is an empty folder (size 0, blake2b ""). The
manifest of a file or a table has one entry; a table is one Parquet file, NAME.parquet. Modes, times
and owners are not stored; a symbolic link inside a folder is stored as what it points to.

`digest` is blake2b-128. Of files and folders: over b"mlops_nb files 0\\n" and, for each entry,
path, NUL, size in decimal, NUL, blake2b, newline. Of tables: see `frames.digest`; it is that of the
cells, and does not depend on how Parquet writes them.

Order of an add: read everything into tmp/ with fsync; see that the source did not change meanwhile;
rename objects; link the version. Whatever fails before the link leaves no version, at most objects
that nobody names. A version number taken by another writer means: look again, take the next.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import sys
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from getpass import getuser
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from mlops_nb.datasets import Added, Column, DatasetList, DatasetVersion, Kind, table_format
from mlops_nb.errors import NotFoundError, StoreError, UsageError, did_you_mean
from mlops_nb.references import DataReference, check_alias, check_name
from mlops_nb.tables import plain, size

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pandas as pd

FORMAT = 0
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
BLOCK = 4 << 20  # bytes read at once; smaller files never touch tmp/ if the store has them
PROFILE_LIMIT = 512 * 10**6  # bytes, unpacked: larger tabular files are stored without profile
VERSION_FILE = re.compile(r"v([0-9]{6,})\.json")
Stamp: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True)
class Entry:
    """One file of a version: relative path, bytes, hash of the bytes."""

    path: str
    size: int
    blake2b: str

    @property
    def is_folder(self) -> bool:
        return self.path.endswith("/")


@dataclass(frozen=True)
class Content:
    """What a source turned out to hold, before it becomes a version."""

    kind: Kind
    digest: str
    entries: tuple[Entry, ...]
    rows: int | None = None
    columns: tuple[Column, ...] = ()
    note: str = ""


class DatasetStore:
    """Dataset versions in one folder; the folder is made by the first `add`."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def add(
        self,
        source: Path | pd.DataFrame | Any,
        name: str,
        *,
        message: str = "",
        run_id: str | None = None,
        source_label: str = "",
    ) -> Added:
        """Store a file, a folder or a table as the next version, unless the latest holds it.

        Raises UsageError for a source that cannot be stored or changes meanwhile, StoreError if the
        store cannot be written; no version was added then.
        """
        check_name(name, "dataset")
        with _disk(self.folder, "nothing was added"):
            self._prepare()
            with _workplace(self.folder / "tmp") as folder:
                writer = _Writer(self.folder / "objects", folder)
                if isinstance(source, (str, os.PathLike)):
                    content = _read_path(Path(source), writer, self.folder)
                    label = str(source)
                else:
                    label = type(source).__name__
                    content = _read_frame(source, name, writer)
                facts = {
                    "message": message,
                    "run_id": run_id,
                    "source": _clean(source_label or label),
                }
                return self._commit(name, content, writer, facts)

    def names(self) -> tuple[str, ...]:
        """Every dataset that has a version, sorted."""
        with _disk(self.folder, "nothing was read"):
            self._check_format()
            folders = _children(self.folder / "versions")
            return tuple(sorted(f.name for f in folders if self._numbers(f.name)))

    def versions(self, name: str) -> tuple[DatasetVersion, ...]:
        """All versions of a dataset, oldest first; NotFoundError if there is none."""
        with _disk(self.folder, "nothing was read"):
            return tuple(self._version(name, number) for number in self._known(name))

    def listing(self, name: str | None = None) -> DatasetList:
        """The versions of one dataset, newest first, or the latest of every dataset."""
        if name is not None:
            return DatasetList(self.versions(name)[::-1], title=name)
        return DatasetList(tuple(self.get(DataReference(each)) for each in self.names()))

    def get(self, reference: DataReference | str) -> DatasetVersion:
        """The version meant; NotFoundError says what there is instead."""
        if isinstance(reference, str):
            reference = DataReference.parse(reference)
        with _disk(self.folder, "nothing was read"):
            numbers = self._known(reference.name)
            number = reference.version or numbers[-1]
            if reference.alias:
                number = self._aliased(reference)
            if number not in numbers:
                there = ", ".join(f"v{n}" for n in numbers[-8:])
                raise NotFoundError(
                    f"no version {number} of dataset {reference.name}",
                    cure=f"there is {'… ' if len(numbers) > 8 else ''}{there}",
                )
            return self._version(reference.name, number)

    def checkout(
        self, reference: DataReference | str, to: Path | None = None, *, overwrite: bool = False
    ) -> Path:
        """Write a version's files to `to`, every byte verified; returns where they are.

        A file goes into an existing folder, else to the path itself; the default is its own name in
        the current folder (a folder: the dataset's). Files are written aside and renamed, links at
        the target are not followed. Raises UsageError if something else is there already.
        """
        version = self.get(reference)
        entries = self._entries(version)
        target = self._target(version, entries, to)
        if os.path.lexists(target):
            if _matches(target, version.kind, entries):
                return target
            self._check_replaceable(target, version, overwrite)
        with _disk(target, "nothing was replaced"):
            target.parent.mkdir(parents=True, exist_ok=True)
            aside = target.parent / f".{target.name[:80]}.{secrets.token_hex(4)}"
            try:
                self._write_out(version, entries, aside)
                _swap(aside, target)
            finally:
                _remove(aside)
        return target

    def load(self, reference: DataReference | str) -> pd.DataFrame:
        """The version as a pandas DataFrame, every byte verified.

        A folder is read if all its files have one tabular format: below each other, in name order.
        """
        version = self.get(reference)
        entries = self._entries(version)
        formats = {table_format(entry.path) for entry in entries}
        form = formats.pop() if len(formats) == 1 else None
        if form is None:
            raise UsageError(
                f"{version.reference} is no table: {version.shape}, not of one tabular format",
                cure=f"get the files with data checkout {version.reference}",
            )
        with ExitStack() as stack:
            opened = [(e.path, stack.enter_context(self._verified(version, e))) for e in entries]
            from mlops_nb.backends import frames

            try:
                return frames.read_all(opened, form)
            except UsageError:
                raise
            except Exception as error:
                raise UsageError(
                    f"{version.reference} cannot be read as {form.name}: {_line(error)}",
                    cure=f"get the file with data checkout {version.reference}",
                ) from error

    def set_alias(self, reference: DataReference | str, alias: str) -> DatasetVersion:
        """Let `name@alias` mean this version from now on."""
        check_alias(alias)
        version = self.get(reference)
        with _disk(self.folder, "the alias was not set"), _workplace(self.folder / "tmp") as folder:
            aliases = self.folder / "aliases" / version.name
            _make_folder(aliases)
            aside = folder / "alias.json"
            _write(aside, _json({"version": version.version}))
            aside.replace(aliases / f"{alias}.json")
            _sync_folder(aliases)
        return self.get(reference)

    # The commit

    def _commit(self, name: str, content: Content, writer: _Writer, facts: dict[str, Any]) -> Added:
        manifest = writer.store(_json({"files": [asdict(entry) for entry in content.entries]}))
        if existing := self._unchanged(name, self._numbers(name), content):
            writer.place(only_mended=True)
            return Added(existing, is_new=False)
        record = {
            "format": FORMAT,
            "name": name,
            "kind": content.kind,
            "digest": content.digest,
            "manifest": manifest.blake2b,
            "n_files": sum(not entry.is_folder for entry in content.entries),
            "size": sum(entry.size for entry in content.entries),
            "added_bytes": writer.added_bytes,
            "created": datetime.now(UTC).isoformat(),
            "author": _author(),
            **facts,
            "rows": content.rows,
            "columns": [asdict(column) for column in content.columns],
            "note": content.note,
        }
        writer.place()
        _make_folder(self.folder / "versions" / name)
        while True:
            # the number is the one after the version compared with, so that no equal one slips in
            numbers = self._numbers(name)
            if existing := self._unchanged(name, numbers, content):
                return Added(existing, is_new=False)
            number = numbers[-1] + 1 if numbers else 1
            if self._link(name, number, record, writer.folder):
                return Added(self._version(name, number), is_new=True)

    def _link(self, name: str, number: int, record: dict[str, Any], folder: Path) -> bool:
        """Create the version if its number is free still."""
        aside = folder / f"v{number}.json"
        target = self.folder / "versions" / name / f"v{number:06d}.json"
        _write(aside, _json({**record, "version": number}))
        if not _link_new(aside, target):
            return False
        try:
            _sync_folder(target.parent)
        except OSError as error:
            raise StoreError(
                f"{name}@v{number} was added, but the disk did not confirm it ({error.strerror})",
                cure=f"look at it with data show {name}@v{number}",
            ) from error
        return True

    def _unchanged(self, name: str, numbers: list[int], content: Content) -> DatasetVersion | None:
        """The latest version, if it holds this content."""
        if not numbers:
            return None
        latest = self._version(name, numbers[-1])
        return latest if (latest.kind, latest.digest) == (content.kind, content.digest) else None

    # Reading

    def _prepare(self) -> None:
        """Make the store, or see that it is one that this code may write to."""
        self._check_format()
        target = self.folder / "format.json"
        if target.exists():
            return
        strangers = {f.name for f in _children(self.folder)} - {"tmp", "lost+found"}
        if strangers := {name for name in strangers if not name.startswith(".")}:
            raise StoreError(
                f"{self.folder} is not empty and no dataset store (it has {min(strangers)})",
                cure="set data in mlops.toml to a folder of its own",
            )
        with _workplace(self.folder / "tmp") as folder:
            _write(folder / "format.json", _json({"format": FORMAT, "hash": "blake2b-256"}))
            _link_new(folder / "format.json", target)
            _sync_folder(self.folder)

    def _check_format(self) -> None:
        path = self.folder / "format.json"
        if not path.exists():
            # looked for twice: another process may be making the store right now
            if (self.folder / "versions").exists() and not path.exists():
                raise StoreError(
                    f"{path} is missing beside dataset versions", cure="restore it from a backup"
                )
            return
        found = _read_json(path).get("format")
        if found != FORMAT:
            raise StoreError(
                f"{self.folder} has store format {found!r}, this mlops_nb knows {FORMAT}",
                cure="pip install --upgrade mlops-nb",
            )

    def _numbers(self, name: str) -> list[int]:
        found = (VERSION_FILE.fullmatch(f.name) for f in _children(self.folder / "versions" / name))
        return sorted(int(match[1]) for match in found if match)

    def _known(self, name: str) -> list[int]:
        """The numbers of all versions, at least one."""
        self._check_format()
        numbers = self._numbers(check_name(name, "dataset"))
        if not numbers:
            cure = did_you_mean(name, self.names()) or f"add it with data add SOURCE {name}"
            raise NotFoundError(f"no dataset {name!r} in {self.folder}", cure=cure)
        return numbers

    def _record(self, name: str, number: int) -> tuple[Path, dict[str, Any]]:
        path = self.folder / "versions" / name / f"v{number:06d}.json"
        return path, _read_json(path)

    def _version(self, name: str, number: int) -> DatasetVersion:
        path, record = self._record(name, number)
        try:
            known = {
                key: value for key, value in record.items() if key not in ("format", "manifest")
            }
            known["columns"] = tuple(Column(**column) for column in record["columns"])
            known["created"] = datetime.fromisoformat(record["created"])
            version = DatasetVersion(**known)
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(path, f"{type(error).__name__}: {_line(error)}") from error
        if (version.name, version.version) != (name, number):
            raise _damaged(path, f"it says {version.reference}")
        aliases = tuple(a for a, n in self._aliases(name).items() if n == number)
        return replace(version, aliases=aliases)

    def _aliases(self, name: str) -> dict[str, int]:
        files = sorted(f for f in _children(self.folder / "aliases" / name) if f.suffix == ".json")
        try:
            return {file.stem: int(_read_json(file)["version"]) for file in files}
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(self.folder / "aliases" / name, _line(error)) from error

    def _aliased(self, reference: DataReference) -> int:
        aliases = self._aliases(reference.name)
        alias = reference.alias or ""
        if alias not in aliases:
            cure = did_you_mean(alias, aliases) or f"there is {', '.join(aliases) or 'none yet'}"
            raise NotFoundError(f"no alias {alias!r} of dataset {reference.name}", cure=cure)
        return aliases[alias]

    def _entries(self, version: DatasetVersion) -> tuple[Entry, ...]:
        """The files of a version, every path seen to stay inside its folder."""
        path, record = self._record(version.name, version.version)
        manifest = Entry("manifest", -1, str(record.get("manifest")))
        with self._verified(version, manifest) as handle:
            try:
                entries = tuple(Entry(**file) for file in json.loads(handle.read())["files"])
            except (KeyError, TypeError, ValueError) as error:
                raise _damaged(path, f"manifest: {_line(error)}") from error
        if not all(_is_inside(entry.path) for entry in entries):
            raise _damaged(path, "a path leads out of its folder")
        if version.kind != "table" and _digest(entries) != version.digest:
            raise _damaged(path, "its digest is not that of its files")
        return entries

    def _verified(self, version: DatasetVersion, entry: Entry) -> IO[bytes]:
        """An object, opened, hashed and found to be what its name says."""
        path = _object(self.folder / "objects", entry.blake2b)
        problem = f"{version.reference}: object {entry.blake2b[:12]}… of {_clean(entry.path)}"
        cure = f"add it again from {version.source}, that mends the object, or restore {path}"
        with _disk(self.folder, "nothing was read"), ExitStack() as stack:
            try:
                handle = stack.enter_context(path.open("rb"))
            except FileNotFoundError:
                raise StoreError(f"{problem} is missing", cure=cure) from None
            if hashlib.file_digest(handle, _hash).hexdigest() != entry.blake2b:
                raise StoreError(f"{problem} is damaged", cure=cure)
            handle.seek(0)
            stack.pop_all()
            return handle

    # Checkout

    def _target(self, version: DatasetVersion, entries: tuple[Entry, ...], to: Path | None) -> Path:
        if version.kind == "folder":
            return Path(to if to is not None else version.name)
        to = Path() if to is None else Path(to)
        return to / entries[0].path if to.is_dir() else to

    def _check_replaceable(self, target: Path, version: DatasetVersion, overwrite: bool) -> None:
        inside = (Path.cwd().resolve(), self.folder.resolve())
        if target.is_dir() and any(path.is_relative_to(target.resolve()) for path in inside):
            raise UsageError(
                f"{_clean(target)} holds the current folder or the dataset store",
                cure="choose another place with --to",
            )
        if not overwrite and not _is_empty_folder(target):
            raise UsageError(
                f"{_clean(target)} is there already and is not {version.reference}",
                cure="add --overwrite to replace it, or choose another place with --to",
            )

    def _write_out(self, version: DatasetVersion, entries: tuple[Entry, ...], aside: Path) -> None:
        if version.kind == "folder":
            aside.mkdir()
        for entry in entries:
            path = aside / entry.path if version.kind == "folder" else aside
            if entry.is_folder:
                path.mkdir(parents=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._verified(version, entry) as handle, _create(path) as fd:
                seen = _hash()
                for block in iter(lambda: handle.read(BLOCK), b""):
                    seen.update(block)
                    _write_all(fd, block)
                if seen.hexdigest() != entry.blake2b:
                    raise StoreError(
                        f"{version.reference}: {_clean(entry.path)} changed while being read"
                    )
                os.fsync(fd)


class _Writer:
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
    def open(self) -> Iterator[_Staged]:
        staged = _Staged(self, self.folder / secrets.token_hex(8))
        try:
            yield staged
        finally:
            staged.close_file()

    def path_of(self, entry: Entry) -> Path:
        """Where the bytes are now."""
        staged = self.staged.get(entry.blake2b)
        return staged[0] if staged else _object(self.objects, entry.blake2b)

    def place(self, *, only_mended: bool = False) -> None:
        """Rename what is new (or mends a damaged object) to where readers find it."""
        folders = set()
        for blake2b, (path, is_mended) in self.staged.items():
            if only_mended and not is_mended:
                continue
            target = _object(self.objects, blake2b)
            _make_folder(target.parent)
            path.replace(target)
            folders.add(target.parent)
        for folder in sorted(folders):
            _sync_folder(folder)


class _Staged:
    """One object being written; a small one waits in memory, and is dropped if it is known."""

    closed = False

    def __init__(self, writer: _Writer, path: Path) -> None:
        self.writer = writer
        self.path = path
        self.size = 0
        self._hash = _hash()
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
        known = _object(self.writer.objects, entry.blake2b)
        if entry.blake2b in self.writer.staged or _is_whole(known, entry):
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
            _write_all(self._fd, block)
        self._waiting.clear()


# Sources


def _read_frame(source: object, name: str, writer: _Writer) -> Content:
    from mlops_nb.backends import frames

    frame = frames.arrow_frame(source)
    digest = frames.digest(frame)
    with writer.open() as staged:
        frames.write_parquet(frame, staged)
        entry = staged.finish(f"{name}.parquet")
    columns = frames.profile(frame)
    return Content("table", digest, (entry,), frame.table.num_rows, columns)


def _read_path(source: Path, writer: _Writer, store: Path) -> Content:
    try:
        source.stat()
    except FileNotFoundError:
        near = [f.name for f in _children(source.parent)]
        cure = did_you_mean(source.name, near) or "check the path"
        raise NotFoundError(f"no file or folder {_clean(source)}", cure=cure) from None
    except (OSError, ValueError) as error:
        raise _unreadable(source, error) from error
    if source.is_dir():
        return _read_folder(source, writer, store)
    stamp = _stamp_of(source)
    path = source.name or source.resolve().name
    entry = writer.store_blocks(_named(path), _blocks(source, stamp))
    _check_same(source, _stamp_of(source) == stamp)
    rows, columns, note = _profile(entry, writer)
    return Content("file", _digest((entry,)), (entry,), rows, columns, note)


def _read_folder(source: Path, writer: _Writer, store: Path) -> Content:
    if store.resolve().is_relative_to(source.resolve()):
        raise UsageError(
            f"{source} holds the dataset store itself ({store})", cure="add a folder inside it"
        )
    before = _walk(source)
    entries = []
    for path, stamp in before.items():
        if stamp is None:
            entries.append(Entry(path, 0, ""))
        else:
            entries.append(writer.store_blocks(path, _blocks(source / path, stamp)))
    _check_same(source, _walk(source) == before)
    return Content("folder", _digest(entries), tuple(entries))


def _walk(root: Path) -> dict[str, Stamp | None]:
    """Every file below a folder with its stamp, and every empty folder, sorted by path."""
    try:
        return dict(sorted(_walked(root, root, "", (root.resolve(),))))
    except OSError as error:
        raise _unreadable(Path(error.filename or root), error) from error


def _walked(
    root: Path, folder: Path, prefix: str, above: tuple[Path, ...]
) -> Iterator[tuple[str, Stamp | None]]:
    children = list(folder.iterdir())
    if not children and prefix:
        yield prefix, None
    for child in children:
        path = _named(prefix + child.name)
        if child.is_symlink():
            _check_link(child, root, above)
        if child.is_dir():
            yield from _walked(root, child, f"{path}/", (*above, child.resolve()))
        else:
            yield path, _stamp_of(child)


def _check_link(link: Path, root: Path, above: tuple[Path, ...]) -> None:
    """Refuse a link to nothing, out of the added folder, or to a folder that it lies in."""
    target = link.resolve()
    if not target.exists():
        raise UsageError(f"{_clean(link)} is a link to nothing", cure="remove or mend it")
    if not target.is_relative_to(root.resolve()):
        raise UsageError(
            f"{_clean(link)} is a link out of the added folder",
            cure="put a copy in its place, or remove it",
        )
    if target in above:
        raise UsageError(f"{_clean(link)} is a link to a folder that it lies in", cure="remove it")


def _named(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"the file name {_clean(path)} is not valid UTF-8", cure="rename the file"
        ) from None
    return path


def _stamp_of(path: Path) -> Stamp:
    try:
        return _stamp(path, path.stat())
    except OSError as error:
        raise _unreadable(path, error) from error


def _stamp(path: Path, facts: os.stat_result) -> Stamp:
    """What changes when a file changes: size, times, identity."""
    if not stat.S_ISREG(facts.st_mode):
        raise UsageError(
            f"{_clean(path)} is neither a file nor a folder", cure="remove it or add a copy"
        )
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino


def _blocks(path: Path, stamp: Stamp) -> Iterator[bytes]:
    """A file's bytes, once, in blocks; UsageError if it is not, or does not stay, as stamped."""
    read = 0
    try:
        with path.open("rb", buffering=0) as handle:
            while block := handle.read(BLOCK):
                read += len(block)
                yield block
            same = _stamp(path, os.fstat(handle.fileno())) == stamp
    except OSError as error:
        raise _unreadable(path, error) from error
    _check_same(path, same and read == stamp[0])


def _check_same(path: Path, same: bool) -> None:
    if not same:
        word = "changed" if path.exists() else "vanished"
        raise UsageError(
            f"{_clean(path)} {word} while it was being read, nothing was added",
            cure="add it again when nothing writes to it",
        )


def _unreadable(path: Path, error: OSError | ValueError) -> UsageError:
    if isinstance(error, FileNotFoundError):
        return UsageError(
            f"{_clean(path)} vanished while it was being read, nothing was added",
            cure="add it again when nothing changes it",
        )
    reason = getattr(error, "strerror", None) or error
    return UsageError(
        f"{_clean(path)} cannot be read ({reason}), nothing was added",
        cure="check its name and permissions",
    )


def _profile(entry: Entry, writer: _Writer) -> tuple[int | None, tuple[Column, ...], str]:
    """Rows, columns and a note for a tabular file, from the bytes that were stored."""
    form = table_format(entry.path)
    if form is None:
        return None, (), ""
    with writer.path_of(entry).open("rb") as handle:
        if max(entry.size, _unpacked(handle, form.compression)) > PROFILE_LIMIT:
            return None, (), f"not profiled: more than {size(PROFILE_LIMIT)}"
        from mlops_nb.backends import frames

        try:
            rows, columns = frames.profile_file(handle, form)
        except Exception as error:  # parsers raise anything; the bytes are worth storing anyway
            return None, (), f"not profiled: no readable {form.name} ({_line(error)})"
    return rows, columns, ""


def _unpacked(handle: IO[bytes], compression: str | None) -> int:
    """Bytes that a compressed file claims to unpack to."""
    claimed = 0
    if compression == "zip":
        import zipfile

        with suppress(zipfile.BadZipFile), zipfile.ZipFile(handle) as archive:
            claimed = sum(member.file_size for member in archive.infolist())
    elif compression == "gzip" and handle.seek(0, os.SEEK_END) >= 4:
        handle.seek(-4, os.SEEK_END)
        claimed = int.from_bytes(handle.read(4), "little")
    handle.seek(0)
    return claimed


def _digest(entries: Iterable[Entry]) -> str:
    whole = hashlib.blake2b(b"mlops_nb files 0\n", digest_size=16)
    for entry in entries:
        whole.update(f"{entry.path}\0{entry.size}\0{entry.blake2b}\n".encode())
    return whole.hexdigest()


# The disk


@contextmanager
def _disk(place: Path, outcome: str) -> Iterator[None]:
    """What the operating system refuses, in our words."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            problem, cure = f"the disk of {place} is full", "free some space and try again"
        elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            problem, cure = (
                f"{place} is read-only for you",
                "choose another folder (data in mlops.toml)",
            )
        else:
            problem, cure = (
                f"{place} failed ({error.strerror or error})",
                "check the disk and try again",
            )
        raise StoreError(f"{problem}, {outcome}", cure=cure) from error


@contextmanager
def _workplace(parent: Path) -> Iterator[Path]:
    """A folder of our own in tmp/, gone afterwards, and known to be alive meanwhile."""
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent)
    lock, fd = _new_lock(parent)
    folder = lock.with_suffix("")
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            lock.unlink()
        os.close(fd)


def _new_lock(parent: Path) -> tuple[Path, int]:
    while True:
        lock = parent / f"{secrets.token_hex(8)}.lock"
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        _try_lock(fd)
        if lock.exists():  # else another process swept it between creation and lock
            return lock, fd
        os.close(fd)


def _try_lock(fd: int) -> bool:
    if sys.platform == "win32":
        return False  # what a killed add left in tmp/ stays there until removed by hand
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sweep(parent: Path) -> None:
    """Remove what killed processes left."""
    for lock in parent.glob("*.lock"):
        with suppress(OSError):
            fd = os.open(lock, os.O_RDWR)
            try:
                if _try_lock(fd):
                    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                    lock.unlink()
            finally:
                os.close(fd)


def _hash() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=32)


def _object(objects: Path, blake2b: str) -> Path:
    return objects / blake2b[:2] / blake2b


def _is_whole(path: Path, entry: Entry) -> bool:
    try:
        with path.open("rb") as handle:
            if os.fstat(handle.fileno()).st_size != entry.size:
                return False
            return hashlib.file_digest(handle, _hash).hexdigest() == entry.blake2b
    except FileNotFoundError:
        return False


def _make_folder(folder: Path) -> None:
    """The folder and those above it, each confirmed by the disk."""
    missing = [f for f in (folder, *folder.parents) if not f.exists()]
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        _sync_folder(each.parent)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _create(path: Path) -> Iterator[int]:
    fd = os.open(path, CREATE, 0o666)
    try:
        yield fd
    finally:
        os.close(fd)


def _write(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    with _create(path) as fd:
        _write_all(fd, data)
        os.fsync(fd)


def _link_new(path: Path, target: Path) -> bool:
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


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _matches(target: Path, kind: Kind, entries: tuple[Entry, ...]) -> bool:
    """Whether the target is this content already; links never are."""
    if target.is_symlink() or target.is_dir() != (kind == "folder"):
        return False
    if kind != "folder":
        return target.is_file() and _is_whole(target, entries[0])
    found = {f.relative_to(target).as_posix(): f for f in target.rglob("*")}
    if any(f.is_symlink() or not (f.is_dir() or f.is_file()) for f in found.values()):
        return False
    files = {path for path, f in found.items() if f.is_file()}
    empty = {f"{path}/" for path, f in found.items() if f.is_dir() and not any(f.iterdir())}
    if files | empty != {entry.path for entry in entries}:
        return False
    return all(e.is_folder or _is_whole(found[e.path], e) for e in entries)


def _swap(aside: Path, target: Path) -> None:
    """Rename into place; a folder that is there steps aside first, and back if that fails."""
    if (
        not os.path.lexists(target)
        or not (aside.is_dir() or target.is_dir())
        or target.is_symlink()
    ):
        if target.is_symlink() and aside.is_dir():
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


def _is_inside(path: str) -> bool:
    parts = path.removesuffix("/").split("/")
    return not PurePosixPath(path).is_absolute() and not {"", ".", ".."} & set(parts)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=1).encode() + b"\n"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise _damaged(path, _line(error)) from error
    if not isinstance(value, dict):
        raise _damaged(path, "it is no JSON object")
    return value


def _damaged(path: Path, reason: str) -> StoreError:
    return StoreError(
        f"{path} is damaged ({reason})", cure="restore it from a backup, or move it away"
    )


def _author() -> str:
    try:
        return getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return "unknown"


def _clean(text: object) -> str:
    """Text for JSON and for one line: line ends and undecodable bytes of names become escapes."""
    plain_text = str(text).encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in plain_text)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
