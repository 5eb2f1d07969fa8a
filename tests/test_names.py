from __future__ import annotations

import ast
import contextlib
import importlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from mlops_nb.names import names_of


def used(source: str) -> set[str]:
    return set(names_of(source).used)


def deferred(source: str) -> set[str]:
    return set(names_of(source).deferred)


def defined(source: str) -> set[str]:
    return set(names_of(source).defined)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("x", {"x"}),
        ("x = 1\nx", set()),
        ("x\nx = 1", {"x"}),
        ("x = x", {"x"}),
        ("x += 1", {"x"}),
        ("x: T = y", {"T", "y"}),
        ("x: int\nx", {"x"}),
        ("print(len([]), __name__, ValueError)", set()),
        ("[a for a in b if c]", {"b", "c"}),
        ("[a for a in a]", {"a"}),
        ("{k: v for k, v in items for w in v}", {"items"}),
        ("[(y := a) for a in b]\ny", {"b"}),
        ("if (n := f()) > 1: n", {"f"}),
        ("f'{a:{b}} {c!r}'", {"a", "b", "c"}),
        ("a.b = c\nd[e] = f", {"a", "c", "d", "e", "f"}),
        ("def f(a=b, *, c=d) -> e: a, c", {"b", "d", "e"}),
        ("@deco\ndef f(a: T): ...", {"deco", "T"}),
        ("from __future__ import annotations\ndef f(a: T) -> R: ...", set()),
        ("class A(Base, metaclass=M):\n    x = y\n    z = x", {"Base", "M", "y"}),
        ("class A:\n    class E: ...\n    class F(E): ...", set()),
        ("class A:\n    n = 3\n    xs = [n for _ in range(n)]", {"n"}),
        ("class A:\n    x = x", {"x"}),
        ("import a.b as c, d.e\nc, d\ne", {"e"}),
        ("for i in xs:\n    i\ni", {"xs"}),
        ("with open(p) as (a, b), c:\n    a, b", {"p", "c"}),
        ("try:\n    f()\nexcept E as e:\n    e\ne", {"f", "E", "e"}),
        ("match p:\n    case {'k': [a, *b], **c} | K(a, z=V.q): a, b, c", {"p", "K", "V"}),
        ("x = 1\ndel x\nx", {"x"}),
        ("del x", {"x"}),
        ("lambda a, b=c: a", {"c"}),
        ("global x\nx", {"x"}),
        ("if flag:\n    x = 1\nx", {"flag"}),
        ("await f()", {"f"}),
        ("async def f(): ...\nasync for i in f(): i", set()),
    ],
)
def test_the_names_that_must_come_from_above(source: str, names: set[str]) -> None:
    assert used(source) == names


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(): return x", {"x"}),
        ("x = 1\ndef f(): return x", set()),
        ("def f(): return x\nx = 1", {"x"}),
        ("def f(): return f, g\ndef g(): return f", {"g"}),
        ("x = 1\ndef f(): return x\ndel x", {"x"}),
        ("def f():\n    global n\n    n += 1", {"n"}),
        ("n = 0\ndef f():\n    global n\n    n += 1", set()),
        ("def f(): return x\nx", set()),
        ("def f():\n    x = 1\n    def g(): return x, y\n    return g", {"y"}),
        ("def f():\n    x = 1\n    def g():\n        nonlocal x\n        x += 1", set()),
        ("def f():\n    global x\n    x = 1\n    x", set()),
        ("def f():\n    global x\n    return x", {"x"}),
        ("class A:\n    k = 1\n    def m(self): return k, A, __class__", {"k", "A"}),
        ("lambda a: a + b", {"b"}),
        ("def f(*a, k, **kw): return a, k, kw", set()),
        ("def f():\n    x: T = y\n    return x", {"y"}),
        ("def f():\n    try: ...\n    except E as e: e", {"E"}),
        ("def f():\n    [(q := a) for a in b]\n    return q", {"b"}),
        ("def f():\n    import m.n\n    return m", set()),
        ("def f(x):\n    del x\n    match y:\n        case z: return z", {"y"}),
    ],
)
def test_the_names_that_a_call_needs(source: str, names: set[str]) -> None:
    assert deferred(source) == names
    assert names.isdisjoint(used(source))


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("a = b = 1\n(c, [*d]) = e", {"a", "b", "c", "d"}),
        ("import a.b\nimport c as d\nfrom e import f as g, h", {"a", "d", "g", "h"}),
        ("def f(): inner = 1\nclass C: attribute = 1\nasync def g(): ...", {"f", "C", "g"}),
        ("def f():\n    global x\n    x = 1", {"f", "x"}),
        ("[a for a in b]\n(lambda c: (d := c))", set()),
        ("x = y = 1\ndel x", {"y"}),
        ("if c:\n    x = 1\n    del x", {"x"}),
        ("try: ...\nexcept E as e:\n    seen = e", {"seen"}),
        ("try: ...\nexcept* E as e: ...", set()),
        ("match p:\n    case [a, *b]: ...\n    case {**c}: ...", {"a", "b", "c"}),
        ("x: int", set()),
    ],
)
def test_the_names_that_a_piece_binds(source: str, names: set[str]) -> None:
    assert defined(source) == names


@pytest.mark.parametrize(
    "source",
    [
        "try: x\nexcept NameError: x = 1",
        "try: x\nexcept (ValueError, NameError): pass",
        "try: x\nexcept: pass",
        "with suppress(NameError): x",
        "if 'x' in globals(): x",
        "if 'x' not in dir(): pass\nelse: x",
        "if TYPE_CHECKING: x",
        "if typing.TYPE_CHECKING: x",
        "if False: x",
        "for i in y:\n    if i: x\n    x = i",
        "for i in y:\n    i and x\n    x = i",
    ],
)
def test_reads_that_may_fail_are_optional(source: str) -> None:
    names = names_of(source)
    assert "x" in names.optional
    assert "x" not in {*names.used, *names.deferred}


@pytest.mark.parametrize(
    "source",
    [
        "try: x\nexcept ValueError: pass",
        "try: pass\nexcept NameError: x",
        "if 'y' in globals(): x",
        "if DEBUG: x",
        "for i in y:\n    x\n    x = i",
        "while x:\n    x = 0",
        "with suppress(ValueError): x",
    ],
)
def test_reads_that_do_fail_are_used(source: str) -> None:
    assert "x" in used(source)


def test_a_handler_around_a_def_does_not_guard_its_body() -> None:
    assert deferred("try:\n    def f(): return x\nexcept NameError: pass") == {"x"}


def test_builtins_are_optional_so_that_a_shadowed_one_is_still_a_dependency() -> None:
    assert set(names_of("print(id)").optional) == {"print", "id"}


def test_names_come_with_their_first_line() -> None:
    names = names_of("\na = 1\na = b\n\ndef f():\n    return c\nb")
    assert names.defined == {"a": 2, "f": 5}
    assert names.used == {"b": 3}
    assert names.deferred == {"c": 6}


def test_deleted_names_are_those_gone_for_certain() -> None:
    assert names_of("del x").deleted == {"x"}
    assert names_of("del x\nx = 1").deleted == frozenset()
    assert names_of("if c: del x").deleted == frozenset()
    assert names_of("def f():\n    x = 1\n    del x").deleted == frozenset()


@pytest.mark.parametrize(
    "source",
    [
        "from math import *",
        "exec(code)",
        "globals()['x'] = 1",
        "globals().update(x=1)",
        "get_ipython().user_ns['x'] = 1",
        "get_ipython().push({'x': 1})",
    ],
)
def test_names_that_cannot_be_read_are_a_star(source: str) -> None:
    assert names_of(source).star


@pytest.mark.parametrize(
    "source",
    ["import math", "exec(code, {})", "globals()['x']", "d.update(x=1)", "locals().get('x')"],
)
def test_plain_code_is_no_star(source: str) -> None:
    assert not names_of(source).star


def test_earlier_lazy_annotations_can_be_said() -> None:
    assert names_of("def f(a: T): ...", lazy_annotations=True).used == {}


def test_invalid_python_is_a_syntax_error() -> None:
    with pytest.raises(SyntaxError):
        names_of("def f(:")


def test_code_nested_too_deep_to_walk_is_read_roughly() -> None:
    names = names_of("x = " + " + ".join(["a"] * 2000))
    assert (names.defined, names.used, names.star) == ({"x": 1}, {}, True)


@pytest.mark.parametrize("module", ["argparse", "dataclasses", "typing", "enum", "json.decoder"])
def test_a_working_module_needs_nothing_from_above(module: str) -> None:
    source = Path(str(importlib.import_module(module).__file__)).read_text("utf-8")
    names = names_of(source)
    assert names.used == {}
    assert set(names.deferred) <= set(names.defined)
    classes = {node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    assert classes <= set(names.defined)


NAMES = st.sampled_from("abcd")
READS = st.sampled_from(["a", "b", "c", "d", "e", "1"])
EXPRESSIONS = st.one_of(
    READS,
    st.builds("({}, {})".format, READS, READS),
    st.builds("f'{{{}}}'".format, READS),
    st.builds("[{} for {} in ({},)]".format, READS, NAMES, READS),
    st.builds("[{0} for _ in (1,) for {1} in ({2},) if {0}]".format, READS, NAMES, READS),
    st.builds("({} := {})".format, NAMES, READS),
    st.builds("[({} := {}) for _ in (1,)]".format, NAMES, READS),
    st.builds("(lambda {}={}: {})()".format, NAMES, READS, READS),
)
STATEMENTS = st.one_of(
    EXPRESSIONS,
    st.builds("{} = {}".format, NAMES, EXPRESSIONS),
    st.builds("{}: {} = {}".format, NAMES, READS, EXPRESSIONS),
    st.builds("{}: {}".format, NAMES, READS),
    st.builds("({}, *{}) = ({}, 2)".format, NAMES, NAMES, EXPRESSIONS),
    st.builds("{} += (1,)".format, NAMES),
    st.builds("del {}".format, NAMES),
    st.builds("import os.path as {}".format, NAMES),
    st.builds("for {} in ({},):\n    {}".format, NAMES, EXPRESSIONS, EXPRESSIONS),
    st.builds("with nullcontext({}) as {}:\n    {}".format, READS, NAMES, EXPRESSIONS),
    st.builds("def {}(p={}, {}=1):\n    return p, {}".format, NAMES, READS, NAMES, EXPRESSIONS),
    st.builds("def {0}():\n    return {1}\n{0}()".format, NAMES, EXPRESSIONS),
    st.builds("def {0}():\n    {1} = 1\n    def g(): return {1}, {2}\n    return g()\n{0}()".format,
              NAMES, NAMES, READS),
    st.builds("def {0}():\n    global {1}\n    {1} = {2}\n{0}()".format, NAMES, NAMES, READS),
    st.builds("class {}:\n    {} = {}\n    k = {}".format, NAMES, NAMES, EXPRESSIONS, EXPRESSIONS),
    st.builds("class {}:\n    {} = 1\n    class k: z = {}".format, NAMES, NAMES, READS),
    st.builds("try:\n    int('x')\nexcept ValueError as e:\n    {}".format, READS),
    st.builds("match {}:\n    case {}: {}".format, READS, NAMES, READS),
)  # fmt: skip
PROGRAMS = st.lists(STATEMENTS, max_size=8).map("\n".join)


def ran(source: str) -> tuple[set[str], Exception | None]:
    """The names that running the program leaves, and what stopped it."""
    space: dict[str, Any] = {"nullcontext": contextlib.nullcontext}
    try:
        exec(compile(source, "piece", "exec", dont_inherit=True), space)
    except Exception as error:
        return set(space), error
    return set(space) - {"__builtins__", "__annotations__", "nullcontext"}, None


@given(PROGRAMS)
@settings(max_examples=500, deadline=None)
def test_reading_a_program_agrees_with_running_it(source: str) -> None:
    try:
        compile(source, "piece", "exec")
    except SyntaxError:
        return
    names = names_of(source)
    bound, error = ran(source)
    needs = set(names.used) - {"nullcontext"}
    if error is None:
        assert not needs
        assert bound == set(names.defined)
    elif isinstance(error, NameError) and str(error).startswith("name "):  # not a local unbound yet
        assert error.name in {*names.used, *names.deferred}
    assert not needs or error is not None
