# mypy: disable-error-code="no-untyped-call"
"""One contract over the three faces: the same words mean the same on each."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from mlflow.entities import LoggedModelOutput
from traitlets.config import Config

import mlops_nb as mlops
from mlops_nb import api
from mlops_nb.backends.session import Session
from mlops_nb.cli import call
from mlops_nb.errors import MlopsError
from mlops_nb.tables import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, template_cache: Path) -> Path:
    """A folder with runs, data and models, to be copied; it is not where it was made."""
    made = tmp_path_factory.mktemp("prepared") / "made"
    made.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLOPS_NB_ENV"):
            patch.delenv(name, raising=False)  # what a test before us left
        patch.setenv("MLOPS_NB_CACHE", str(template_cache))
        patch.chdir(made)
        (made / "mlops.toml").touch()
        (made / "flights.csv").write_text("carrier,delay\nAA,1\nUA,2\n")
        cells = [nbformat.v4.new_code_cell("x = 1"), nbformat.v4.new_code_cell("y = z")]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), made / "messy.ipynb")
        _fill(api.current_workspace())
        Session.current().detach()
        api._open.clear()
    there = made.with_name("template")
    made.rename(there)
    return there


def _fill(place: Any) -> None:
    place.add_data(Path("flights.csv"), "flights", message="first")
    for number, auc in enumerate((0.8, 0.9), 1):
        run = place.track("flights", name=f"train-{number:02d}")
        place.load_data("flights")
        place.log({"auc": auc, "log_loss": 1 - auc})
        place.log_params({"depth": number})
        model = place.runs.client.create_logged_model("1", name="model", source_run_id=run.run_id)
        place.runs.client.finalize_logged_model(model.model_id, "READY")
        place.runs.client.log_outputs(
            run.run_id, models=[LoggedModelOutput(model.model_id, step=0)]
        )
        place.end()
        place.register_model("churn", run.run_id)
    for alias in ("champion", "staging"):
        place.promote("churn/1", to=alias)
        place.promote("churn/2", to=alias)


@pytest.fixture
def place(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A copy of the prepared folder under a name, made the current folder."""

    def copy(name: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(prepared, folder)
        monkeypatch.chdir(folder)
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        api._open.clear()
        assert mlops.doctor(repair=True).exit_code == 0  # MLflow keeps artifact paths whole
        return folder

    return copy


@contextlib.contextmanager
def notebook() -> Iterator[InteractiveShell]:
    main = sys.modules["__main__"]
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=config)
    shell.run_line_magic("load_ext", "mlops_nb")
    try:
        yield shell
    finally:
        leave()
        InteractiveShell.clear_instance()
        sys.modules["__main__"] = main


def leave() -> None:
    """The process of a face ends."""
    Session.current().detach()
    Session.current.cache_clear()
    api._open.clear()


def by_magic(words: str, _: Callable[[], Any]) -> Any:
    with notebook() as shell, contextlib.redirect_stdout(io.StringIO()):
        return shell.run_line_magic("mlops", f"{words} --json")


def by_terminal(words: str, _: Callable[[], Any]) -> Any:
    import shlex

    said, failed = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(failed):
        code = call([*shlex.split(words), "--json"])
    leave()
    if code and not said.getvalue():
        raise TerminalError(failed.getvalue().removeprefix("Error: ").strip(), code)
    return json.loads(said.getvalue())


def by_python(_: str, function: Callable[[], Any]) -> Any:
    with notebook():  # Python is written in notebooks too; there the experiment is the notebook's
        return plain(function())


class TerminalError(Exception):
    def __init__(self, line: str, code: int) -> None:
        super().__init__(line)
        self.exit_code = code


FACES = (by_magic, by_terminal, by_python)

READING = {
    "": mlops.status,
    "runs": lambda: mlops.search_runs(last=20),
    "runs 'metrics.auc > 0.85'": lambda: mlops.search_runs("metrics.auc > 0.85"),
    "runs --order-by 'metrics.auc ASC' --last 1": lambda: mlops.search_runs(
        order_by=["metrics.auc ASC"], last=1
    ),
    "runs --experiment flights": lambda: mlops.search_runs(experiment="flights"),
    "show last": lambda: mlops.get_run("last"),
    "show best:log_loss": lambda: mlops.get_run("best:log_loss"),
    "show train-01": lambda: mlops.get_run("train-01"),
    "compare train-01 train-02": lambda: mlops.compare("train-01", "train-02"),
    "compare --last 2": lambda: mlops.compare(last=2),
    "compare --best auc": lambda: mlops.compare(best="auc"),
    "data list": mlops.list_data,
    "data list flights": lambda: mlops.list_data("flights"),
    "data show flights@v1": lambda: mlops.get_data("flights@v1"),
    "data load flights": lambda: mlops.load_data("flights"),
    "model list": mlops.list_models,
    "model list churn": lambda: mlops.list_models("churn"),
    "model show churn@champion": lambda: mlops.get_model("churn@champion"),
    "model show churn/1": lambda: mlops.get_model("churn/1"),
    "check messy.ipynb": lambda: mlops.check("messy.ipynb"),
    "doctor": mlops.doctor,
}


@pytest.mark.parametrize("words", READING)
def test_a_reading_command_gives_the_same_json_on_every_face(
    place: Callable[[str], Path], words: Any
) -> None:
    folder = place("work")
    before = _files(folder)
    values = [face(words, READING[words]) for face in FACES]
    assert values[0] == values[1] == values[2]
    assert values[0] not in (None, [], {})
    assert _files(folder) == before, "reading changes no file"


def _log(words: str) -> Any:
    def steps() -> Any:
        mlops.track("flights", name="mine", tags={"team": "north"})
        mlops.log(auc=0.7)
        mlops.log_params(depth=3)
        mlops.note("a try")
        mlops.tag(owner="ada")
        return mlops.end()

    return steps


WRITING = {
    "data add flights.csv small -m why": lambda: mlops.add_data(
        "flights.csv", "small", message="why"
    ),
    "data checkout flights@v1 --to out": lambda: mlops.checkout_data("flights@v1", "out"),
    "model register late train-01": lambda: mlops.register_model("late", "train-01"),
    "model register churn best:auc": lambda: mlops.register_model("churn", "best:auc"),
    "model promote churn/2 --to prod": lambda: mlops.promote("churn/2", to="prod"),
    "model rollback churn": lambda: mlops.rollback("churn"),
    "model rollback churn --alias staging": lambda: mlops.rollback("churn", alias="staging"),
}


@pytest.mark.parametrize("words", WRITING)
def test_a_writing_command_has_the_same_effect_on_every_face(
    place: Callable[[str], Path], words: Any
) -> None:
    effects = []
    for face in FACES:
        folder = place(face.__name__)
        face(words, WRITING[words])
        effects.append(_effects(folder))
        leave()
    assert effects[0] == effects[1] == effects[2]
    unchanged = place("unchanged")
    assert _effects(unchanged) != effects[0], "the command did something"


def test_a_run_is_the_same_written_by_magic_by_python_and_by_a_program(
    place: Callable[[str], Path],
) -> None:
    runs = []
    for face in ("magic", "python", "program"):
        place(face)
        _TRACKING[face]()
        run = mlops.get_run("mine").to_dict()
        runs.append(
            {key: run[key] for key in ("name", "experiment", "status", "params", "metrics")}
        )
        runs[-1]["tags"] = {k: run["tags"].get(k) for k in ("team", "owner", "mlflow.note.content")}
        leave()
    assert runs[0] == runs[1] == runs[2]
    assert runs[0]["params"] == {"depth": "3"}


def _by_magic() -> None:
    with notebook() as shell:
        for line in (
            "track flights --name mine -t team=north",
            "log auc=0.7",
            "note a try",
            "tag owner=ada",
        ):
            shell.run_line_magic("mlops", line)
        mlops.log_params(depth=3)
        shell.run_line_magic("mlops", "end")


def _by_program() -> None:
    program = (
        "import mlops_nb as m; m.log(auc=0.7); m.log_params(depth=3); "
        "m.note('a try'); m.tag(owner='ada')"
    )
    words = [
        "track",
        "flights",
        "--name",
        "mine",
        "-t",
        "team=north",
        "--",
        sys.executable,
        "-c",
        program,
    ]
    assert call(words) == 0
    leave()


_TRACKING = {"magic": _by_magic, "python": _log(""), "program": _by_program}

REFUSED = {
    "show nosuch": (2, lambda: mlops.get_run("nosuch")),
    "show best:f1": (2, lambda: mlops.get_run("best:f1")),
    "compare nosuch train-01": (2, lambda: mlops.compare("nosuch", "train-01")),
    "runs 'metrics.auc >'": (2, lambda: mlops.search_runs("metrics.auc >")),
    "runs --experiment flihgts": (2, lambda: mlops.search_runs(experiment="flihgts")),
    "data show fligths": (2, lambda: mlops.get_data("fligths")),
    "data load flights@v9": (2, lambda: mlops.load_data("flights@v9")),
    "data add flights.csv 'a b'": (2, lambda: mlops.add_data("flights.csv", "a b")),
    "model show churn": (2, lambda: mlops.get_model("churn")),
    "model show churn/9": (2, lambda: mlops.get_model("churn/9")),
    "model promote churn/2 --to champion": (2, lambda: mlops.promote("churn/2", to="champion")),
    "model promote churn/1 --to latest": (2, lambda: mlops.promote("churn/1", to="latest")),
    "model rollback late": (2, lambda: mlops.rollback("late")),
    "model register x nosuch": (2, lambda: mlops.register_model("x", "nosuch")),
    "check nosuch.ipynb": (2, lambda: mlops.check("nosuch.ipynb")),
    "log auc=1": (2, lambda: mlops.log(auc=1)),
    "end": (2, mlops.end),
}


def _refusal(face: Callable[..., Any], words: str, function: Callable[[], Any]) -> tuple[str, int]:
    try:
        face(words, function)
    except (MlopsError, TerminalError) as error:
        if isinstance(error, MlopsError):
            assert error._render_traceback_() == [f"{type(error).__name__}: {error}"]
        return str(error), error.exit_code
    raise AssertionError(f"{words} was not refused")


@pytest.mark.parametrize("words", REFUSED)
def test_a_refusal_is_the_same_line_and_exit_code_on_every_face(
    place: Callable[[str], Path], words: Any
) -> None:
    folder = place("work")
    before = _files(folder)
    code, function = REFUSED[words]
    refusals = {_refusal(face, words, function) for face in FACES}
    assert len(refusals) == 1
    [(line, exit_code)] = refusals
    assert exit_code == code
    assert "\n" not in line and line
    assert _files(folder) == before, "a refusal changes no file"


def test_a_broken_store_is_the_same_line_and_exit_code_on_every_face(
    place: Callable[[str], Path],
) -> None:
    folder = place("work")
    leave()
    (folder / "mlflow.db").write_bytes(b"not a database at all " * 200)
    refusals = {_refusal(face, "runs", mlops.search_runs) for face in FACES}
    [(line, exit_code)] = refusals
    assert exit_code == 5
    assert "mlflow.db" in line


def _files(folder: Path) -> set[tuple[str, int]]:
    """Names and sizes of all files but the lock files and SQLite's own."""
    return {
        (str(path.relative_to(folder)), path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith((".lock", "-wal", "-shm", "-journal"))
    }


def _effects(folder: Path) -> dict[str, Any]:
    """What a folder holds, without what differs from one doing to the next: times, ids, paths."""
    leave()
    place = api.current_workspace(folder)
    return {
        "data": [
            (v.reference, v.digest, v.message, v.source) for v in place.datasets.listing().versions
        ],
        "models": [
            (v.reference, v.aliases, v.run_name, v.datasets) for v in place.list_models().versions
        ],
        "moves": [
            (p.alias, p.number, p.version, p.previous, p.kind)
            for name in ("churn", "late")
            if any(v.name == name for v in place.list_models().versions)
            for p in place.models.promotions(name)
        ],
        "files": sorted(p.name for p in folder.iterdir() if p.name not in (".gitignore", ".mlops")),
        "out": sorted(str(p.relative_to(folder)) for p in (folder / "out").rglob("*")),
    }
