"""How a value looks: one description, shown as text, as HTML and as JSON.

A noun says *what* there is to see (`parts`: lines and tables); this module says how it looks.
Names and values come from anywhere, so every character is made harmless for its face.
"""

from __future__ import annotations

import dataclasses
import html
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import PurePath
from typing import Any

CELL_WIDTH = 60  # characters of one value in a text table; JSON and HTML are not cut


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows under column names, which may all be empty; numbers stand on the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""
    width: int = CELL_WIDTH  # of one value in text

    def to_text(self) -> str:
        cells = [[short(value, self.width) for value in row] for row in self.rows]
        widths = [
            max(map(len, column), default=0) for column in zip(self.columns, *cells, strict=True)
        ]
        head = [list(self.columns), ["─" * width for width in widths]] if any(self.columns) else []
        right = [self._is_numeric(i) for i in range(len(self.columns))]
        lines = [self.title] if self.title else []
        lines += [_line(row, widths, right) for row in [*head, *cells]]
        return "\n".join(lines)

    def to_html(self) -> str:
        names = "".join(f"<th>{_escape(name)}</th>" for name in self.columns)
        head = f"<thead><tr>{names}</tr></thead>" if any(self.columns) else ""
        body = "".join(
            "<tr>" + "".join(f"<td>{_escape(display(v))}</td>" for v in row) + "</tr>"
            for row in self.rows
        )
        caption = f"<caption>{_escape(self.title)}</caption>" if self.title else ""
        return f'<table class="mlops-table">{caption}{head}<tbody>{body}</tbody></table>'

    def _is_numeric(self, column: int) -> bool:
        values = [row[column] for row in self.rows if row[column] is not None]
        return bool(values) and all(isinstance(v, numbers.Number) for v in values)


class Shown:
    """Mixin of every value a command returns: `parts` and `to_dict` are all a noun defines."""

    def parts(self) -> Iterable[Table | str]:
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        return plain(dataclasses.asdict(self))  # type: ignore[call-overload, no-any-return]

    def __str__(self) -> str:
        return "\n".join(
            p.to_text() if isinstance(p, Table) else printable(p) for p in self.parts()
        )

    def _repr_html_(self) -> str:
        return "".join(
            p.to_html() if isinstance(p, Table) else f"<div>{_escape(p)}</div>"
            for p in self.parts()
        )

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """IPython asks for this first; a dataclass's own repr would win over `_repr_pretty_`."""
        return {"text/plain": str(self), "text/html": self._repr_html_()}


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    cells = zip(row, widths, right, strict=True)
    return "  ".join(t.rjust(w) if r else t.ljust(w) for t, w, r in cells).rstrip()


def to_text(value: Any) -> str:
    """Any value that a command returns, for a terminal."""
    if isinstance(value, Mapping):
        return Table(("", ""), list(value.items())).to_text()
    return printable(str(value))


def display(value: Any) -> str:
    """A value as people read it: 4 significant digits, local time, no `None`."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e6 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, timedelta):
        return duration(value.total_seconds())
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={display(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(display(item) for item in value)
    return printable(str(value))


def short(value: Any, width: int = CELL_WIDTH) -> str:
    """`display` on one line, cut to `width` characters."""
    text = " ".join(display(value).split())
    return text if len(text) <= width else text[: width - 1] + "…"


def printable(text: str) -> str:
    """Text without control characters (terminal escapes), line ends and tabs kept."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def duration(seconds: float) -> str:
    """Seconds as `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def size(n_bytes: int) -> str:
    """Bytes as `812 B`, `4.2 kB`, `1.3 MB` (powers of 1000)."""
    amount = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def plain(value: Any) -> Any:
    """A value as JSON can hold it exactly; NaN and infinities, which JSON lacks, as strings."""
    if isinstance(value, Shown):
        return value.to_dict()
    if hasattr(value, "to_records"):  # a DataFrame, which nobody here imports
        rows = value.to_dict("records")
        return [{str(k): plain(v) for k, v in row.items() if not _is_gap(v)} for row in rows]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, (bool, int, str)) or value is None:
        return value
    if isinstance(value, numbers.Real):
        number = float(value)
        return number if math.isfinite(number) else str(number)
    return str(value)


def _is_gap(value: Any) -> bool:
    """What a table has where a row has nothing: not equal to itself."""
    return isinstance(value, (float, datetime)) and value != value  # noqa: PLR0124


def _escape(text: str) -> str:
    return html.escape(printable(text))
