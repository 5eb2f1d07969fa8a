from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from mlops_nb.checking import Report, check_notebook
from mlops_nb.errors import UsageError
from mlops_nb.notebooks import Cell, Notebook

FOLDER = Path(__file__).parent / "notebooks" / "check"


def checked(name: str) -> Report:
    return check_notebook(Notebook.read(FOLDER / f"{name}.ipynb"))


def check(*sources: str, kernel: str = "python3") -> Report:
    """The report on code cells with these sources."""
    cells = tuple(Cell(number, "", "code", text) for number, text in enumerate(sources, 1))
    return check_notebook(Notebook(None, cells, kernel))


def found(report: Report) -> list[tuple[str, str, int, int]]:
    return [(f.severity, f.rule, f.cell, f.line) for f in report.findings]


@pytest.mark.parametrize(
    ("name", "findings"),
    [
        ("train-out-of-order", [("error", "undefined-name", 5, 2)] * 3),
        (
            "undefined",
            [
                ("error", "undefined-name", 2, 1),
                ("error", "undefined-name", 2, 2),
                ("error", "undefined-name", 5, 2),
                ("error", "undefined-name", 5, 4),
            ],
        ),
        ("unparsable", [("error", "unparsable", 1, 2), ("error", "unparsable", 3, 1)]),
        (
            "paths",
            [
                ("warning", "absolute-path", 1, 2),
                ("warning", "absolute-path", 2, 1),
                ("warning", "absolute-path", 2, 2),
                ("warning", "absolute-path", 2, 3),
            ],
        ),
        ("install", [("warning", "install-in-the-middle", 2, 1)]),
        ("star", [("error", "undefined-name", 1, 1), ("warning", "star-import", 2, 1)]),
        ("tags", [("warning", "undefined-name", 2, 1), ("error", "undefined-name", 3, 1)]),
        ("deleted", [("error", "undefined-name", 3, 1)]),
    ],
)
def test_planted_faults_are_found_at_their_line(
    name: str, findings: list[tuple[str, str, int, int]]
) -> None:
    assert found(checked(name)) == findings


@pytest.mark.parametrize(
    "name",
    [
        "train",
        *(
            f"{n}-clean"
            for n in ["undefined", "unparsable", "paths", "install", "star", "tags", "deleted"]
        ),
    ],
)
def test_clean_twins_are_found_clean(name: str) -> None:
    report = checked(name)
    assert report.findings == ()
    assert str(report) == f"{name}.ipynb: would run top to bottom, as far as reading can tell"


def test_the_verdict_comes_first_and_counts() -> None:
    assert str(checked("star")).splitlines()[0] == (
        "star.ipynb: would not run top to bottom: 1 error, 1 warning"
    )
    assert checked("install").ok
    assert checked("install").verdict.endswith("as far as reading can tell: 1 warning")


def test_errors_alone_make_the_exit_code_of_a_failed_check() -> None:
    assert checked("train").exit_code == 0
    assert checked("install").exit_code == 0  # a warning
    assert checked("star").exit_code == 1
    assert checked("unparsable").exit_code == 1


@pytest.mark.parametrize(
    ("sources", "message", "cure"),
    [
        (("x", "x = 1"), "'x' is defined only in a later cell [2]", "move cell [2] above this one"),
        (("frame = 1", "fram"), "'fram' is defined in no cell", "did you mean frame"),
        (("x += 1",), "'x' is used before this cell defines it", "define it in a cell above"),
        (("x = 1", "del x", "x"), "'x' is deleted in cell [2]", "move the del of cell [2]"),
        (("__file__",), "a notebook has no __file__", "use Path.cwd()"),
        (("%%timeit\nx = 1", "x"), "'x' is defined in no cell", "define it in a cell above"),
        (
            ("def f(): return qqq", "f()"),
            "'qqq' is defined in no cell",
            "define it in a cell above",
        ),
    ],
)
def test_an_undefined_name_is_explained(sources: tuple[str, ...], message: str, cure: str) -> None:
    (finding,) = check(*sources).errors
    assert finding.message == message
    assert finding.cure.startswith(cure)


def test_a_name_is_reported_once_where_it_is_first_needed() -> None:
    assert found(check("y = 1", "qqq", "qqq")) == [("error", "undefined-name", 2, 1)]


@pytest.mark.parametrize(
    "sources",
    [
        ("get_ipython(), In, Out, _, __, _7, _i7, exit, quit, display, __name__",),
        ("def f(): return later", "later = 1"),
        ("def init():\n    global model\n    model = 1", "init()", "model"),
        ("try: x\nexcept NameError: x = 1", "x"),
        ("if 'x' in globals(): del x",),
        ("from __future__ import annotations", "def f(a: Later): ..."),
        ("%run other.py", "x"),
        ("%pylab inline", "plot(x)"),
        ("cd ..",),
        ("async def f(): ...", "await f()", "async with f() as x: x"),
        ("%%bash --out text\nls", "text"),
        ("%mlops track", "%mlops tag rate=0.1", "%mlops log auc", "%mlops end"),
        ("%mlops", "seen = %mlops runs --last 3", "seen"),
        ("%%mlops track flights --name a\nx = 1", "x"),
        ("%capture out",),
        ("%%capture out\n%mlops track\nx = 1", "out, x"),
        ("for i in range(3):\n    if i: print(prev)\n    prev = i",),
        ("print('\\d')",),
        ("",),
    ],
)
def test_what_runs_raises_no_error(sources: tuple[str, ...]) -> None:
    assert check(*sources).errors == ()


@pytest.mark.parametrize(
    ("source", "line"),
    [("%%mlops track\nqqq", 2), ("%%capture out\nx = 1\nqqq", 3), ("%mlops track\nqqq", 2)],
)
def test_the_python_in_and_below_such_a_magic_is_read(source: str, line: int) -> None:
    assert found(check(source)) == [("error", "undefined-name", 1, line)]


@pytest.mark.parametrize("source", ["%mlops tag rate=0.1", "%capture rate", "%capture rate = 1"])
def test_the_words_of_a_line_magic_define_nothing(source: str) -> None:
    assert found(check(source, "rate")) == [("error", "undefined-name", 2, 1)]


def test_what_a_broken_cell_may_define_is_not_reported_as_well() -> None:
    assert found(check("x = = 1", "x")) == [("error", "unparsable", 1, 1)]


@pytest.mark.parametrize(
    "source", ["return 1", "def f(:", "x = 'a", "break", "f(x) = 1", "yield 1\n= 2"]
)
def test_code_that_no_kernel_compiles_is_unparsable(source: str) -> None:
    assert [f.rule for f in check(source).errors] == ["unparsable"]


def test_names_that_hosted_spark_brings_are_known_there_alone() -> None:
    assert check("spark.sql('x')", kernel="synapse_pyspark").ok
    assert not check("spark.sql('x')").ok


def test_a_parameter_without_a_value_is_given_by_the_run() -> None:
    cell = Cell(1, "", "code", "rows: int", frozenset({"parameters"}))
    below = Cell(2, "", "code", "rows")
    assert check_notebook(Notebook(None, (cell, below), "python3")).ok
    assert not check("rows: int", "rows").ok


@pytest.mark.parametrize(
    "source",
    [
        "%pip install a",
        "!python -m pip install a",
        "!{sys.executable} -m pip install a",
        "pip install a",
        "%%bash\nset -e\npip install a",
        "!uv pip install a",
        "!mamba install a",
    ],
)
def test_every_way_to_install_in_the_middle_is_found(source: str) -> None:
    assert [f.rule for f in check("1", source).findings] == ["install-in-the-middle"]
    assert check(source, "1").findings == ()


def test_another_language_is_refused() -> None:
    with pytest.raises(UsageError, match=r"julia\.ipynb is a notebook in julia"):
        checked("julia")


def test_the_report_is_json_and_harmless_html() -> None:
    report = check("x", "'<b>'; open('/home/<script>')")
    told = json.loads(json.dumps(report.to_dict()))
    assert told["ok"] is False
    assert [f["rule"] for f in told["findings"]] == ["undefined-name", "absolute-path"]
    assert "<script>" not in report._repr_html_()


def test_a_hundred_cells_cost_less_than_a_third_of_a_second() -> None:
    body = "\n".join(f"v{i} = [w + {i} for w in range({i}) if w]" for i in range(1, 12))
    sources = [f"%time t{n} = {n}\n{body}\ndef f{n}(a): return a + v1 + t{n}" for n in range(100)]
    check("%time x = 1")  # IPython is imported
    start = time.process_time()
    assert check(*sources).findings == ()
    assert time.process_time() - start < 0.9  # a shared machine: three times the aim
