from __future__ import annotations

import re
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mlops_nb.errors import ParameterError
from mlops_nb.parameters import COMPUTED, REQUIRED, Parameter, Schema, read_schema

CELL = """import os
from pathlib import Path
month: int = 1  # which month, 1-12
rate = 0.1  # learning # rate
name = "x # y"
fast = False
kind: Literal["tree", "linear"] = "tree"
seed: int | None = None
tags: list[str] = []
limits: dict[str, int] = {}
day: date = date(2026, 1, 31)
since: datetime.datetime
source: Path = Path("data")
region = os.environ.get("REGION", "eu")  # where
anything = None
_private = 1
def helper(): ...
"""
SCHEMA = read_schema(CELL, notebook="train.ipynb")
GIVEN = {"since": datetime(2026, 1, 1)}


def declared(source: str) -> Parameter:
    """The one parameter of a cell."""
    (parameter,) = read_schema(source, notebook="a.ipynb").parameters.values()
    return parameter


def refused(given: dict[Any, Any], schema: Schema = SCHEMA) -> ParameterError:
    with pytest.raises(ParameterError) as caught:
        schema.check(given)
    assert "\n" not in str(caught.value)
    return caught.value


def test_every_declared_parameter_is_read_and_nothing_else() -> None:
    assert " ".join(SCHEMA.parameters) == (
        "month rate name fast kind seed tags limits day since source region anything"
    )
    assert SCHEMA.parameters["month"] == Parameter(
        "month", "int", default=1, help="which month, 1-12", line=3, annotated=True
    )
    assert [p.name for p in SCHEMA.parameters.values() if p.required] == ["since"]


@pytest.mark.parametrize(
    ("source", "kind", "optional", "default"),
    [
        ("x = 5", "int", False, 5),
        ("x = -5", "int", False, -5),
        ("x = 1e3", "float", False, 1000.0),
        ("x = True", "bool", False, True),
        ("x = (1, 2)", "list", False, (1, 2)),
        ("x = {'a': 1}", "dict", False, {"a": 1}),
        ("x = dict(a=1)", "any", False, COMPUTED),
        ("x = None", "any", True, None),
        ("x = Path('a')", "Path", False, COMPUTED),
        ("x: float = 5", "float", False, 5),
        ("x: 'int | None' = 5", "int", True, 5),
        ("x: Optional[float]", "float", True, REQUIRED),
        ("x: typing.Union[str, None] = 'a'", "str", True, "a"),
        ("x: int = None", "int", True, None),
        ("x: int | float = 1", "float", False, 1),
        ("x: int | str = 1", "any", False, 1),
        ("x: pd.DataFrame = None", "any", True, None),
        ("x: dt.date", "date", False, REQUIRED),
        ("x: tuple[int, ...] = (1,)", "list", False, (1,)),
        ("x: Annotated[int, 'months'] = 1", "int", False, 1),
        ("x = 1  # type: float the rate", "float", False, 1),
        ("x: int = 1\nx = 2", "int", False, 2),
    ],
)
def test_the_type_comes_from_the_annotation_else_the_default(
    source: str, kind: str, optional: bool, default: Any
) -> None:
    parameter = declared(source)
    assert (parameter.type, parameter.optional, parameter.default) == (kind, optional, default)


def test_help_is_the_comment_and_no_hash_within_a_string() -> None:
    helps = {name: parameter.help for name, parameter in SCHEMA.parameters.items()}
    assert (helps["rate"], helps["name"], helps["region"]) == ("learning # rate", "", "where")
    assert declared("# above\nx = [  # first\n 1,\n]").help == "first"
    assert declared("x = [\n 1,\n]  # last").help == "last"
    assert declared("x = 1  # type: int which").help == "which"


def test_several_parameters_on_one_line_are_all_read() -> None:
    found = read_schema("m: int = 5; n = 6  # both\na = b = 1\nc, d = 1, 'x'", notebook="a.ipynb")
    assert {name: (p.type, p.line) for name, p in found.parameters.items()} == {
        **{"m": ("int", 1), "n": ("int", 1), "a": ("int", 2), "b": ("int", 2)},
        **{"c": ("int", 3), "d": ("str", 3)},
    }
    assert found.parameters["n"].help == "both"


def test_a_literal_lists_its_choices() -> None:
    assert SCHEMA.parameters["kind"].choices == ("tree", "linear")
    assert "one of 'tree', 'linear', got str 'bush'; give it tree or linear" in str(
        refused(GIVEN | {"kind": "bush"})
    )
    assert "one of 1, 2" in str(refused({"x": True}, read_schema("x: Literal[1, 2]", notebook="a")))


def test_a_broken_parameters_cell_is_named_with_its_line() -> None:
    with pytest.raises(ParameterError, match=r"a\.ipynb: the parameters cell .* line 2"):
        read_schema("x = 1\ny = = 2", notebook="a.ipynb")


@pytest.mark.parametrize(
    ("name", "value", "result"),
    [
        ("month", np.int64(3), 3),
        ("rate", 1, 1.0),
        ("rate", np.float32(0.5), 0.5),
        ("fast", np.bool_(True), True),
        ("seed", None, None),
        ("tags", ("a", "b"), ["a", "b"]),
        ("tags", {"b", "a"}, ["a", "b"]),
        ("tags", np.array(["a"]), ["a"]),
        ("limits", {"a": np.int64(1)}, {"a": 1}),
        ("day", date(2026, 2, 1), date(2026, 2, 1)),
        ("day", "2026-02-01", date(2026, 2, 1)),
        ("since", date(2026, 2, 1), datetime(2026, 2, 1)),
        ("source", "data/x.csv", Path("data/x.csv")),
        ("region", [1, "a", None], [1, "a", None]),
        ("anything", None, None),
    ],
)
def test_values_that_fit_come_out_in_the_declared_type(name: str, value: Any, result: Any) -> None:
    checked = SCHEMA.check(GIVEN | {name: value})[name]
    assert checked == result
    assert type(checked) is type(result)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("month", True, "line 3: month expects int, got bool True"),
        ("month", 1.0, "month expects int, got float 1.0"),
        ("month", "1", "month expects int, got str '1'; give it 3"),
        ("month", None, "month expects int, got NoneType None"),
        ("rate", True, "rate expects float, got bool True"),
        ("rate", "1e3", "rate expects float, got str '1e3'; give it 0.5"),
        ("rate", 10**400, "rate expects float, got int"),
        ("name", 5, "name expects str, got int 5; put it in quotes"),
        ("fast", 1, "fast expects bool, got int 1; give it true or false"),
        ("seed", "x", "seed expects int or None, got str 'x'"),
        ("tags", "ab", "tags expects list[str], got str 'ab'"),
        ("tags", [1], "tags expects list[str], got list [1]"),
        ("limits", {"a": "b"}, "limits expects dict[str, int], got dict"),
        ("day", datetime(2026, 1, 1), "day expects date, got datetime"),
        ("day", "soon", "day expects date, got str 'soon'; give it 2026-01-31"),
    ],
)
def test_values_that_do_not_fit_are_explained(name: str, value: Any, told: str) -> None:
    error = refused(GIVEN | {name: value})
    assert str(error).startswith("train.ipynb, parameters cell, line ")
    assert told in str(error)


def test_an_int_by_its_default_alone_can_be_widened_in_the_notebook() -> None:
    error = refused({"lr": 0.5}, read_schema("lr = 1", notebook="a.ipynb"))
    assert error.cure == "write lr: float = 1 in the notebook"


def test_an_unknown_name_is_refused_with_the_nearest_and_all_known() -> None:
    error = refused(GIVEN | {"moth": 1})
    assert error.problem == "train.ipynb has no parameter 'moth'"
    assert error.cure.startswith("did you mean month? it declares month, rate,")


def test_a_required_parameter_is_asked_for() -> None:
    error = refused({})
    assert error.problem == "train.ipynb, parameters cell, line 12: since (datetime) is required"
    assert error.cure == "add -p since VALUE"


def test_a_notebook_without_parameters_says_how_to_declare_them() -> None:
    empty = read_schema("", notebook="a.ipynb")
    assert empty.check({}) == {}
    assert "a.ipynb declares no parameters" in str(refused({"x": 1}, empty))
    assert "tag a cell `parameters`" in str(refused({"x": 1}, empty))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        *[("fast", word, True) for word in ("true", "True", "YES", "1")],
        *[("fast", word, False) for word in ("false", "No", "0")],
        *[("month", "3", 3), ("month", " -3 ", -3), ("seed", "none", None), ("seed", "4", 4)],
        *[("rate", "1e3", 1000.0), ("rate", "5", 5.0)],
        *[("name", "5", "5"), ("name", "", ""), ("name", " null", " null")],
        *[("tags", '["a"]', ["a"]), ("tags", "('a', 'b')", ["a", "b"]), ("tags", "[]", [])],
        *[("limits", '{"a": 1}', {"a": 1}), ("limits", "{'a': 1}", {"a": 1})],
        *[("day", "2026-02-01", date(2026, 2, 1)), ("source", "a b", Path("a b"))],
        ("since", "2026-02-01T10:00", datetime(2026, 2, 1, 10)),
        *[("region", "5", 5), ("region", "null", None), ("region", "None", None)],
        *[("region", "(1,)", [1]), ("region", "eu", "eu"), ("region", "nan", "nan")],
        *[("region", "1e999", "1e999"), ("region", '"5"', "5"), ("kind", "linear", "linear")],
    ],
)
def test_a_word_of_the_command_line_has_one_meaning(name: str, text: str, value: Any) -> None:
    parsed = SCHEMA.parse(name, text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *[("fast", ""), ("fast", "2"), ("fast", "on"), ("month", "1.0"), ("month", "1e3")],
        *[("month", ""), ("month", "none"), ("rate", "nan"), ("rate", "-inf"), ("rate", "x")],
        *[("tags", "a"), ("tags", "{}"), ("tags", "[1]"), ("tags", "[" * 9999), ("limits", "[]")],
        *[("limits", '{"a": NaN}'), ("day", "31.1.2026"), ("source", ""), ("kind", "bush")],
        *[("tags", "__import__('os')"), ("month", "9" * 9999)],
    ],
)
def test_text_that_does_not_fit_is_refused_in_one_line(name: str, text: str) -> None:
    with pytest.raises(ParameterError, match=rf"train\.ipynb, .* {name} expects ") as caught:
        SCHEMA.parse(name, text)
    assert len(str(caught.value)) < 250


def test_parsing_an_unknown_name_is_refused() -> None:
    with pytest.raises(ParameterError, match="no parameter 'moth'; did you mean month"):
        SCHEMA.parse("moth", "1")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
HOSTILE = [
    "__class__",
    "print",
    "import os",
    "x=1\nimport os",
    "_private",
    "helper",
    "os",
    "ｍonth",
]
KEYS = st.text(max_size=12) | st.sampled_from([*HOSTILE, *SCHEMA.parameters])


@given(st.dictionaries(KEYS | st.integers(), VALUES, max_size=3))
@settings(max_examples=200, deadline=None)
def test_only_declared_names_ever_pass(given_values: dict[Any, Any]) -> None:
    try:
        checked = SCHEMA.check(GIVEN | given_values)
    except ParameterError as error:
        assert not re.search(r"[\x00-\x1f]", str(error))
    else:
        assert set(checked) <= set(SCHEMA.parameters)
        assert set(checked) == set(GIVEN) | set(given_values)


@pytest.mark.parametrize("name", [*HOSTILE, 1, None, ("month",)])
def test_a_hostile_name_never_passes(name: Any) -> None:
    assert "has no parameter" in str(refused(GIVEN | {name: 1}))


@given(st.sampled_from(list(SCHEMA.parameters)), st.text(max_size=30))
@settings(max_examples=200, deadline=None)
def test_any_text_is_parsed_to_the_declared_type_or_refused(name: str, text: str) -> None:
    try:
        value = SCHEMA.parse(name, text)
    except ParameterError:
        return
    assert SCHEMA.check(GIVEN | {name: value})[name] == value
