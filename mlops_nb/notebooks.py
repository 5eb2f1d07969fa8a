"""A notebook as it lies on disk, and its cells as plain Python.

Reading runs nothing and changes nothing. Cells are numbered from 1 over all kinds, as people
count them on the screen.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlops_nb.errors import NotFoundError, UsageError, did_you_mean
from mlops_nb.names import names_of, parse_python

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Kind = Literal["code", "markdown", "raw"]
KINDS = ("code", "markdown", "raw")
RESTORE = "restore the file from version control or from .ipynb_checkpoints"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Magics that run Python: in the notebook's namespace, or in a function of their own.
PYTHON_MAGICS = _words(
    "time capture prun mlops debug memit mprun lprun snakeviz pyinstrument scalene heat tee "
    "wandb ipytest run_pytest notify"
)
# Python in a cell, words of their own in a line.
CELL_MAGICS = _words("mlops capture wandb tee notify heat ipytest run_pytest")
TIMING_MAGICS = frozenset({"timeit"})
FOREIGN_MAGICS = _words(
    "! sx system sh bash script cmd html HTML javascript js svg SVG latex markdown writefile file "
    "perl ruby pypy python python2 python3 sql bigquery R julia octave ai graphql mermaid"
)
# Magics that bring in names which only running them can tell.
STAR_MAGICS = frozenset({"run", "pylab", "cython", "rerun"})
# What IPython takes for a magic without its % when it is the whole cell.
AUTOMAGICS = _words(
    "ls ll lf lk ldir lx cd pwd cat cp mv rm mkdir rmdir less more man pip conda mamba micromamba "
    "uv who whos who_ls reset run pylab matplotlib load_ext reload_ext autoreload precision pinfo "
    "pdoc psource pfile config debug pdb tb xmode colors store cls clear dhist dirs pushd popd "
    "bookmark lsmagic quickref automagic hist history rerun recall rehashx pycat env set_env"
)
OPERATORS = tuple("!=()<>,+*/%^&|")  # a first word followed by one of these is an expression
OPTIONS = re.compile(r"(?:-[nrpfDlsTmuv]\s*\S+(?:\s+|$)|--?[A-Za-z][\w=-]*(?:\s+|$))*")
RECEIVED = re.compile(r"(?:--out|--err|-o)[\s=]+([\w,]+)|^\s*(\w+)\s*<<")


@dataclass(frozen=True)
class Cell:
    """One cell; `index` counts from 1, `id` is empty in notebooks older than format 4.5."""

    index: int
    id: str
    kind: Kind
    source: str
    tags: frozenset[str] = frozenset()
    execution_count: int | None = None


@dataclass(frozen=True)
class Notebook:
    """The cells of a notebook, the name of its kernel and that kernel's language."""

    path: Path | None
    cells: tuple[Cell, ...]
    kernel: str | None = None
    language: str = "python"

    @classmethod
    def read(cls, path: str | Path) -> Notebook:
        """The notebook in a file. Raises NotFoundError; UsageError for what is no notebook."""
        path = Path(path)
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except FileNotFoundError:
            raise NotFoundError(f"no notebook {path}", cure=_near(path)) from None
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{path} is not UTF-8 text at byte {error.start}",
                cure=RESTORE,
            ) from None
        except IsADirectoryError:
            raise UsageError(f"{path} is a folder", cure="name a notebook in it") from None
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be read: {error}") from None
        return cls.parse(text, path)

    @classmethod
    def parse(cls, text: str, path: Path | None = None) -> Notebook:
        """The notebook in the text of a file. Raises UsageError for what is no notebook."""
        where = str(path or "the notebook")
        content = _checked_format(_json(text, where), where)
        metadata = _table(content.get("metadata"))
        kernel, language = _table(metadata.get("kernelspec")), _table(metadata.get("language_info"))
        cells = [_cell(item, number, where) for number, item in enumerate(content["cells"], 1)]
        name = kernel.get("name")
        return cls(
            path=path,
            cells=tuple(cells),
            kernel=str(name) if name else None,
            language=str(language.get("name") or kernel.get("language") or "python").lower(),
        )

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        return self.path.name if self.path else "the notebook"

    @property
    def code_cells(self) -> tuple[Cell, ...]:
        return tuple(cell for cell in self.cells if cell.kind == "code")

    def tagged(self, tag: str) -> tuple[Cell, ...]:
        """The code cells with this tag; of those tagged `parameters`, the first one counts."""
        return tuple(cell for cell in self.code_cells if tag in cell.tags)


def python_of(source: str) -> str:
    """A cell's source as plain Python, each line where it was; source that is none stays broken.

    Magics become calls of `get_ipython()`; a magic that runs Python becomes that Python; one that
    binds names binds them; one whose names nobody can know becomes a star import on a line below.
    """
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    body = source.lstrip("\n")
    blank = "\n" * (len(source) - len(body))
    if match := re.match(r"%%(\S+)[ \t]*([^\n]*)\n?", body):
        return blank + _cell_magic(match[1], match[2].strip(), body[match.end() :])
    source = _without_automagic(source)
    if _is_python(source):
        return _line_magics(source) if "get_ipython" in source else source
    return _line_magics(blank + _transformed(source))


def _transformed(source: str) -> str:
    from IPython.core.inputtransformer2 import TransformerManager

    manager = TransformerManager()  # type: ignore[no-untyped-call]
    return manager.transform_cell(_joined(source)).rstrip("\n") + "\n"


def _joined(source: str) -> str:
    """Magics continued by a backslash on one line, with empty lines in place of the others."""

    def join(match: re.Match[str]) -> str:
        return match[0].replace("\\\n", " ") + "\n" * match[0].count("\\\n")

    return re.sub(
        r"^[ \t]*(?:\w+[ \t]*=[ \t]*)?[%!](?:.*\\\n)+.*", join, source, flags=re.MULTILINE
    )


def _without_automagic(source: str) -> str:
    """`pip install x` as the only line of a cell is a magic; so is `ls`, unless a name `ls` is."""
    line = source.strip()
    word, _, rest = line.partition(" ")
    if "\n" in line or word not in AUTOMAGICS or rest.lstrip().startswith(OPERATORS):
        return source
    if _is_python(line):
        return source.replace(line, f"try: {line}\nexcept NameError: pass")
    return source.replace(word, f"%{word}", 1)


def _is_python(source: str) -> bool:
    try:
        parse_python(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _cell_magic(name: str, line: str, body: str) -> str:
    """A cell magic as Python; its own line is line 1, the body starts on line 2."""
    call = f"get_ipython().run_cell_magic({name!r}, {line!r}, {body!r})"
    if name in STAR_MAGICS:
        return f"{call}; from {name} import *\n"
    bound = " = ".join(_received(name, line))
    if name in PYTHON_MAGICS:
        return (f"{bound} = None\n" if bound else "\n") + python_of(body)
    if name in TIMING_MAGICS:
        return _timed(OPTIONS.sub("", line, count=1), body)
    if name not in FOREIGN_MAGICS and _is_python(python_of(body)):
        bound = " = ".join([*filter(None, [bound]), *names_of(python_of(body)).defined])
    return f"{bound} = {call}\n" if bound else f"{call}\n"


def _received(name: str, line: str) -> list[str]:
    """The names that a cell magic binds by its own line: `%%capture out`, `%%bash --out text`."""
    found = ",".join(match[1] or match[2] for match in RECEIVED.finditer(line)).split(",")
    if name in {"capture", "bigquery"}:
        found += [word for word in line.split() if not word.startswith("-")][:1]
    return [word for word in found if word.isidentifier()]


def _restored(name: str, line: str) -> list[str]:
    """The names that a line magic binds: `%store -r x`, `%sql result << SELECT 1`, `%R -o x`."""
    if name == "store" and line.split()[:1] == ["-r"]:
        return [word for word in line.split() if word.isidentifier()]
    return _received(name, line) if name in {"sql", "R"} else []


def _timed(setup: str, body: str) -> str:
    """`timeit` runs its body in a function: what the body needs it needs now, it binds nothing.

    The needs become a default argument, evaluated now; the body that of the function.
    """
    body = python_of(body)
    whole = f"{setup}\n{body}"
    if not _is_python(whole) or not parse_python(body).body:
        return whole
    arguments = [f"_=({_listed(names_of(whole).used)})"]
    arguments += [f"{name}=0" for name in names_of(setup).defined]
    head = f"def _({', '.join(arguments)}):"
    return "\n".join([head, *(f" {line}" for line in body.split("\n"))]).rstrip() + "\n"


def _listed(names: Iterable[str]) -> str:
    return "".join(f"{name}, " for name in names)


def _line_magics(python: str) -> str:
    """Calls of line magics that run or bind something, as the Python that they run or bind."""
    if not _is_python(python):
        return python
    tree = parse_python(python)
    lines = python.split("\n")
    star = ""
    for call, name, line, statement in reversed(list(_magic_calls(tree))):
        if name in STAR_MAGICS or (name == "store" and line.split() == ["-r"]):
            star = f"from {name} import *\n"
        replacement = _python_of_magic(name, line, whole=statement)
        if replacement is not None and call.lineno == call.end_lineno:
            _replace(lines, call, replacement)
    return "\n".join(lines).rstrip("\n") + "\n" + star


def _magic_calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str, str, bool]]:
    """Calls `get_ipython().run_line_magic(name, line)`: name, line, is it a whole statement."""
    whole = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda call: (call.lineno, call.col_offset)):
        match call:
            case ast.Call(
                func=ast.Attribute(value=ast.Call(func=ast.Name(id="get_ipython"))),
                args=[ast.Constant(value=str(name)), ast.Constant(value=str(line))],
            ):
                yield call, name, line, id(call) in whole


def _python_of_magic(name: str, line: str, *, whole: bool) -> str | None:
    """What stands for a line magic, or None to leave the call as it is."""
    if whole and (bound := _restored(name, line)):
        return " = ".join([*bound, "None"])
    if name not in (PYTHON_MAGICS - CELL_MAGICS) | TIMING_MAGICS:
        return None
    code = OPTIONS.sub("", line, count=1).strip()
    if not code or "\n" in code or not _is_python(code):
        return None
    if whole and name in TIMING_MAGICS:
        return f"def _(_=({_listed(names_of(code).used)})): pass"
    return code if whole else f"({code})" if _is_python(f"({code})") else None


def _replace(lines: list[str], call: ast.Call, replacement: str) -> None:
    encoded = lines[call.lineno - 1].encode()  # ast counts columns in bytes
    head, tail = encoded[: call.col_offset], encoded[call.end_col_offset :]
    lines[call.lineno - 1] = head.decode() + replacement + tail.decode()


def _json(text: str, where: str) -> Any:
    if not text.strip():
        raise UsageError(f"{where} is empty", cure=RESTORE)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        if "<<<<<<< " in text and ">>>>>>> " in text:
            raise UsageError(
                f"{where} holds an unresolved merge conflict ({place})",
                cure="resolve it, for instance with git checkout --ours FILE",
            ) from None
        if text.lstrip()[0] == "{" and _is_cut_off(text, error):
            raise UsageError(f"{where} is half-written: it ends at {place}", cure=RESTORE) from None
        raise UsageError(
            f"{where} is not a notebook: no JSON at {place}: {error.msg}", cure=RESTORE
        ) from None
    except (RecursionError, ValueError):
        raise UsageError(
            f"{where} is not a notebook: its JSON cannot be read", cure=RESTORE
        ) from None


def _is_cut_off(text: str, error: json.JSONDecodeError) -> bool:
    at_end = error.pos >= len(text.rstrip())
    return at_end or error.msg.startswith("Unterminated string")


def _checked_format(content: Any, where: str) -> dict[str, Any]:
    if not isinstance(content, dict) or not isinstance(version := content.get("nbformat"), int):
        raise UsageError(f"{where} is JSON but no notebook", cure="name an .ipynb file")
    if version != 4:
        raise UsageError(
            f"{where} has notebook format {version}, and format 4 is needed",
            cure=f"type: jupyter nbconvert --to notebook --inplace {where}",
        )
    if not isinstance(content.get("cells"), list):
        raise UsageError(f"{where} is no notebook: it has no list of cells", cure=RESTORE)
    return content


def _cell(item: Any, index: int, where: str) -> Cell:
    source = _table(item).get("source", "")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if (
        not isinstance(item, dict)
        or item.get("cell_type") not in KINDS
        or not isinstance(source, str)
    ):
        raise UsageError(f"{where}: cell [{index}] is no notebook cell", cure=RESTORE)
    tags = _table(item.get("metadata")).get("tags")
    count = item.get("execution_count")
    return Cell(
        index=index,
        id=str(item.get("id") or ""),
        kind=item["cell_type"],
        source=source,
        tags=frozenset(str(tag) for tag in tags) if isinstance(tags, list) else frozenset(),
        execution_count=count if isinstance(count, int) else None,
    )


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _near(path: Path) -> str:
    """The cure for a missing notebook: the nearest names in its folder."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    names = sorted(found.name for found in path.parent.glob("*.ipynb"))
    if not names:
        return f"there is no .ipynb file in {path.parent.resolve()}"
    return did_you_mean(path.name, names) or f"there are {len(names)} notebooks in {path.parent}"
