"""Which names a piece of Python defines and which it needs, read without running it.

    defined    bound at module level when the piece has run
    used       read at module level before the piece defines it: must come from above
    deferred   read only in function bodies, and not bound above them: must exist by the call
    optional   read, but its absence does not stop the piece: builtins, reads whose NameError is
               caught, `"x" in globals()`, code under `if TYPE_CHECKING`, later turns of a loop

A definition under a condition counts, as reading cannot know whether it happens.
"""

from __future__ import annotations

import ast
import builtins
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

BUILTINS = frozenset(dir(builtins)) | {
    *("__name__", "__doc__", "__package__", "__loader__", "__spec__", "__annotations__"),
    *("__builtins__", "__builtin__", "__class__", "__debug__", "WindowsError"),
    *("exit", "quit", "copyright", "credits", "license", "help"),
}
NAMESPACES = ("globals", "locals", "vars", "dir")
CATCH_ALL = ("NameError", "Exception", "BaseException")
LAZY_ANNOTATIONS = sys.version_info >= (3, 14)

Function = ast.FunctionDef | ast.AsyncFunctionDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
OTHER_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
READ_AS = {
    "AsyncFunctionDef": "FunctionDef",
    "AsyncFor": "For",
    "AsyncWith": "With",
    "DictComp": "ListComp",
    "GeneratorExp": "ListComp",
    "ImportFrom": "Import",
    "SetComp": "ListComp",
    "TryStar": "Try",
}


@dataclass(frozen=True)
class Names:
    """What one piece binds and reads; the mappings give the first line of each name.

    What a piece may depend on is `used`, `deferred` and `optional` together. `deleted` names are
    unbound for certain at its end. `star` says that it can bind names nobody can read off it:
    `from x import *`, `exec`, writes to `globals()`.
    """

    defined: Mapping[str, int]
    used: Mapping[str, int]
    deferred: Mapping[str, int]
    optional: Mapping[str, int]
    deleted: frozenset[str]
    star: bool


def names_of(source: str, *, lazy_annotations: bool = False) -> Names:
    """The names of a piece of plain Python (no magics).

    `lazy_annotations` says that an earlier piece has switched annotations to strings. Raises
    SyntaxError, or RecursionError where Python itself could not compile the piece.
    """
    tree = parse_python(source)
    reader = _Reader(lazy_annotations or LAZY_ANNOTATIONS or _has_future_annotations(tree))
    reader.checked = frozenset(_checked_names(tree))
    try:
        reader.visit(tree)
    except RecursionError:
        return _read_roughly(tree)
    return reader.names()


def parse_python(source: str) -> ast.Module:
    """The syntax tree of `source`, without the warnings of its author's business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


@dataclass
class _Scope:
    """`bound`: the names that live here; `outside`: those declared `global`."""

    kind: Literal["module", "function", "class", "comprehension", "types"]
    bound: set[str] = field(default_factory=set)
    outside: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Loop:
    """What the body of a loop binds, and how many conditions its first line stands under."""

    bound: frozenset[str]
    conditions: int


class _Reader(ast.NodeVisitor):
    """Walks a tree in the order in which Python evaluates it."""

    def __init__(self, lazy_annotations: bool) -> None:
        self.lazy_annotations = lazy_annotations
        self.checked: frozenset[str] = frozenset()
        self.scopes = [_Scope("module")]
        self.loops: list[_Loop] = []
        self.conditions = 0
        self.guards = 0
        self.defined: dict[str, int] = {}
        self.used: dict[str, int] = {}
        self.deferred: dict[str, int] = {}
        self.optional: dict[str, int] = {}
        self.deleted: set[str] = set()
        self.relied: dict[str, int] = {}  # read by functions, and bound above them
        self.star = False

    def names(self) -> Names:
        deferred = {name: line for name, line in self.deferred.items() if name not in self.used}
        optional = {
            name: line
            for name, line in self.optional.items()
            if name not in self.used and name not in deferred
        }
        return Names(
            self.defined, self.used, deferred, optional, frozenset(self.deleted), self.star
        )

    def visit(self, node: ast.AST) -> None:
        kind = type(node).__name__
        getattr(self, f"visit_{READ_AS.get(kind, kind)}", self.generic_visit)(node)

    # names: read, bound, deleted

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._read(node.id, node.lineno)
        elif isinstance(node.ctx, ast.Store):
            self._bind(node.id, node.lineno)
        else:
            self._delete(node.id, node.lineno)

    def _read(self, name: str, line: int) -> None:
        if self._is_local(name):
            return
        later = any(scope.kind == "function" for scope in self.scopes)
        if name in self.defined:
            if later:
                self.relied.setdefault(name, line)
            return
        if name in BUILTINS or self.guards or name in self.checked:
            self.optional.setdefault(name, line)
        elif later:
            self.deferred.setdefault(name, line)
        elif self._comes_round(name):
            self.optional.setdefault(name, line)
        else:
            self.used.setdefault(name, line)

    def _is_local(self, name: str) -> bool:
        directly = True  # a class body's names are seen by that body alone
        for scope in reversed(self.scopes):
            if name in scope.outside:
                return False
            if name in scope.bound and (directly or scope.kind != "class"):
                return True
            directly = directly and scope.kind == "types"
        return False

    def _comes_round(self, name: str) -> bool:
        """Read under a condition in a loop that binds it: the second turn finds it."""
        return any(name in loop.bound and self.conditions > loop.conditions for loop in self.loops)

    def _bind(self, name: str, line: int) -> None:
        if self.scopes[-1].kind == "comprehension" and name in self.scopes[-1].bound:
            return
        scope = next(s for s in reversed(self.scopes) if s.kind not in ("comprehension", "types"))
        if scope.kind == "module" or name in scope.outside:
            self.defined.setdefault(name, line)
            self.deleted.discard(name)
        elif scope.kind == "class":
            scope.bound.add(name)

    def _delete(self, name: str, line: int) -> None:
        scope = self.scopes[-1]
        if scope.kind == "class":
            scope.bound.discard(name)
        if scope.kind != "module":
            return
        self._read(name, line)
        if not self.conditions and not self.guards:
            self.defined.pop(name, None)
            self.deleted.add(name)
            if name in self.relied:
                self.deferred.setdefault(name, self.relied[name])

    # scopes

    @contextmanager
    def _inside(self, scope: _Scope) -> Iterator[None]:
        self.scopes.append(scope)
        yield
        self.scopes.pop()

    @contextmanager
    def _counting(self, *, conditions: int = 0, guards: int = 0) -> Iterator[None]:
        self.conditions += conditions
        self.guards += guards
        yield
        self.conditions -= conditions
        self.guards -= guards

    def _all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    def visit_FunctionDef(self, node: Function) -> None:
        self._all(node.decorator_list)
        self._all([*node.args.defaults, *node.args.kw_defaults])
        with self._inside(_type_parameters(node)):
            self._annotations([*(arg.annotation for arg in _arguments(node.args)), node.returns])
            self._bind(node.name, node.lineno)  # before the body, which may call itself
            self._body_later(node.args, node.body)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._all([*node.args.defaults, *node.args.kw_defaults])
        self._body_later(node.args, [node.body])

    def _body_later(self, arguments: ast.arguments, body: Iterable[ast.AST]) -> None:
        body = list(body)
        bound = {arg.arg for arg in _arguments(arguments)} | set(_bindings(body))
        outside, foreign = _declared(body, ast.Global), _declared(body, ast.Nonlocal)
        guards, self.guards = self.guards, 0  # a handler around a def does not catch its calls
        with self._inside(_Scope("function", bound - outside - foreign, outside)):
            self._all(body)
        self.guards = guards

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._all(node.decorator_list)
        with self._inside(_type_parameters(node)):
            self._all([*node.bases, *node.keywords])
            own = {"__module__", "__qualname__"}
            with self._inside(_Scope("class", own, _declared(node.body, ast.Global))):
                self._all(node.body)
        self._bind(node.name, node.lineno)

    def visit_ListComp(self, node: Comprehension) -> None:
        self.visit(node.generators[0].iter)  # the only part that sees a class body's names
        bound = {name for part in node.generators for name in _bindings([part.target])}
        with self._inside(_Scope("comprehension", bound)):
            for number, part in enumerate(node.generators):
                self._all([part.iter] if number else [])
                self._all([part.target, *part.ifs])
            self._all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])

    def visit_TypeAlias(self, node: ast.AST) -> None:
        name: ast.Name = node.name  # type: ignore[attr-defined]
        with self._inside(_type_parameters(node)), self._inside(_Scope("function")):
            self.visit(node.value)  # type: ignore[attr-defined]
        self._bind(name.id, name.lineno)

    # statements and expressions whose order or binding is their own

    def visit_Assign(self, node: ast.Assign) -> None:
        self._all([node.value, *node.targets])

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._read(node.target.id, node.lineno)
        self._all([node.value, node.target])

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._all([node.value])
        if node.value is not None or not isinstance(node.target, ast.Name):
            self.visit(node.target)
        if self.scopes[-1].kind != "function":  # in a function they are never evaluated
            self._annotations([node.annotation])

    def _annotations(self, nodes: Iterable[ast.AST | None]) -> None:
        with self._counting(guards=int(self.lazy_annotations)):
            self._all(nodes)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._all([node.value, node.target])

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            self.star |= alias.name == "*"
            if alias.name != "*":
                self._bind(alias.asname or _top(alias.name), node.lineno)

    def visit_Global(self, node: ast.Global) -> None:
        """A declaration reads nothing."""

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        with self._counting(conditions=1, guards=int(_never_runs(node.test))):
            self._all(node.body)
        with self._counting(conditions=1):
            self._all(node.orelse)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit(node.test)
        with self._counting(conditions=1):
            self._all([node.body, node.orelse])

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self.visit(node.values[0])
        with self._counting(conditions=1):
            self._all(node.values[1:])

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self._all([node.iter, node.target])
        self._loop(node.body, node.orelse)

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self._loop(node.body, node.orelse)

    def _loop(self, body: list[ast.stmt], orelse: list[ast.stmt]) -> None:
        with self._counting(conditions=1):
            self.loops.append(_Loop(frozenset(_bindings(body)), self.conditions))
            self._all(body)
            self.loops.pop()
            self._all(orelse)

    def visit_Try(self, node: ast.Try) -> None:
        caught = any(_catches_name_error(handler.type) for handler in node.handlers)
        with self._counting(conditions=1, guards=int(caught)):
            self._all(node.body)
        with self._counting(conditions=1):
            self._all([*node.handlers, *node.orelse])
        self._all(node.finalbody)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self._all([node.type])
        fresh = self.scopes[-1].kind == "module" and node.name not in self.defined
        self._capture(node.name, node.lineno)
        self._all(node.body)
        if fresh and node.name:
            self.defined.pop(node.name, None)  # Python unbinds it at the end of the handler

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        self._all(node.items)
        calls = [
            item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)
        ]
        caught = any(_is_catch_all(argument) for call in calls for argument in call.args)
        with self._counting(guards=int(caught)):
            self._all(node.body)

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        with self._counting(conditions=1):
            self._all(node.cases)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        self._all([node.pattern])
        self._capture(node.name, node.lineno)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        self._capture(node.name, node.lineno)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self._all([*node.keys, *node.patterns])
        self._capture(node.rest, node.lineno)

    def _capture(self, name: str | None, line: int) -> None:
        if name:
            self._bind(name, line)

    # names made behind the reader's back

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        if isinstance(function, ast.Name) and function.id == "exec" and len(node.args) == 1:
            self.star = True
        if isinstance(function, ast.Attribute) and _is_namespace(function.value):
            self.star |= function.attr in ("update", "setdefault", "push")
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.ctx, ast.Store) and _is_namespace(node.value):
            self.star = True
        self.generic_visit(node)


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    single = [arg for arg in (arguments.vararg, arguments.kwarg) if arg]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *single]


def _type_parameters(node: ast.AST) -> _Scope:
    """The scope of `def f[T]`; empty before Python 3.12, which has no such thing."""
    return _Scope("types", {parameter.name for parameter in getattr(node, "type_params", [])})


def _bindings(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The names that these nodes bind in their own scope, not in functions or classes within."""
    for node in nodes:
        yield from _own_bindings(node)
        if isinstance(node, COMPREHENSIONS):
            yield from _walrus(node)
        elif not isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
        ):
            yield from _bindings(ast.iter_child_nodes(node))


def _own_bindings(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            yield from (alias.asname or _top(alias.name) for alias in aliases)
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
            yield name
        case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
            yield name


def _walrus(node: Comprehension) -> Iterator[str]:
    """A walrus in a comprehension binds in the scope around it."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.NamedExpr):
            yield from _bindings([inner.target])


def _declared(body: Iterable[ast.AST], kind: type[ast.Global | ast.Nonlocal]) -> frozenset[str]:
    found: set[str] = set()
    for node in body:
        if isinstance(node, kind):
            found.update(node.names)
        elif not isinstance(node, (*OTHER_SCOPES, ast.expr)):
            found.update(_declared(ast.iter_child_nodes(node), kind))
    return frozenset(found)


def _top(module: str) -> str:
    return module.partition(".")[0]


def _never_runs(test: ast.expr) -> bool:
    if isinstance(test, ast.Constant):
        return not test.value
    return getattr(test, "attr", getattr(test, "id", "")) == "TYPE_CHECKING"


def _catches_name_error(caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(_is_catch_all(kind) for kind in caught.elts)
    return caught is None or _is_catch_all(caught)


def _is_catch_all(kind: ast.expr) -> bool:
    return isinstance(kind, ast.Name) and kind.id in CATCH_ALL


def _is_namespace(node: ast.expr) -> bool:
    """`globals()`, `locals()`, `vars()`, `get_ipython()` or `get_ipython().user_ns`."""
    if isinstance(node, ast.Attribute) and node.attr == "user_ns":
        return True
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
        return False
    return node.func.id in (*NAMESPACES, "get_ipython")


def _checked_names(tree: ast.AST) -> Iterator[str]:
    """The names that the piece itself asks for by `"x" in globals()`."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left=ast.Constant(value=str(name)), comparators=[namespace]):
                if _is_namespace(namespace):
                    yield name


def _has_future_annotations(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and any(alias.name == "annotations" for alias in node.names)
        for node in tree.body
    )


def _read_roughly(tree: ast.AST) -> Names:
    """For code nested too deep to walk: what it binds, and every read as one that may fail."""
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    bound = {n.id: n.lineno for n in reversed(names) if isinstance(n.ctx, ast.Store)}
    read = {n.id: n.lineno for n in reversed(names) if isinstance(n.ctx, ast.Load)}
    return Names(bound, {}, {}, read, frozenset(), star=True)
