"""Tables in memory and in files: the home of pandas and pyarrow.

A frame becomes an Arrow table once (`arrow_frame`); digest, profile and Parquet are made from it.
What a digest counts is said in `digests.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as pf
import pyarrow.parquet as pq
from pandas.api.types import infer_dtype

from mlops_nb.backends.digests import column_digest, type_name
from mlops_nb.datasets import Column, Scalar, TableFormat
from mlops_nb.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXT_WIDTH = 100  # characters kept of a smallest or largest text
SECONDS = (
    b"mlops_nb.seconds"  # our note on columns in seconds: Parquet would make them milliseconds
)


@dataclass(frozen=True)
class ArrowFrame:
    """A table with what pandas needs beside it: which columns are the index, odd labels."""

    table: pa.Table
    index: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


def arrow_frame(source: object) -> ArrowFrame:
    """A pandas frame, or anything that speaks Arrow's stream interface (polars, pyarrow, …).

    Raises UsageError for what is no table, and for columns that Arrow cannot hold.
    """
    if isinstance(source, pd.DataFrame):
        return _from_pandas(source)
    if isinstance(source, pd.Series):
        raise UsageError("a Series is no table", cure="add series.to_frame()")
    if hasattr(source, "__arrow_c_stream__"):
        table = pa.table(source)
        _refuse_twins(table.column_names)
        return ArrowFrame(table)
    raise UsageError(
        f"{type(source).__name__} is no table",
        cure="add a DataFrame, or the path of a file or folder",
    )


def digest(frame: ArrowFrame) -> str:
    """32 hex characters over schema and every cell.

    Raises UsageError for a type without a canonical form (unions).
    """
    table = frame.table.unify_dictionaries()
    head = {
        "rows": table.num_rows,
        "columns": [[f.name, type_name(f.type)] for f in table.schema],
        "index": frame.index,
        "labels": frame.labels,
    }
    whole = hashlib.blake2b(b"mlops_nb table 0\n", digest_size=16)
    whole.update(json.dumps(head).encode())
    for name, column in zip(table.column_names, table.columns, strict=True):
        try:
            whole.update(column_digest(column))
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise UsageError(
                f"column {name!r} of type {column.type} has no digest ({_line(error)})",
                cure="convert it, e.g. to text",
            ) from None
    return whole.hexdigest()


def profile(frame: ArrowFrame) -> tuple[Column, ...]:
    """Name, type, nulls, distinct values, smallest, largest and mean of every column."""
    return tuple(
        _column_profile(name, column)
        for name, column in zip(frame.table.column_names, frame.table.columns, strict=True)
    )


def write_parquet(frame: ArrowFrame, sink: Any) -> None:
    """The table as Parquet (zstd) into a binary file object."""
    schema = frame.table.schema
    seconds = [i for i, kind in enumerate(schema.types) if str(kind).startswith("timestamp[s")]
    noted = {**(schema.metadata or {}), SECONDS: json.dumps(seconds)}
    pq.write_table(frame.table.replace_schema_metadata(noted), sink, compression="zstd")


def read(handle: IO[bytes], form: TableFormat) -> pd.DataFrame:
    """The table in an open file; whatever its parser raises comes through."""
    if form.name == "parquet":
        return _restored(pq.ParquetFile(handle))
    if form.name == "feather":
        return cast("pd.DataFrame", pf.read_table(handle).to_pandas())
    compression: Any = {"method": form.compression} if form.compression else None
    if form.name in ("json", "jsonl"):
        return pd.read_json(handle, lines=form.name == "jsonl", compression=compression)
    separator = "\t" if form.name == "tsv" else ","
    # low_memory=False: one type a column, however long the file is
    return pd.read_csv(handle, sep=separator, compression=compression, low_memory=False)


def read_all(handles: Sequence[tuple[str, IO[bytes]]], form: TableFormat) -> pd.DataFrame:
    """Several (path, open file) of one format below each other, in the order given.

    Raises UsageError if their columns differ.
    """
    frames = [read(handle, form) for _, handle in handles]
    for (path, _), frame in zip(handles, frames, strict=True):
        if list(frame.columns) != list(frames[0].columns):
            raise UsageError(
                f"{path} has other columns than {handles[0][0]}",
                cure="get the files with data checkout and read them apart",
            )
    return pd.concat(frames, ignore_index=all(_is_default(f.index) for f in frames))


def profile_file(handle: IO[bytes], form: TableFormat) -> tuple[int, tuple[Column, ...]]:
    """Rows and profiled columns of the table in an open file; a parser's error comes through."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice to a caller of pandas, who is not the user
        frame = read(handle, form)
    columns = []
    for position, label in enumerate(frame.columns):
        series = frame.iloc[:, position]
        try:
            column = pa.chunked_array([pa.array(series, from_pandas=True)])
        except (pa.ArrowException, TypeError, ValueError):
            columns.append(Column(str(label), str(series.dtype), int(series.isna().sum())))
        else:
            columns.append(_column_profile(str(label), column))
    return len(frame), tuple(columns)


def _from_pandas(frame: pd.DataFrame) -> ArrowFrame:
    _refuse_twins([str(label) for label in frame.columns])
    for position, label in enumerate(frame.columns):
        _refuse_lossy(label, frame.iloc[:, position])
    keeps_index: bool | None = True
    frame = frame.copy(deep=False)
    frame.attrs = {}  # a user's notes: no data, and not always JSON
    if _is_default(frame.index) and (len(frame.columns) or not len(frame)):
        # None: pyarrow notes a RangeIndex beside the data, and the labels' types with it
        keeps_index, frame = None, frame.set_axis(pd.RangeIndex(len(frame)))
    try:
        table = pa.Table.from_pandas(frame, preserve_index=keeps_index)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise _refusal(frame, error) from None
    index = table.column_names[len(frame.columns) :]
    return ArrowFrame(table, index=tuple(index), labels=_odd_labels(frame.columns))


def _is_default(index: pd.Index[Any]) -> bool:
    """Whether an index only counts the rows from 0, and so is no data."""
    if index.name is not None or index.nlevels > 1 or index.dtype != "int64":
        return False
    return index.equals(pd.RangeIndex(len(index)))


def _odd_labels(labels: pd.Index[Any]) -> tuple[str, ...]:
    """Column labels that Arrow would only keep as text: numbers, tuples, a named header."""
    named = any(name is not None for name in labels.names)
    if not named and all(isinstance(label, str) for label in labels):
        return ()
    return (repr(list(labels.names)), *(f"{type(x).__name__}:{x}" for x in labels))


def _refuse_twins(names: Sequence[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise UsageError(f"{times} columns are named {name!r}", cure="rename them apart")


def _refuse_lossy(label: Any, series: pd.Series[Any]) -> None:
    """Refuse Python objects that Arrow takes but would give back as something else."""
    if series.dtype != object or not infer_dtype(series).startswith("mixed"):
        return
    if infer_dtype(series) == "mixed-integer-float":
        return
    for value in series.dropna():
        if not isinstance(value, (list, np.ndarray)) or any(isinstance(v, dict) for v in value):
            raise _mixed(label, f"a {type(value).__name__} among them")


def _mixed(label: Any, reason: str) -> UsageError:
    return UsageError(
        f"column {label!r} holds Python objects of mixed or unknown types ({reason})",
        cure=f"make it text, df[{label!r}] = df[{label!r}].astype(str), or drop it",
    )


def _refusal(frame: pd.DataFrame, error: Exception) -> UsageError:
    """What to say when pandas' frame does not fit into Arrow: which column, and how to mend it."""
    for label in frame.columns:
        try:
            pa.array(frame[label], from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as reason:
            return _mixed(label, _line(reason))
    return UsageError(
        f"the index cannot be stored ({_line(error)})", cure="add df.reset_index(drop=True)"
    )


def _restored(file: pq.ParquetFile) -> pd.DataFrame:
    table = file.read()
    for position in json.loads((table.schema.metadata or {}).get(SECONDS, b"[]")):
        field = table.schema.field(position)
        seconds = table.column(position).cast(pa.timestamp("s", field.type.tz))
        table = table.set_column(position, field.name, seconds)
    return cast("pd.DataFrame", table.to_pandas())


def _column_profile(name: str, column: pa.ChunkedArray) -> Column:
    values = column
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    extremes = _computed(pc.min_max, values) or {"min": None, "max": None}
    is_number = pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
    mean = _computed(pc.mean, values) if is_number else None
    return Column(
        name=name,
        type=type_name(column.type),
        nulls=column.null_count,
        distinct=_computed(pc.count_distinct, values),
        min=_scalar(extremes["min"]),
        max=_scalar(extremes["max"]),
        mean=mean if mean is not None and math.isfinite(mean) else None,
    )


def _computed(function: Any, values: pa.ChunkedArray) -> Any:
    """The result, or None where Arrow knows none for the type."""
    try:
        return function(values).as_py()
    except (pa.ArrowException, ValueError, OverflowError):
        return None


def _scalar(value: object) -> Scalar:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return text if len(text) <= TEXT_WIDTH else text[: TEXT_WIDTH - 1] + "…"


def _line(error: Exception) -> str:
    return " ".join(str(error.args[0] if error.args else error).split())[:120]
