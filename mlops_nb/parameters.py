"""The typed parameters of a notebook, read from its `parameters` cell without running it.

    month: int = 1              # which month to train on        type from the annotation
    rate = 0.1                  # learning rate                  type from the default
    kind: Literal["a", "b"]     # required: it has no default

A value meets its type in two ways: typed, from Python or YAML (`Schema.check`), or as a string
of the command line (`Schema.parse`). Names beginning with `_` are not parameters.
"""

from __future__ import annotations

import ast
import enum
import io
import re
import tokenize
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import ParameterError, did_you_mean
from mlops_nb.literals import EXAMPLES, NO_LITERAL, fit_value, kind_of, native, parse_word, same
from mlops_nb.names import parse_python
from mlops_nb.tables import short

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Default(enum.Enum):
    """What stands where a parameter has no literal default."""

    REQUIRED = "required"
    COMPUTED = "computed"  # only the notebook's kernel can tell the value

    def __str__(self) -> str:
        return self.value


REQUIRED, COMPUTED = Default.REQUIRED, Default.COMPUTED
LABELS = {
    **{label: label for label in ("int", "float", "bool", "str", "date", "datetime", "Path")},
    **dict.fromkeys(("list", "List", "Sequence", "Iterable", "tuple", "Tuple"), "list"),
    **dict.fromkeys(("set", "Set", "frozenset"), "list"),
    **dict.fromkeys(("dict", "Dict", "Mapping"), "dict"),
}


@dataclass(frozen=True)
class Parameter:
    """One declared parameter.

    `type` is int, float, bool, str, list, dict, date, datetime, Path or any; `item` the type of a
    list's items or a dict's values; `line` counts from 1 within the parameters cell.
    """

    name: str
    type: str = "any"
    optional: bool = False
    default: Any = REQUIRED
    help: str = ""
    line: int = 1
    item: str = "any"
    choices: tuple[Any, ...] = ()
    annotated: bool = False

    @property
    def required(self) -> bool:
        return self.default is REQUIRED


@dataclass(frozen=True)
class Schema:
    """All parameters of one notebook, by name."""

    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    notebook: str = "the notebook"

    def check(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The given values by declared name, each of its declared type.

        An int passes as a float, a tuple or set as a list, ISO text as a date, text as a Path,
        numpy's scalars and arrays as Python's. Raises ParameterError for an unknown name, a
        missing parameter and an ill-typed value.
        """
        checked = {(p := self._declared(name)).name: self._fit(p, given[name]) for name in given}
        for parameter in self.parameters.values():
            if parameter.required and parameter.name not in checked:
                raise ParameterError(
                    f"{self._place(parameter)}: {parameter.name} ({parameter.type}) is required",
                    cure=f"add -p {parameter.name} VALUE",
                )
        return checked

    def parse(self, name: str, text: str) -> Any:
        """The value that a word of the command line means for this parameter.

        Raises ParameterError for an unknown name and for text that does not fit its type.
        """
        parameter = self._declared(name)
        if (
            parameter.optional
            and parameter.type != "str"
            and text.strip().lower() in ("none", "null")
        ):
            return None
        try:
            return self._fit(parameter, parse_word(parameter.type, text))
        except NO_LITERAL:
            raise self._ill_typed(parameter, text) from None

    def _declared(self, name: Any) -> Parameter:
        if isinstance(name, str) and name in self.parameters:
            return self.parameters[name]
        if not self.parameters:
            raise ParameterError(
                f"{self.notebook} declares no parameters, so none can be {short(repr(name))}",
                cure="tag a cell `parameters` and assign the defaults in it",
            )
        known = list(self.parameters)
        cure = did_you_mean(str(name), known)
        listed = f"it declares {', '.join(known)}"
        raise ParameterError(
            f"{self.notebook} has no parameter {short(repr(name))}",
            cure=f"{cure} {listed}" if cure.startswith("did") else listed,
        )

    def _fit(self, parameter: Parameter, value: Any) -> Any:
        value = native(value)
        if value is None and (parameter.optional or parameter.type == "any"):
            return None
        try:
            fitted = fit_value(parameter.type, parameter.item, value)
        except (ValueError, TypeError, OverflowError):
            raise self._ill_typed(parameter, value) from None
        if parameter.choices and not any(same(fitted, choice) for choice in parameter.choices):
            raise self._ill_typed(parameter, value)
        return fitted

    def _ill_typed(self, parameter: Parameter, value: Any) -> ParameterError:
        got = f"{type(value).__name__} {short(repr(value))}"
        problem = (
            f"{self._place(parameter)}: {parameter.name} expects {_expected(parameter)}, got {got}"
        )
        cure = f"give it {EXAMPLES[parameter.type]}" if parameter.type in EXAMPLES else ""
        if parameter.choices:
            cure = f"give it {' or '.join(str(choice) for choice in parameter.choices)}"
        elif parameter.type == "int" and isinstance(value, float) and not parameter.annotated:
            cure = f"write {parameter.name}: float = {parameter.default} in the notebook"
        elif parameter.type == "str":
            cure = "put it in quotes"
        return ParameterError(problem, cure=cure)

    def _place(self, parameter: Parameter) -> str:
        return f"{self.notebook}, parameters cell, line {parameter.line}"


def read_schema(source: str, *, notebook: str) -> Schema:
    """The parameters that the plain Python of a parameters cell declares.

    `notebook` is its name for messages. Raises ParameterError where the cell is not Python.
    """
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    try:
        tree = parse_python(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ParameterError(
            f"{notebook}: the parameters cell is not valid Python at line "
            f"{getattr(error, 'lineno', None) or 1}",
            cure=f"type: mlops check {notebook}",
        ) from None
    comments = _comments(source)
    found: dict[str, Parameter] = {}
    for statement in tree.body:
        comment = comments.get(statement.end_lineno or 0) or comments.get(statement.lineno, "")
        for parameter in _declarations(statement, comment):
            if not parameter.name.startswith("_"):
                found[parameter.name] = _redeclared(found.get(parameter.name), parameter)
    return Schema(found, notebook)


def _declarations(statement: ast.stmt, comment: str) -> Iterator[Parameter]:
    hint, text = _split_comment(comment)
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
            bare = Parameter(name, help=text, line=statement.lineno, annotated=True)
            yield _with_default(_annotated(bare, annotation), value)
        case ast.Assign(targets=targets, value=value):
            for name, part in _targets(targets, value):
                bare = Parameter(name, help=text, line=statement.lineno, annotated=bool(hint))
                typed = _annotated(bare, hint) if hint else _inferred(bare, part)
                yield _with_default(typed, part)


def _targets(targets: list[ast.expr], value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """Names and their values, for `a = b = 1` and `a, b = 1, 2`."""
    for target in targets:
        match target, value:
            case ast.Name(id=name), _:
                yield name, value
            case ast.Tuple(elts=names), ast.Tuple(elts=parts) if len(names) == len(parts):
                for inner, part in zip(names, parts, strict=True):
                    yield from _targets([inner], part)


def _redeclared(before: Parameter | None, after: Parameter) -> Parameter:
    """A second assignment changes the default, not a type that was written down."""
    if before is None or after.annotated or not before.annotated:
        return after
    return replace(before, default=after.default, line=after.line, help=after.help or before.help)


def _with_default(parameter: Parameter, value: ast.expr | None) -> Parameter:
    if value is None:
        return parameter
    try:
        default = ast.literal_eval(value)
    except NO_LITERAL:
        return replace(parameter, default=COMPUTED)
    return replace(parameter, default=default, optional=parameter.optional or default is None)


def _inferred(parameter: Parameter, value: ast.expr) -> Parameter:
    """The type of an unannotated parameter: that of its literal, or of `date(…)`, `Path(…)`."""
    match value:
        case ast.Call(func=ast.Name(id=label) | ast.Attribute(attr=label)):
            called = label if label in ("date", "datetime", "Path") else "any"
            return replace(parameter, type=called)
    try:
        return replace(parameter, type=kind_of(ast.literal_eval(value)))
    except NO_LITERAL:
        return parameter


def _annotated(parameter: Parameter, annotation: ast.expr) -> Parameter:
    """The parameter with the type that its annotation means; `any` for one not known here."""
    match annotation:
        case ast.Constant(value=str(text)):
            inner = _expression(text)
            return _annotated(parameter, inner) if inner else parameter
        case ast.Name(id=label) | ast.Attribute(attr=label):
            return replace(parameter, type=LABELS.get(label, "any"))
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _union(parameter, [left, right])
        case ast.Subscript(value=ast.Name(id=label) | ast.Attribute(attr=label), slice=inner):
            return _subscripted(parameter, label, inner)
    return parameter


def _subscripted(parameter: Parameter, label: str, inner: ast.expr) -> Parameter:
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if label == "Optional":
        return replace(_annotated(parameter, inner), optional=True)
    if label == "Union":
        return _union(parameter, parts)
    if label == "Literal":
        return _literal(parameter, parts)
    if label in ("Annotated", "Final") and parts:
        return _annotated(parameter, parts[0])
    kind = LABELS.get(label, "any")
    if (
        kind == "list"
        and label.lower() == "tuple"
        and len(parts) > 1
        and not _is_ellipsis(parts[1])
    ):
        return replace(parameter, type=kind)
    item = parts[-1] if kind == "dict" else parts[0]
    declared = _annotated(Parameter(""), item)
    return replace(parameter, type=kind, item="any" if declared.optional else declared.type)


def _union(parameter: Parameter, parts: list[ast.expr]) -> Parameter:
    """`X | None` is an optional X, `int | float` a float; other unions hold anything."""
    members = [part for part in parts if not _is_none(part)]
    read = [_annotated(parameter, part) for part in members]
    optional = len(members) < len(parts) or any(member.optional for member in read)
    kinds = {member.type for member in read}
    if len(read) == 1:
        return replace(read[0], optional=optional)
    return replace(
        parameter, type="float" if kinds == {"int", "float"} else "any", optional=optional
    )


def _literal(parameter: Parameter, parts: list[ast.expr]) -> Parameter:
    try:
        values = tuple(ast.literal_eval(part) for part in parts)
    except (ValueError, TypeError):
        return parameter
    choices = tuple(value for value in values if value is not None)
    kinds = {kind_of(value) for value in choices}
    kind = kinds.pop() if len(kinds) == 1 else "any"
    return replace(parameter, type=kind, choices=choices, optional=len(choices) < len(values))


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _expression(text: str) -> ast.expr | None:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _comments(source: str) -> dict[int, str]:
    """The trailing comment of each line that has one."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.lstrip("#").strip()
        for token in tokens
        if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip()
    }


def _split_comment(comment: str) -> tuple[ast.expr | None, str]:
    """Papermill's `# type: int which month` as the type and the help."""
    match = re.match(r"type:\s*(\S+)\s*(.*)", comment)
    hint = _expression(match[1]) if match else None
    return (hint, match[2]) if match and hint else (None, comment)


def _expected(parameter: Parameter) -> str:
    if parameter.choices:
        return "one of " + ", ".join(repr(choice) for choice in parameter.choices)
    kind = parameter.type
    if parameter.item != "any":
        kind = f"{kind}[{'str, ' * (kind == 'dict')}{parameter.item}]"
    return f"{kind} or None" if parameter.optional else kind
