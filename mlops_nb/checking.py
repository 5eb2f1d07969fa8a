"""Would a notebook run top to bottom? Said by reading it; nothing is run.

The rules: `unparsable` and `undefined-name` are errors; `star-import`, `absolute-path` and
`install-in-the-middle` warnings. Where reading cannot know, there is no error.
"""

from __future__ import annotations

import ast
import builtins
import re
import warnings
from collections import ChainMap
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from mlops_nb.errors import ParameterError, UsageError, did_you_mean
from mlops_nb.names import Names, names_of, parse_python
from mlops_nb.notebooks import Cell, Notebook, python_of
from mlops_nb.parameters import read_schema
from mlops_nb.tables import Shown, plain, short

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

PYTHONS = ("python", "ipython", "pyspark")
INTERACTIVE = frozenset(
    {"get_ipython", "display", "In", "Out", "open", "exit", "quit", "__session__"}
    | {"__IPYTHON__", "__vsc_ipynb_file__", "_", "__", "___", "_i", "_ii", "_iii"}
    | {"_ih", "_oh", "_dh", "_exit_code", "_exception"}
)
HISTORY = re.compile(r"_i?\d+")  # _7 and _i7 are the output and the input of In [7]
HOSTED = frozenset(
    {"spark", "sc", "sqlContext", "dbutils", "displayHTML", "mssparkutils", "notebookutils"}
)
ABSOLUTE = re.compile(
    r"/(home|Users|root|mnt|data|tmp|var|opt|srv|media|content|kaggle|Volumes)/[^\n{]+"
    r"|file:///[^\n]+|[A-Za-z]:(/(?!/)|\\(?![dDsSwWbB]([+*?{)\\]|$)))\w[^\n:]*"
)
ROUTES = frozenset({"get", "post", "put", "patch", "delete", "head", "options", "route"})
REGEXES = frozenset(
    {"compile", "match", "fullmatch", "search", "sub", "subn", "findall", "finditer"}
)
INSTALL = re.compile(
    r"^\s*(?:\S*python\S*\s+-m\s+|\{?sys\.executable\}?\s+-m\s+|sudo\s+)?"
    r"(?:uv\s+)?(?:pip3?|conda|mamba|micromamba)\s[^\n]*\binstall\b",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Finding:
    """One thing wrong; `cell` counts from 1 over all cells, `line` from 1 within the cell."""

    severity: Literal["error", "warning"]
    rule: str
    cell: int
    cell_id: str
    line: int
    message: str
    cure: str = ""

    def __str__(self) -> str:
        where = f"cell [{self.cell}] line {self.line}"
        end = f"; {self.cure}" if self.cure else ""
        return f"{self.severity:7}  {where}  {self.rule}: {self.message}{end}"


@dataclass(frozen=True)
class Report(Shown):
    """What reading a notebook found, in the order of its cells."""

    notebook: str
    findings: tuple[Finding, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings leave it true."""
        return not self.errors

    @property
    def exit_code(self) -> int:
        """The terminal's: a notebook that would not run fails a CI."""
        return 0 if self.ok else 1

    @property
    def verdict(self) -> str:
        warned = _counted(len(self.warnings), "warning")
        if self.ok:
            end = f": {warned}" if warned else ""
            return f"{self.notebook}: would run top to bottom, as far as reading can tell{end}"
        counts = ", ".join(filter(None, [_counted(len(self.errors), "error"), warned]))
        return f"{self.notebook}: would not run top to bottom: {counts}"

    def parts(self) -> Iterator[str]:
        yield self.verdict
        yield from map(str, self.findings)

    def to_dict(self) -> dict[str, Any]:
        own = {"notebook": self.notebook, "ok": self.ok, "verdict": self.verdict}
        return {**own, "findings": [plain(finding) for finding in self.findings]}


@dataclass(frozen=True)
class _Piece:
    """A code cell that is run, as Python; `names` is None where that cannot be read."""

    cell: Cell
    python: str
    names: Names | None = None
    finding: Finding | None = None
    declared: frozenset[str] = frozenset()  # parameters without a value: papermill gives one

    def defines(self) -> frozenset[str]:
        """What may be bound below the piece; of a broken one, every word in it."""
        if self.names is None:
            return frozenset(re.findall(r"[^\W\d]\w*", self.cell.source))
        return frozenset(self.names.defined) | self.declared


def check_notebook(notebook: Notebook) -> Report:
    """What would stop the notebook, or tie it to this machine.

    Cells tagged `skip-execution` are left out, findings in cells tagged `raises-exception` are
    warnings. Raises UsageError where the kernel does not speak Python.
    """
    if notebook.language not in PYTHONS:
        raise UsageError(
            f"{notebook.name} is a notebook in {notebook.language}",
            cure="only Python can be checked",
        )
    pieces = _pieces(notebook)
    found = [piece.finding for piece in pieces if piece.finding]
    found += [*_star_imports(pieces), *_undefined_names(pieces, notebook)]
    found += [*_absolute_paths(pieces), *_late_installs(pieces)]
    expected = {piece.cell.index for piece in pieces if "raises-exception" in piece.cell.tags}
    softened = (
        replace(finding, severity="warning") if finding.cell in expected else finding
        for finding in found
    )
    return Report(notebook.name, tuple(sorted(softened, key=lambda f: (f.cell, f.line, f.rule))))


def _pieces(notebook: Notebook) -> list[_Piece]:
    parameters = {cell.index for cell in notebook.tagged("parameters")[:1]}
    lazy = False
    pieces = []
    for cell in notebook.code_cells:
        if "skip-execution" in cell.tags or not cell.source.strip():
            continue
        piece = _piece(cell, lazy=lazy)
        if cell.index in parameters and piece.names:
            piece = replace(piece, declared=_declared(piece.python))
        lazy |= "from __future__ import annotations" in piece.python  # it holds from there on
        pieces.append(piece)
    return pieces


def _piece(cell: Cell, *, lazy: bool) -> _Piece:
    python = python_of(cell.source)
    try:
        _compile(python)
        return _Piece(cell, python, names_of(python, lazy_annotations=lazy))
    except SyntaxError as error:
        message = f"not valid Python: {error.msg}"
        found = _finding(cell, error.lineno or 1, "unparsable", message, "mend this line")
    except (ValueError, RecursionError, MemoryError) as error:
        message = f"Python cannot compile it: {error}"
        found = _finding(cell, 1, "unparsable", message, "split the cell")
    return _Piece(cell, python, finding=found)


def _compile(python: str) -> None:
    """Raises SyntaxError as a notebook would; top-level `await` is legal there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compile(python, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def _declared(python: str) -> frozenset[str]:
    try:
        return frozenset(read_schema(python, notebook="").parameters)
    except ParameterError:
        return frozenset()


@dataclass
class _Above:
    """What is known when the cells so far have run."""

    names: set[str]
    reported: set[str] = field(default_factory=set)
    deleted: dict[str, int] = field(default_factory=dict)
    star: bool = False

    def add(self, piece: _Piece) -> None:
        gone = piece.names.deleted if piece.names else frozenset()
        self.names = (self.names | piece.defines()) - gone
        self.deleted = {
            **{name: cell for name, cell in self.deleted.items() if name not in self.names},
            **dict.fromkeys(gone, piece.cell.index),
        }


def _undefined_names(pieces: list[_Piece], notebook: Notebook) -> Iterator[Finding]:
    """Each name once: where it is first needed and not there."""
    everywhere = {name for piece in pieces for name in piece.defines()}
    starred = any(piece.names and piece.names.star for piece in pieces)
    above = _Above(set(_given(notebook)))
    for piece in pieces:
        names = piece.names or Names({}, {}, {}, {}, frozenset(), star=False)
        above.star |= names.star
        missing = {} if above.star else _missing(names.used, above.names | piece.declared)
        never = {} if starred else _missing(names.deferred, above.names | everywhere)
        for name, line in ChainMap(missing, never).items():
            if name in above.reported:
                continue
            if "raises-exception" not in piece.cell.tags:
                above.reported.add(name)
            message, cure = _explained(name, piece.cell, pieces, above, notebook)
            yield _finding(piece.cell, line, "undefined-name", message, cure)
        above.add(piece)


def _missing(needed: Mapping[str, int], known: set[str]) -> dict[str, int]:
    return {
        name: line
        for name, line in needed.items()
        if name not in known and not HISTORY.fullmatch(name)
    }


def _given(notebook: Notebook) -> frozenset[str]:
    """The names that a kernel brings; those of hosted Spark only where it may be one."""
    kernel = (notebook.kernel or "spark").lower()
    hosted = any(word in kernel for word in ("spark", "glue", "databricks", "synapse"))
    return INTERACTIVE | HOSTED if hosted else INTERACTIVE


def _explained(
    name: str, cell: Cell, pieces: list[_Piece], above: _Above, notebook: Notebook
) -> tuple[str, str]:
    """The message and the cure for one undefined name."""
    defining = [p.cell.index for p in pieces if p.names and name in p.names.defined]
    if name == "__file__":
        return "a notebook has no __file__", "use Path.cwd()"
    if name in above.deleted:
        where = f"cell [{above.deleted[name]}]"
        return f"{name!r} is deleted in {where}", f"move the del of {where} below this cell"
    if later := [index for index in defining if index > cell.index]:
        where = f"cell [{later[0]}]"
        return f"{name!r} is defined only in a later {where}", f"move {where} above this one"
    if cell.index in defining:
        return f"{name!r} is used before this cell defines it", "define it in a cell above"
    if skipped := [c.index for c in notebook.code_cells if _is_skipped(c, name)]:
        where = f"cell [{skipped[0]}]"
        return f"{name!r} is defined only in {where}, which is skipped", f"untag {where}"
    near = did_you_mean(name, (above.names | set(dir(builtins))) - INTERACTIVE)
    return f"{name!r} is defined in no cell", near or "define it in a cell above"


def _is_skipped(cell: Cell, name: str) -> bool:
    if "skip-execution" not in cell.tags:
        return False
    names = _piece(cell, lazy=False).names
    return names is not None and name in names.defined


def _star_imports(pieces: list[_Piece]) -> Iterator[Finding]:
    for piece in pieces:
        if piece.names and piece.names.star:
            yield _finding(
                piece.cell,
                _line_of_star(piece),
                "star-import",
                "names come in that reading cannot see; undefined ones go unreported from here",
                "import by name",
            )
            return


def _line_of_star(piece: _Piece) -> int:
    last = piece.cell.source.rstrip().count("\n") + 1
    for node in ast.walk(parse_python(piece.python)):
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            return min(node.lineno, last)
    return 1


def _absolute_paths(pieces: Iterable[_Piece]) -> Iterator[Finding]:
    seen: set[str] = set()
    for piece in pieces:
        if piece.names is None:
            continue
        for node in _path_literals(parse_python(piece.python)):
            if node.value not in seen and ABSOLUTE.fullmatch(node.value):
                seen.add(node.value)
                message = f"{short(repr(node.value))} is a path of this machine"
                cure = "use a path relative to the notebook, or a parameter"
                yield _finding(piece.cell, node.lineno, "absolute-path", message, cure)


def _path_literals(tree: ast.AST) -> Iterator[Any]:
    """String constants that can begin a path: no routes, regexes, or later parts of a string."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node
        waiting += reversed(_path_children(node))


def _path_children(node: ast.AST) -> list[ast.AST]:
    match node:
        case ast.JoinedStr(values=values):
            return list(values[:1])
        case ast.BinOp(left=left, op=ast.Add()):
            return [left]
        case ast.Call(func=ast.Attribute(attr=name) as function) if name in ROUTES | REGEXES:
            return [function.value]
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            decorators = node.decorator_list
            return [child for child in ast.iter_child_nodes(node) if child not in decorators]
    return list(ast.iter_child_nodes(node))


def _late_installs(pieces: list[_Piece]) -> Iterator[Finding]:
    for piece in pieces[1:]:
        lines = _install_lines(piece) if piece.names else []
        if lines:
            yield _finding(
                piece.cell,
                min(lines),
                "install-in-the-middle",
                "packages change after the cells above have run",
                "install in the first code cell or before the notebook",
            )


def _install_lines(piece: _Piece) -> list[int]:
    calls = [node for node in ast.walk(parse_python(piece.python)) if isinstance(node, ast.Call)]
    return [call.lineno for call in calls if INSTALL.search(_command(call))]


def _command(call: ast.Call) -> str:
    """The shell command of a `get_ipython()` call, else nothing."""
    match call:
        case ast.Call(
            func=ast.Attribute(value=ast.Call(func=ast.Name(id="get_ipython")), attr=attribute),
            args=[*words],
        ):
            texts = [str(word.value) for word in words if isinstance(word, ast.Constant)]
            return "\n".join(texts[2:]) if attribute == "run_cell_magic" else " ".join(texts)
    return ""


def _finding(cell: Cell, line: int, rule: str, message: str, cure: str) -> Finding:
    severity: Literal["error", "warning"] = (
        "error" if rule in ("undefined-name", "unparsable") else "warning"
    )
    return Finding(severity, rule, cell.index, cell.id, line, message, cure)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}" if number else ""
