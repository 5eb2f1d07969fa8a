from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from mlops_nb.errors import NotFoundError, UsageError
from mlops_nb.names import names_of
from mlops_nb.notebooks import Cell, Notebook, python_of

FOLDER = Path(__file__).parent / "notebooks" / "check"


def text_of(*cells: dict[str, Any], **document: Any) -> str:
    return json.dumps({"cells": list(cells), "metadata": {}, "nbformat": 4} | document)


def refusal(text: str | bytes, folder: Path) -> UsageError:
    """What reading a file with this content raises."""
    path = folder / "a.ipynb"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as caught:
        Notebook.read(path)
    assert "\n" not in str(caught.value)
    assert str(path) in caught.value.problem
    assert caught.value.cure
    return caught.value


def test_a_notebook_is_read_with_its_cells_kernel_and_language() -> None:
    notebook = Notebook.read(FOLDER / "train.ipynb")
    assert (notebook.name, notebook.kernel, notebook.language) == (
        "train.ipynb",
        "python3",
        "python",
    )
    assert notebook.cells[0] == Cell(1, "c01", "markdown", "# Train a model")
    assert [cell.index for cell in notebook.code_cells] == list(range(2, 12))
    assert [cell.index for cell in notebook.tagged("parameters")] == [4]


def test_an_old_cell_has_no_id_and_a_source_in_one_string() -> None:
    cell = {"cell_type": "code", "source": "a\nb", "execution_count": 3, "outputs": []}
    assert Notebook.parse(text_of(cell)).cells == (Cell(1, "", "code", "a\nb", execution_count=3),)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    path.write_text(text_of(), "utf-8-sig")
    assert Notebook.read(path).cells == ()


def test_a_missing_notebook_is_named_with_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "train.ipynb").write_text(text_of())
    with pytest.raises(
        NotFoundError, match=r"no notebook .*trian\.ipynb; did you mean train\.ipynb"
    ):
        Notebook.read(tmp_path / "trian.ipynb")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no folder"):
        Notebook.read(tmp_path / "nowhere" / "a.ipynb")


def test_a_folder_is_no_notebook(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder; name a notebook in it"):
        Notebook.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("x = 1\n", "no JSON at line 1, column 1"),
        ('{"cells": [}', "no JSON at line 1, column 12"),
        (b'{"cells": "\xff"}', "not UTF-8 text at byte 11"),
        ("[1]", "is JSON but no notebook"),
        ('{"a": 1}', "is JSON but no notebook"),
        ('{"nbformat": 4}', "no list of cells"),
        ("[" * 100_000, "cannot be read"),
        ('{"cells": [\n<<<<<<< HEAD\n1\n=======\n>>>>>>> x\n', "unresolved merge conflict"),
        (text_of({"cell_type": "poem", "source": ""}), r"cell \[1\] is no notebook cell"),
        (text_of({"cell_type": "code", "source": [1]}), r"cell \[1\] is no notebook cell"),
    ],
)
def test_what_is_no_notebook_is_refused_in_one_line(
    text: str | bytes, problem: str, tmp_path: Path
) -> None:
    assert refusal(text, tmp_path).args[0]
    with pytest.raises(UsageError, match=problem):
        Notebook.read(tmp_path / "a.ipynb")


def test_a_half_written_notebook_is_told_from_other_broken_json(tmp_path: Path) -> None:
    whole = (FOLDER / "train.ipynb").read_text("utf-8")
    for length in (20, 200, 1000, len(whole) - 3):
        assert "half-written" in refusal(whole[:length], tmp_path).problem


def test_an_old_format_is_refused_with_the_command_that_converts_it(tmp_path: Path) -> None:
    error = refusal('{"nbformat": 3, "worksheets": []}', tmp_path)
    assert "format 3" in error.problem
    assert "jupyter nbconvert --to notebook --inplace" in error.cure


@pytest.mark.parametrize(
    ("source", "defined", "needed"),
    [
        ("%%time\nx = y", {"x"}, {"y"}),
        ("\n\n%%capture out\n%time x = y", {"out", "x"}, {"y"}),
        ("%%capture --no-stderr out\n%%time\nx = 1", {"out", "x"}, set()),
        ("%%mlops track\nx = y", {"x"}, {"y"}),
        ("%%mlops track flights --name a\nx = y", {"x"}, {"y"}),
        ("%%mlops track\n%%capture out\nx = y", {"out", "x"}, {"y"}),
        ("%%capture out\n%mlops track\nx = y", {"out", "x"}, {"y"}),
        ("%%timeit -n 3 s = 1\nx = f(s)\n[x for _ in g]", {"_"}, {"f", "g"}),
        ("%%timeit\n# nothing", set(), set()),
        ("%timeit -n 10 -r3 f(a)", {"_"}, {"f", "a"}),
        ("x = %timeit -o f(a)", {"x"}, {"f", "a"}),
        ("%prun -s cumulative x = f()", {"x"}, {"f"}),
        ("files = !ls\nx = %who_ls", {"files", "x"}, set()),
        ("for i in xs:\n    %time y = f(i)\n    !echo $i", {"i", "y"}, {"xs", "f"}),
        ("%%bash --out text\necho x", {"text"}, set()),
        ("%%bash\nx = y", set(), set()),
        ("%%html\n<b>x</b>", set(), set()),
        ("%%unheard_of\nx = y", {"x"}, set()),
        ("%%unheard_of\nSELECT 1", set(), set()),
        ("%sql rows << SELECT 1", {"rows"}, set()),
        ("%store -r x y", {"x", "y"}, set()),
        ("frame?", set(), set()),
        (">>> x = 1\n>>> y", {"x"}, {"y"}),
        ("ls -l", set(), set()),
        ("pip install x", set(), set()),
        ("history", set(), set()),
        ("history = f()", {"history"}, {"f"}),
        ("é = 'é'\nx = %time f(é)", {"é", "x"}, {"f"}),
        ("  x = 1\n  y = x", {"x", "y"}, set()),
    ],
)
def test_magics_define_and_need_what_running_them_would(
    source: str, defined: set[str], needed: set[str]
) -> None:
    names = names_of(python_of(source))
    assert set(names.defined) == defined
    assert set(names.used) - {"get_ipython"} == needed


@pytest.mark.parametrize(
    ("source", "defined"),
    [
        ("%mlops track", set()),
        ("%mlops tag rate=0.1", set()),
        ("%mlops log auc", set()),
        ("%time %mlops track", set()),
        ("seen = %mlops runs", {"seen"}),
        ("for i in ():\n    %mlops end", {"i"}),
        ("%capture out", set()),
        ("%capture out = 1", set()),
    ],
)
def test_the_words_of_a_line_magic_with_a_grammar_of_its_own_are_no_python(
    source: str, defined: set[str]
) -> None:
    names = names_of(python_of(source))
    assert set(names.defined) == defined
    assert set(names.optional) | set(names.used) == {"get_ipython"}


@pytest.mark.parametrize(
    "source", ["%run a.py", "%pylab", "%store -r", "if x:\n    %run a", "%%cython\nx"]
)
def test_magics_whose_names_nobody_knows_are_a_star(source: str) -> None:
    assert names_of(python_of(source)).star


@pytest.mark.parametrize(
    "source", ["%matplotlib inline", "%load_ext x", "%cd x", "%store x", "!run"]
)
def test_other_magics_are_no_star(source: str) -> None:
    assert not names_of(python_of(source)).star


@pytest.mark.parametrize(
    "source",
    [
        "\n\n!ls\nlast",
        "!ls \\\n  -l \\\n  -a\nlast",
        "x = %sql select 1 \\\n from b\nlast",
        "%%time\n\nlast",
        "\n%%capture out\n%time x = 1\nlast",
        "%time x = 1\ntext = '''\n%time\n'''\nlast",
        "%run a.py\nlast",
        "x = 1\r\n!ls\r\nlast",
    ],
)
def test_lines_stay_where_they_are(source: str) -> None:
    assert names_of(python_of(source)).used["last"] == len(source.splitlines())


@given(st.text(alphabet="abx=%!?()[]{}'\"\\\n\t #:,/;>.é0", max_size=40))
@settings(max_examples=150, deadline=None)
def test_python_stays_as_it_is_and_no_text_breaks_the_reader(source: str) -> None:
    python = python_of(source)
    try:
        compile(source, "cell", "exec")
    except (SyntaxError, ValueError):
        assert isinstance(python, str)
    else:
        assert python == source.replace("\r\n", "\n").replace("\r", "\n")
