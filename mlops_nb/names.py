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
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_nb import scopes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

LAZY_ANNOTATIONS = sys.version_info >= (3, 14)
READ_AS = {
    **{"AsyncFunctionDef": "FunctionDef", "AsyncFor": "For", "AsyncWith": "With"},
    **{"SetComp": "ListComp", "DictComp": "ListComp", "GeneratorExp": "ListComp"},
    **{"ImportFrom": "Import", "TryStar": "Try"},
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
    reader = _Reader(lazy_annotations or LAZY_ANNOTATIONS or scopes.has_future_annotations(tree))
    reader.checked = frozenset(scopes.checked_names(tree))
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


class _Reader(ast.NodeVisitor):
    """Walks a tree in the order in which Python evaluates it."""

    def __init__(self, lazy_annotations: bool) -> None:
        self.lazy_annotations = lazy_annotations
        self.checked: frozenset[str] = frozenset()
        self.scopes = [scopes.Scope("module")]
        self.loops: list[scopes.Loop] = []
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
        if scopes.is_local(name, self.scopes):
            return
        later = any(scope.kind == "function" for scope in self.scopes)
        if name in self.defined:
            if later:
                self.relied.setdefault(name, line)
            return
        if name in scopes.BUILTINS or self.guards or name in self.checked:
            self.optional.setdefault(name, line)
        elif later:
            self.deferred.setdefault(name, line)
        elif self._comes_round(name):
            self.optional.setdefault(name, line)
        else:
            self.used.setdefault(name, line)

    def _comes_round(self, name: str) -> bool:
        """Read under a condition in a loop that binds it: the second turn finds it."""
        return any(name in loop.bound and self.conditions > loop.conditions for loop in self.loops)

    def _bind(self, name: str, line: int) -> None:
        if self.scopes[-1].kind == "comprehension" and name in self.scopes[-1].bound:
            return
        scope = scopes.binding_scope(self.scopes)
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
    def _inside(self, scope: scopes.Scope) -> Iterator[None]:
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

    def visit_FunctionDef(self, node: scopes.Function) -> None:
        self._all(node.decorator_list)
        self._all([*node.args.defaults, *node.args.kw_defaults])
        with self._inside(scopes.type_scope(node)):
            self._annotations(
                [*(arg.annotation for arg in scopes.arguments_of(node.args)), node.returns]
            )
            self._bind(node.name, node.lineno)  # before the body, which may call itself
            self._body_later(node.args, node.body)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._all([*node.args.defaults, *node.args.kw_defaults])
        self._body_later(node.args, [node.body])

    def _body_later(self, arguments: ast.arguments, body: Sequence[ast.AST]) -> None:
        guards, self.guards = self.guards, 0  # a handler around a def does not catch its calls
        with self._inside(scopes.function_scope(arguments, body)):
            self._all(body)
        self.guards = guards

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._all(node.decorator_list)
        with self._inside(scopes.type_scope(node)):
            self._all([*node.bases, *node.keywords])
            with self._inside(scopes.class_scope(node)):
                self._all(node.body)
        self._bind(node.name, node.lineno)

    def visit_ListComp(self, node: scopes.Comprehension) -> None:
        self.visit(node.generators[0].iter)  # the only part that sees a class body's names
        with self._inside(scopes.comprehension_scope(node)):
            for number, part in enumerate(node.generators):
                self._all([part.iter] if number else [])
                self._all([part.target, *part.ifs])
            self._all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])

    def visit_TypeAlias(self, node: ast.AST) -> None:
        name: ast.Name = node.name  # type: ignore[attr-defined]
        with self._inside(scopes.type_scope(node)), self._inside(scopes.Scope("function")):
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
                self._bind(scopes.imported(alias), node.lineno)

    def visit_Global(self, node: ast.Global) -> None:
        """A declaration reads nothing."""

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        with self._counting(conditions=1, guards=int(scopes.never_runs(node.test))):
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
            self.loops.append(scopes.Loop(frozenset(scopes.bindings(body)), self.conditions))
            self._all(body)
            self.loops.pop()
            self._all(orelse)

    def visit_Try(self, node: ast.Try) -> None:
        with self._counting(conditions=1, guards=int(scopes.catches_name_error(node))):
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
        with self._counting(guards=int(scopes.catches_name_error(node))):
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
        self.star |= scopes.binds_unseen(node)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.star |= scopes.binds_unseen(node)
        self.generic_visit(node)


def _read_roughly(tree: ast.AST) -> Names:
    """For code nested too deep to walk: what it binds, and every read as one that may fail."""
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    bound = {n.id: n.lineno for n in reversed(names) if isinstance(n.ctx, ast.Store)}
    read = {n.id: n.lineno for n in reversed(names) if isinstance(n.ctx, ast.Load)}
    return Names(bound, {}, {}, read, frozenset(), star=True)
