"""A dataset as versions of one name: what was stored, what is in it, how it looks.

Column          one column of a table with its profile
DatasetVersion  `flights@v3`: a file, a folder or a table as it was when it was added
Added           what `data add` returns: the version, and whether it is new
DatasetList     what `data list` returns: a row a version, or a row a name
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mlops_nb.tables import Shown, Table, display, plain, size

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

Kind = Literal["file", "folder", "table"]
Scalar = bool | int | float | str | None

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".feather": "feather",
    ".json": "json",
    ".jsonl": "jsonl",
}
COMPRESSIONS = {".gz": "gzip", ".zip": "zip"}  # of text formats: the others compress themselves


@dataclass(frozen=True)
class TableFormat:
    """How a file holds a table: `csv`, … and `gzip`, `zip` or None around it."""

    name: str
    compression: str | None = None


@dataclass(frozen=True)
class Column:
    """One column: its type in Arrow's words, and its profile (None where it has no meaning)."""

    name: str
    type: str
    nulls: int
    distinct: int | None = None
    min: Scalar = None
    max: Scalar = None
    mean: float | None = None


@dataclass(frozen=True)
class DatasetVersion(Shown):
    """One immutable version of a dataset.

    `digest` (32 hex characters) covers every byte of files and every cell of tables. `size` is the
    data's bytes, `added_bytes` what the store's objects grew by when this version was added.
    `columns` is empty without a table; `note` says why, where a table might be expected.
    """

    name: str
    version: int
    digest: str
    kind: Kind
    n_files: int
    size: int
    added_bytes: int
    created: datetime
    author: str
    source: str
    message: str = ""
    run_id: str | None = None
    rows: int | None = None
    columns: tuple[Column, ...] = ()
    note: str = ""
    aliases: tuple[str, ...] = field(default=(), compare=False)

    @property
    def reference(self) -> str:
        return f"{self.name}@v{self.version}"

    @property
    def shape(self) -> str:
        """`336,776 rows x 19 columns`, or how many files."""
        if self.rows is None:
            return "1 file" if self.n_files == 1 else f"{self.n_files:,} files"
        columns = "1 column" if len(self.columns) == 1 else f"{len(self.columns):,} columns"
        rows = "1 row" if self.rows == 1 else f"{self.rows:,} rows"
        return f"{rows} x {columns}"

    def parts(self) -> Iterable[Table | str]:
        facts = [
            f"{self.reference}: {self.kind}, {self.shape}, {size(self.size)}",
            f"added {display(self.created)} by {self.author} from {self.source}",
            f"digest {self.digest}",
            *([f"aliases {', '.join(self.aliases)}"] if self.aliases else []),
            *([self.message] if self.message else []),
            *([self.note] if self.note else []),
        ]
        yield " · ".join(facts)
        if self.columns:
            names = ("column", "type", "nulls", "distinct", "min", "max", "mean")
            yield Table(
                names,
                [(c.name, c.type, c.nulls, c.distinct, c.min, c.max, c.mean) for c in self.columns],
            )

    def to_dict(self) -> dict[str, Any]:
        return {"reference": self.reference, **super().to_dict()}


@dataclass(frozen=True)
class Added(Shown):
    """The version that holds the added data; `is_new` is False if the latest held it already."""

    version: DatasetVersion
    is_new: bool

    def parts(self) -> Iterable[Table | str]:
        version = self.version
        if not self.is_new:
            yield f"unchanged: {version.reference} holds this already"
            return
        note = f" · {version.note}" if version.note else ""
        grown = f"{size(version.size)} (the store grew by {size(version.added_bytes)})"
        yield f"added {version.reference}: {version.shape}, {grown}{note}"

    def to_dict(self) -> dict[str, Any]:
        return {"is_new": self.is_new, **self.version.to_dict()}


@dataclass(frozen=True)
class DatasetList(Shown):
    """Dataset versions, one row each, in the order given."""

    versions: tuple[DatasetVersion, ...]
    title: str = ""

    def parts(self) -> Iterable[Table | str]:
        if not self.versions:
            yield "no datasets yet; add one with data add SOURCE NAME"
            return
        names = ("dataset", "kind", "content", "size", "added", "by", "aliases", "message")
        yield Table(names, [_row(version) for version in self.versions], title=self.title)

    def to_dict(self) -> dict[str, Any]:
        return {"versions": plain(self.versions)}


def table_format(file_name: str) -> TableFormat | None:
    """The format a file's name promises (`x.csv.gz`), None if no table can be read from it."""
    name = file_name.lower()
    compression = next((c for end, c in COMPRESSIONS.items() if name.endswith(end)), None)
    stem = name.rpartition(".")[0] if compression else name
    found = next((f for end, f in FORMATS.items() if stem.endswith(end)), None)
    if found is None or (compression and found in ("parquet", "feather")):
        return None
    return TableFormat(found, compression)


def _row(version: DatasetVersion) -> tuple[Any, ...]:
    return (
        version.reference,
        version.kind,
        version.shape,
        size(version.size),
        version.created,
        version.author,
        version.aliases,
        version.message,
    )
