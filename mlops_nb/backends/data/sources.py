"""Sources: a path or a frame read into objects, and what it turned out to hold."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

from mlops_nb.backends.data.disk import children, clean, line
from mlops_nb.backends.data.objects import BLOCK, Entry, Writer, digest_of
from mlops_nb.datasets import Column, Kind, table_format
from mlops_nb.errors import NotFoundError, UsageError, did_you_mean
from mlops_nb.tables import size

if TYPE_CHECKING:
    from collections.abc import Iterator

PROFILE_LIMIT = 512 * 10**6  # bytes, unpacked: larger tabular files are stored without profile
Stamp: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True)
class Content:
    """What a source turned out to hold, before it becomes a version."""

    kind: Kind
    digest: str
    entries: tuple[Entry, ...]
    rows: int | None = None
    columns: tuple[Column, ...] = ()
    note: str = ""


def read_frame(source: object, name: str, writer: Writer) -> Content:
    """A table as one Parquet file; UsageError for what is no table or cannot be stored."""
    from mlops_nb.backends import frames

    frame = frames.arrow_frame(source)
    digest = frames.digest(frame)
    with writer.open() as staged:
        frames.write_parquet(frame, staged)
        entry = staged.finish(f"{name}.parquet")
    columns = frames.profile(frame)
    return Content("table", digest, (entry,), frame.table.num_rows, columns)


def read_path(source: Path, writer: Writer, store: Path) -> Content:
    """A file or folder; UsageError if it cannot be read or changes meanwhile."""
    try:
        source.stat()
    except FileNotFoundError:
        near = [f.name for f in children(source.parent)]
        cure = did_you_mean(source.name, near) or "check the path"
        raise NotFoundError(f"no file or folder {clean(source)}", cure=cure) from None
    except (OSError, ValueError) as error:
        raise _unreadable(source, error) from error
    if source.is_dir():
        return _read_folder(source, writer, store)
    stamp = _stamp_of(source)
    path = source.name or source.resolve().name
    entry = writer.store_blocks(_named(path), _blocks(source, stamp))
    _check_same(source, _stamp_of(source) == stamp)
    rows, columns, note = _profile(entry, writer)
    return Content("file", digest_of((entry,)), (entry,), rows, columns, note)


def _read_folder(source: Path, writer: Writer, store: Path) -> Content:
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
    return Content("folder", digest_of(entries), tuple(entries))


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
        raise UsageError(f"{clean(link)} is a link to nothing", cure="remove or mend it")
    if not target.is_relative_to(root.resolve()):
        raise UsageError(
            f"{clean(link)} is a link out of the added folder",
            cure="put a copy in its place, or remove it",
        )
    if target in above:
        raise UsageError(f"{clean(link)} is a link to a folder that it lies in", cure="remove it")


def _named(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"the file name {clean(path)} is not valid UTF-8", cure="rename the file"
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
            f"{clean(path)} is neither a file nor a folder", cure="remove it or add a copy"
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
            f"{clean(path)} {word} while it was being read, nothing was added",
            cure="add it again when nothing writes to it",
        )


def _unreadable(path: Path, error: OSError | ValueError) -> UsageError:
    if isinstance(error, FileNotFoundError):
        return UsageError(
            f"{clean(path)} vanished while it was being read, nothing was added",
            cure="add it again when nothing changes it",
        )
    reason = getattr(error, "strerror", None) or error
    return UsageError(
        f"{clean(path)} cannot be read ({reason}), nothing was added",
        cure="check its name and permissions",
    )


def _profile(entry: Entry, writer: Writer) -> tuple[int | None, tuple[Column, ...], str]:
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
            return None, (), f"not profiled: no readable {form.name} ({line(error)})"
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
