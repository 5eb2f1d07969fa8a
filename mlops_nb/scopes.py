"""What a piece of syntax says about names: which it binds, declares, looks up and guards.

Each answer comes from the given nodes alone; `names` walks a piece in the order in which Python
evaluates it and asks here what the constructs on its way mean.
"""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

BUILTINS = frozenset(dir(builtins)) | {
    *("__name__", "__doc__", "__package__", "__loader__", "__spec__", "__annotations__"),
    *("__builtins__", "__builtin__", "__class__", "__debug__", "WindowsError"),
    *("exit", "quit", "copyright", "credits", "license", "help"),
}
Function = ast.FunctionDef | ast.AsyncFunctionDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
OTHER_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
NAMESPACES = ("globals", "locals", "vars", "dir", "get_ipython")
CATCH_ALL = ("NameError", "Exception", "BaseException")


@dataclass
class Scope:
    """`bound`: the names that live here; `outside`: those declared `global`."""

    kind: Literal["module", "function", "class", "comprehension", "types"]
    bound: set[str] = field(default_factory=set)
    outside: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Loop:
    """What the body of a loop binds, and how many conditions its first line stands under."""

    bound: frozenset[str]
    conditions: int


# scopes: what lives in one, and where a name is looked up


def function_scope(arguments: ast.arguments, body: Sequence[ast.AST]) -> Scope:
    """The scope of a function or lambda with these arguments and this body."""
    bound = {arg.arg for arg in arguments_of(arguments)} | set(bindings(body))
    outside, foreign = _declared(body, ast.Global), _declared(body, ast.Nonlocal)
    return Scope("function", bound - outside - foreign, outside)


def class_scope(node: ast.ClassDef) -> Scope:
    """The scope of a class body as it begins: names come to live in it one by one."""
    return Scope("class", {"__module__", "__qualname__"}, _declared(node.body, ast.Global))


def comprehension_scope(node: Comprehension) -> Scope:
    """The scope of a comprehension, which holds the targets of its loops."""
    targets = [part.target for part in node.generators]
    return Scope("comprehension", set(bindings(targets)))


def type_scope(node: ast.AST) -> Scope:
    """The scope of `def f[T]`; empty before Python 3.12, which has no such thing."""
    return Scope("types", {parameter.name for parameter in getattr(node, "type_params", [])})


def is_local(name: str, scopes: Sequence[Scope]) -> bool:
    """Whether a read in the last of these nested scopes finds the name below module level."""
    directly = True  # a class body's names are seen by that body alone
    for scope in reversed(scopes):
        if name in scope.outside:
            return False
        if name in scope.bound and (directly or scope.kind != "class"):
            return True
        directly = directly and scope.kind == "types"
    return False


def binding_scope(scopes: Sequence[Scope]) -> Scope:
    """Where an assignment in the last of these nested scopes binds."""
    return next(s for s in reversed(scopes) if s.kind not in ("comprehension", "types"))


# bindings and declarations


def arguments_of(arguments: ast.arguments) -> list[ast.arg]:
    """All arguments of a function, of every kind."""
    single = [arg for arg in (arguments.vararg, arguments.kwarg) if arg]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *single]


def bindings(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The names that these nodes bind in their own scope, not in functions or classes within."""
    for node in nodes:
        yield from _own_bindings(node)
        if isinstance(node, COMPREHENSIONS):
            yield from _walrus(node)
        elif not isinstance(node, OTHER_SCOPES):
            yield from bindings(ast.iter_child_nodes(node))


def _own_bindings(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            yield from map(imported, aliases)
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
            yield name
        case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
            yield name


def _walrus(node: Comprehension) -> Iterator[str]:
    """A walrus in a comprehension binds in the scope around it."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.NamedExpr):
            yield from bindings([inner.target])


def imported(alias: ast.alias) -> str:
    """The name that an import binds: `import a.b` binds `a`; a star import says `*`."""
    return alias.asname or alias.name.partition(".")[0]


def _declared(body: Iterable[ast.AST], kind: type[ast.Global | ast.Nonlocal]) -> frozenset[str]:
    found: set[str] = set()
    for node in body:
        if isinstance(node, kind):
            found.update(node.names)
        elif not isinstance(node, (*OTHER_SCOPES, ast.expr)):
            found.update(_declared(ast.iter_child_nodes(node), kind))
    return frozenset(found)


# guards: reads that may fail without stopping the piece


def never_runs(test: ast.expr) -> bool:
    """Whether a body under this condition is not run: `False`, `0`, `TYPE_CHECKING`."""
    if isinstance(test, ast.Constant):
        return not test.value
    return getattr(test, "attr", getattr(test, "id", "")) == "TYPE_CHECKING"


def catches_name_error(node: ast.Try | ast.With | ast.AsyncWith) -> bool:
    """Whether a NameError in the body stops there, as in `except NameError:` and in
    `with suppress(NameError):`.
    """
    if isinstance(node, ast.With | ast.AsyncWith):
        calls = [i.context_expr for i in node.items if isinstance(i.context_expr, ast.Call)]
        return any(_is_catch_all(argument) for call in calls for argument in call.args)
    return any(_is_caught_by(handler.type) for handler in node.handlers)


def _is_caught_by(kind: ast.expr | None) -> bool:
    if isinstance(kind, ast.Tuple):
        return any(_is_catch_all(member) for member in kind.elts)
    return kind is None or _is_catch_all(kind)


def _is_catch_all(kind: ast.expr) -> bool:
    return isinstance(kind, ast.Name) and kind.id in CATCH_ALL


def checked_names(tree: ast.AST) -> Iterator[str]:
    """The names that the piece itself asks for by `"x" in globals()`."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left=ast.Constant(value=str(name)), comparators=[namespace]):
                if _is_namespace(namespace):
                    yield name


def has_future_annotations(tree: ast.Module) -> bool:
    """Whether the piece turns its annotations into strings, which are never evaluated."""
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and any(alias.name == "annotations" for alias in node.names)
        for node in tree.body
    )


# names made behind a reader's back


def binds_unseen(node: ast.Call | ast.Subscript) -> bool:
    """Whether it can bind names that it does not spell: `exec(x)`, `globals().update(x)`."""
    if isinstance(node, ast.Subscript):
        return isinstance(node.ctx, ast.Store) and _is_namespace(node.value)
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr in ("update", "setdefault", "push") and _is_namespace(function.value)
    return isinstance(function, ast.Name) and function.id == "exec" and len(node.args) == 1


def _is_namespace(node: ast.expr) -> bool:
    """`globals()`, `locals()`, `vars()`, `dir()`, `get_ipython()`, `get_ipython().user_ns`."""
    if isinstance(node, ast.Attribute) and node.attr == "user_ns":
        return True
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
        return False
    return node.func.id in NAMESPACES
