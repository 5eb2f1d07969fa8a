"""The store as its callers see it."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from getpass import getuser
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mlops_nb.backends.data.catalogue import Catalogue
from mlops_nb.backends.data.checkout import check_out
from mlops_nb.backends.data.disk import clean, disk_errors, line, workplace
from mlops_nb.backends.data.objects import Writer, manifest_of, open_object
from mlops_nb.backends.data.sources import Content, read_frame, read_path
from mlops_nb.datasets import Added, DatasetList, DatasetVersion, TableFormat, table_format
from mlops_nb.errors import UsageError
from mlops_nb.references import DataReference, check_alias, check_name

if TYPE_CHECKING:
    import pandas as pd

    from mlops_nb.backends.data.objects import Entry


class DatasetStore:
    """Dataset versions in one folder; the folder is made by the first `add`."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._catalogue = Catalogue(self.folder)

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
        with disk_errors(self.folder, "nothing was added"):
            self._catalogue.prepare()
            with workplace(self.folder / "tmp") as folder:
                writer = Writer(self.folder / "objects", folder)
                if isinstance(source, (str, os.PathLike)):
                    content = read_path(Path(source), writer, self.folder)
                    label = str(source)
                else:
                    label = type(source).__name__
                    content = read_frame(source, name, writer)
                facts = {
                    "message": message,
                    "run_id": run_id,
                    "source": clean(source_label or label),
                }
                return self._commit(name, content, writer, facts)

    def names(self) -> tuple[str, ...]:
        """Every dataset that has a version, sorted."""
        with disk_errors(self.folder, "nothing was read"):
            return self._catalogue.names()

    def versions(self, name: str) -> tuple[DatasetVersion, ...]:
        """All versions of a dataset, oldest first; NotFoundError if there is none."""
        with disk_errors(self.folder, "nothing was read"):
            known = self._catalogue.known(name)
            return tuple(self._catalogue.version(name, number) for number in known)

    def listing(self, name: str | None = None) -> DatasetList:
        """The versions of one dataset, newest first, or the latest of every dataset."""
        if name is not None:
            return DatasetList(self.versions(name)[::-1], title=name)
        return DatasetList(tuple(self.get(DataReference(each)) for each in self.names()))

    def get(self, reference: DataReference | str) -> DatasetVersion:
        """The version meant; NotFoundError says what there is instead."""
        if isinstance(reference, str):
            reference = DataReference.parse(reference)
        with disk_errors(self.folder, "nothing was read"):
            return self._catalogue.find(reference)

    def checkout(
        self, reference: DataReference | str, to: Path | None = None, *, overwrite: bool = False
    ) -> Path:
        """Write a version's files to `to`, every byte verified; returns where they are.

        Without `to`, into the current folder: a folder under the dataset's name, a single file
        under its own (`flights.csv`, and NAME.parquet for a table). A file goes into `to` if that
        is a folder, else it becomes `to`. Files are written aside and renamed, links at the target
        are not followed. Raises UsageError if something else is there already.
        """
        version = self.get(reference)
        return check_out(self.folder, version, self._entries(version), to, overwrite=overwrite)

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
            opened = [
                (entry.path, stack.enter_context(open_object(self.folder, version, entry)))
                for entry in entries
            ]
            return _read_tables(version, opened, form)

    def set_alias(self, reference: DataReference | str, alias: str) -> DatasetVersion:
        """Let `name@alias` mean this version from now on."""
        check_alias(alias)
        version = self.get(reference)
        with disk_errors(self.folder, "the alias was not set"):
            self._catalogue.set_alias(version, alias)
        return self.get(reference)

    def _entries(self, version: DatasetVersion) -> tuple[Entry, ...]:
        with disk_errors(self.folder, "nothing was read"):
            return self._catalogue.entries(version)

    def _commit(self, name: str, content: Content, writer: Writer, facts: dict[str, Any]) -> Added:
        manifest = writer.store(manifest_of(content.entries))
        latest = self._catalogue.latest(name)
        if latest and (latest.kind, latest.digest) == (content.kind, content.digest):
            writer.place(only_mended=True)
            return Added(latest, is_new=False)
        record = {
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
        return self._catalogue.append(name, record, writer.folder)


def _read_tables(
    version: DatasetVersion, opened: list[tuple[str, IO[bytes]]], form: TableFormat
) -> pd.DataFrame:
    from mlops_nb.backends import frames

    try:
        return frames.read_all(opened, form)
    except UsageError:
        raise
    except Exception as error:  # parsers raise anything
        raise UsageError(
            f"{version.reference} cannot be read as {form.name}: {line(error)}",
            cure=f"get the file with data checkout {version.reference}",
        ) from error


def _author() -> str:
    try:
        return getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return "unknown"
