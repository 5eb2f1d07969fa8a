"""Values of a type: from a word of the command line, or from a value of another library.

A type is one of int, float, bool, str, list, dict, date, datetime, Path or any, by its name. What
fits no type raises Python's own errors: only the caller knows which parameter to name.
"""

from __future__ import annotations

import ast
import json
import math
import warnings
from datetime import date, datetime
from pathlib import Path
from typing import Any

# What reading a literal raises where the text or the syntax is none.
NO_LITERAL = (ValueError, TypeError, SyntaxError, RecursionError, MemoryError)
BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
KINDS: dict[type, str] = {
    **{bool: "bool", int: "int", float: "float", str: "str", dict: "dict"},
    **{list: "list", tuple: "list", set: "list", frozenset: "list"},
}
# How a value of a type is written, for messages.
EXAMPLES = {
    **{"int": "3", "float": "0.5", "bool": "true or false", "list": "[1, 2]", "dict": '{"a": 1}'},
    **{"date": "2026-01-31", "datetime": "2026-01-31T12:00", "Path": "data/flights.csv"},
}


def kind_of(value: Any) -> str:
    """The type of a literal's value by its name, `any` for one that has none here."""
    return KINDS.get(type(value), "any")


def parse_word(kind: str, text: str) -> Any:
    """Text as a value that `fit_value` takes for this type. Raises one of NO_LITERAL.

    Numbers are finite, also within a list or dict. Text that is no bool stays text.
    """
    if kind in ("str", "date", "datetime", "Path"):
        return text
    if kind == "any":
        return _any(text)
    word = text.strip()
    if kind == "bool":
        return BOOLEANS.get(word.lower(), text)
    if kind == "int":
        return int(word)
    if kind == "float":
        return _finite(float(word))
    return _literal(word)


def _any(text: str) -> Any:
    try:
        return _literal(text.strip())
    except NO_LITERAL:
        return text


def _literal(text: str) -> Any:
    """A JSON literal, else a Python literal, with finite numbers."""
    try:
        value = json.loads(text)
    except ValueError:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = ast.literal_eval(text)
    return _finite(native(value))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(value)
    if isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            _finite(item)
    return value


def native(value: Any) -> Any:
    """Scalars and arrays of numpy as Python's values; tuples and sets as lists."""
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "dtype") and hasattr(value, "item"):
        return value.item()
    if isinstance(value, (set, frozenset)):
        return sorted(
            (native(item) for item in value), key=lambda item: (str(type(item)), str(item))
        )
    if isinstance(value, (list, tuple)):
        return [native(item) for item in value]
    if isinstance(value, dict):
        return {key: native(item) for key, item in value.items()}
    return value


def fit_value(kind: str, item: str, value: Any) -> Any:
    """A native value as one of the type `kind`, its items or dict values of the type `item`.

    Raises ValueError, TypeError, OverflowError where it is none.
    """
    if kind == "list" and isinstance(value, list):
        return [fit_value(item, "any", part) for part in value]
    if kind == "dict" and isinstance(value, dict):
        return {key: fit_value(item, "any", part) for key, part in value.items()}
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in ("date", "datetime"):
        return _fit_time(kind, value)
    if kind == "Path" and isinstance(value, (str, Path)) and str(value):
        return Path(value)
    if (
        kind == "any"
        or KINDS.get(type(value)) == kind
        or (kind == "str" and isinstance(value, str))
    ):
        return value
    raise ValueError(value)


def _fit_time(kind: str, value: Any) -> date:
    if isinstance(value, str):
        value = date.fromisoformat(value) if kind == "date" else datetime.fromisoformat(value)
    if kind == "datetime" and isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)
    if isinstance(value, datetime) is (kind == "datetime") and isinstance(value, date):
        return value
    raise ValueError(value)


def same(value: Any, choice: Any) -> bool:
    """Whether they are equal and of one type: `True` is not `1`."""
    return type(value) is type(choice) and bool(value == choice)
