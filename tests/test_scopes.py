from __future__ import annotations

import ast
import sys

import pytest

from mlops_nb.scopes import (
    Scope,
    binding_scope,
    bindings,
    binds_unseen,
    catches_name_error,
    checked_names,
    class_scope,
    comprehension_scope,
    function_scope,
    is_local,
    never_runs,
    type_scope,
)


def statement(source: str) -> ast.stmt:
    (node,) = ast.parse(source).body
    return node


def expression(source: str) -> ast.expr:
    return ast.parse(source, mode="eval").body


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("a = b[c] = d.e = 1", {"a"}),
        ("del a", {"a"}),
        ("import a.b, c.d as e\nfrom f import g, h as i", {"a", "e", "g", "i"}),
        ("from a import *", {"*"}),
        ("def f(a): b = 1\nclass C: c = 1\nlambda d: (e := d)", {"f", "C"}),
        ("for a, (b, *c) in d: e = 1", {"a", "b", "c", "e"}),
        ("[(a := b) for b in c]", {"a"}),
        ("try: a = 1\nexcept E as e: b = 1", {"a", "b", "e"}),
        ("match p:\n    case [a, *b] | {'k': c, **d} as e: f = 1", {"a", "b", "c", "d", "e", "f"}),
    ],
)
def test_the_bindings_of_nodes_are_those_of_their_own_scope(source: str, names: set[str]) -> None:
    assert set(bindings(ast.parse(source).body)) == names


def test_a_function_holds_what_it_binds_but_neither_global_nor_nonlocal_names() -> None:
    source = "def f(a, /, b, *c, d, **e):\n    global g\n    nonlocal h\n    g = h = i = 1"
    node = statement(source)
    assert isinstance(node, ast.FunctionDef)
    scope = function_scope(node.args, node.body)
    assert scope.bound == {"a", "b", "c", "d", "e", "i"}
    assert scope.outside == {"g"}


def test_declarations_of_a_function_within_are_its_own() -> None:
    node = statement("def f():\n    if a:\n        global b\n    def g():\n        global c")
    assert isinstance(node, ast.FunctionDef)
    assert function_scope(node.args, node.body).outside == {"b"}


def test_a_class_begins_with_its_module_and_name_alone() -> None:
    node = statement("class A:\n    global b\n    a = b = 1")
    assert isinstance(node, ast.ClassDef)
    assert class_scope(node) == Scope("class", {"__module__", "__qualname__"}, frozenset({"b"}))


def test_a_comprehension_holds_its_targets() -> None:
    node = expression("[(d := a) for a, b in x for c in b]")
    assert isinstance(node, ast.ListComp)
    assert comprehension_scope(node).bound == {"a", "b", "c"}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.12 brought type parameters")
def test_type_parameters_live_in_a_scope_of_their_own() -> None:
    assert type_scope(statement("def f[T, *Ts](a: T): ...")).bound == {"T", "Ts"}


def test_without_type_parameters_their_scope_is_empty() -> None:
    assert type_scope(statement("def f(a): ...")) == Scope("types")


@pytest.mark.parametrize(
    ("scopes", "local"),
    [
        ([Scope("function", {"x"})], True),
        ([Scope("class", {"x"})], True),
        ([Scope("class", {"x"}), Scope("function")], False),
        ([Scope("class", {"x"}), Scope("comprehension")], False),
        ([Scope("class", {"x"}), Scope("types")], True),
        ([Scope("function", {"x"}), Scope("class"), Scope("function")], True),
        ([Scope("function", {"x"}), Scope("function", outside=frozenset("x"))], False),
        ([], False),
    ],
)
def test_a_name_is_looked_up_through_the_scopes_as_python_does(
    scopes: list[Scope], local: bool
) -> None:
    assert is_local("x", [Scope("module"), *scopes]) is local


def test_a_walrus_binds_around_its_comprehension() -> None:
    module, function = Scope("module"), Scope("function")
    assert binding_scope([module, function, Scope("comprehension")]) is function
    assert binding_scope([module, Scope("types"), Scope("comprehension")]) is module


@pytest.mark.parametrize("test", ["False", "0", "None", "TYPE_CHECKING", "typing.TYPE_CHECKING"])
def test_a_body_under_such_a_test_never_runs(test: str) -> None:
    assert never_runs(expression(test))


@pytest.mark.parametrize("test", ["True", "1", "DEBUG", "not TYPE_CHECKING", "f()"])
def test_a_body_under_another_test_may_run(test: str) -> None:
    assert not never_runs(expression(test))


@pytest.mark.parametrize(
    ("source", "caught"),
    [
        ("try: x\nexcept: pass", True),
        ("try: x\nexcept (KeyError, NameError): pass", True),
        ("try: x\nexcept KeyError: pass\nexcept Exception: pass", True),
        ("try: x\nexcept KeyError: pass", False),
        ("try: x\nfinally: pass", False),
        ("with suppress(KeyError, NameError): x", True),
        ("with suppress(KeyError): x", False),
        ("with NameError: x", False),
    ],
)
def test_a_caught_name_error_is_told_from_others(source: str, caught: bool) -> None:
    node = statement(source)
    assert isinstance(node, ast.Try | ast.With)
    assert catches_name_error(node) is caught


def test_the_names_a_piece_asks_for_are_those_sought_in_a_namespace() -> None:
    tree = ast.parse("'a' in globals(); 'b' not in get_ipython().user_ns; 'c' in d; e in vars()")
    assert set(checked_names(tree)) == {"a", "b"}


@pytest.mark.parametrize(
    ("source", "unseen"),
    [
        ("exec(code)", True),
        ("exec(code, {})", False),
        ("globals().update(a=1)", True),
        ("globals().get('a')", False),
        ("vars(x).update(a=1)", False),
        ("globals()['a']", False),
    ],
)
def test_only_writing_to_a_namespace_binds_unseen(source: str, unseen: bool) -> None:
    node = expression(source)
    assert isinstance(node, ast.Call | ast.Subscript)
    assert binds_unseen(node) is unseen
