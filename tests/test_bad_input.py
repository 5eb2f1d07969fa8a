"""What nobody meant to type, and stores that are not as they should be: one line, nothing lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

import mlops_nb as mlops
from mlops_nb import api
from mlops_nb.backends.session import Session
from mlops_nb.cli import call
from mlops_nb.commands import group

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOTEBOOK = '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and the one line of an error."""
    capsys.readouterr()
    code = call(list(words))
    said = capsys.readouterr()
    assert said.err.startswith("Error: "), said
    assert said.err.count("\n") == 1
    assert said.out == ""
    return code, said.err.removeprefix("Error: ").strip()


def leave() -> None:
    Session.current().detach()
    Session.current.cache_clear()
    api._open.clear()


# --- words ---------------------------------------------------------------------------------------

verbs = st.sampled_from(
    [w for w in group().commands if w not in ("demo", "run")] + ["data", "model", "nosuch"]
)
words = st.lists(
    st.sampled_from(
        [
            "list",
            "show",
            "load",
            "add",
            "register",
            "promote",
            "--last",
            "--to",
            "-t",
            "--json",
            "best:",
        ]
    )
    | st.text(max_size=8).filter(lambda text: "\0" not in text),
    max_size=4,
)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(verbs, words)
@example("data", ["\n"])
@example("show", ["\x1b[31m\r"])
def test_whatever_is_typed_is_answered_or_refused_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], verb: Any, rest: Any
) -> None:
    code = call([verb, *rest])
    said = capsys.readouterr()
    assert code in (0, 1, 2), said.err
    assert "Traceback" not in said.err
    if code == 2:
        assert said.err.startswith("Error: ") and said.err.count("\n") == 1


# --- references ----------------------------------------------------------------------------------


def test_an_ambiguous_start_of_ids_names_all_and_changes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [mlops.track("flights", name="twin") for _ in range(1)]
    mlops.end()
    runs.append(mlops.track("flights", name="twin"))
    mlops.end()
    code, line = refusal(capsys, "show", "twin")
    assert code == 2
    assert "'twin' could be 2 runs" in line
    assert all(run.run_id[:10] in line for run in runs)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("show nosuch", "no run 'nosuch'"),
        ("compare one nosuch", "no run 'nosuch'"),
        ("data load nosuch", "nosuch"),
        ("data show small@v7", "no version 7 of dataset small; there is v1"),
        ("data show small@prod", "prod"),
        ("model show nosuch/1", "no model 'nosuch' is registered"),
        ("model register churn one", "run one logged no model; "),
        ("model promote ../x --to y", "cannot name a model"),
    ],
)
def test_what_does_not_exist_is_named_with_the_cure(
    folder: Path, capsys: pytest.CaptureFixture[str], line: str, words: Any
) -> None:
    (folder / "small.csv").write_text("a\n1\n")
    mlops.add_data("small.csv", "small")
    mlops.track("flights", name="one")
    mlops.end()
    code, said = refusal(capsys, *line.split())
    assert code == 2
    assert words in said and ";" in said


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"not json", "is not a notebook: no JSON at line 1, column 1"),
        (b'{"cells": [', "is half-written: it ends at line 1"),
        (b"[1, 2]", "is JSON but no notebook"),
        (b'{"nbformat": 3, "worksheets": []}', "has notebook format 3"),
        (b"\xff\xfe\x00", "is not UTF-8 text at byte 0"),
        (NOTEBOOK.replace("[]", "[3]").encode(), "cell [1] is no notebook cell"),
    ],
)
@pytest.mark.parametrize("verb", ["check", "run"])
def test_a_notebook_that_is_none_is_said_and_left_as_it_is(
    folder: Path, capsys: pytest.CaptureFixture[str], verb: Any, content: Any, words: Any
) -> None:
    path = folder / "n.ipynb"
    path.write_bytes(content)
    code, line = refusal(capsys, verb, "n.ipynb")
    assert code == 2
    assert "n.ipynb" in line and words in line
    assert path.read_bytes() == content


def test_a_file_that_vanished_before_it_is_added_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "small.csv").write_text("a\n1\n")
    assert call(["data", "add", "small.csv", "small"]) == 0
    (folder / "small.csv").unlink()
    code, line = refusal(capsys, "data", "add", "small.csv", "small")
    assert code == 2
    assert "no file or folder 'small.csv'; look in " in line
    assert [v.reference for v in mlops.list_data("small").versions] == ["small@v1"]


def test_a_dangling_link_is_no_data(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "small.csv").symlink_to("nosuch.csv")
    code, line = refusal(capsys, "data", "add", "small.csv", "small")
    assert code == 2 and "small.csv" in line
    assert mlops.list_data().versions == ()


def test_a_broken_configuration_is_said_by_every_command_and_loading_the_extension_survives_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "mlops.toml").write_text("tracking = \n")
    for line in ("runs", "data list", "model list", "doctor"):
        code, said = refusal(capsys, *line.split())
        assert code == 2 and "mlops.toml cannot be read" in said
    from mlops_nb.magics import _offer_store

    _offer_store()


# --- stores --------------------------------------------------------------------------------------


@pytest.fixture
def kept(folder: Path) -> Path:
    """A folder with one run, closed."""
    mlops.track("flights", name="kept")
    mlops.log(auc=0.5)
    mlops.end()
    leave()
    return folder


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:10_000])


def _overwrite(path: Path) -> None:
    path.write_bytes(b"no database " * 1000)


def _half_make(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE alembic_version (version_num TEXT)")
        db.execute("CREATE TABLE experiments (experiment_id INTEGER)")
    old = 1_000_000_000
    os.utime(path, (old, old))


def _foreign(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE birds (name TEXT)")


def _newer(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_cut, "mlflow.db is "),
        (_overwrite, "mlflow.db is not a database; rename it"),
        (_half_make, "mlflow.db is half made"),
        (_foreign, "mlflow.db is a database, but not MLflow's"),
        (_newer, "was made by an MLflow newer than"),
    ],
)
def test_a_store_that_cannot_be_read_is_said_with_the_cure_and_not_touched(
    kept: Path, capsys: pytest.CaptureFixture[str], damage: Any, words: Any
) -> None:
    path = kept / "mlflow.db"
    damage(path)
    content = path.read_bytes()
    for line in (("runs",), ("track", "x", "--", "true"), ("model", "list")):
        code, said = refusal(capsys, *line)
        assert code == 5
        assert words in said
    assert path.read_bytes() == content
    leave()
    assert call(["doctor"]) == 1
    assert words in capsys.readouterr().out


def test_a_store_put_back_has_everything(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(kept / "mlflow.db", kept / "backup")
    _overwrite(kept / "mlflow.db")
    refusal(capsys, "show", "kept")
    leave()
    shutil.copy(kept / "backup", kept / "mlflow.db")
    assert mlops.get_run("kept").metrics == {"auc": 0.5}


def _nobody_there() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_a_server_that_does_not_answer_is_said_at_once_with_the_cure(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = _nobody_there()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for name in (
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    for line in (("runs",), ("track", "x", "--", "true"), ("show", "last")):
        code, said = refusal(capsys, *line)
        assert code == 5
        assert f"tracking server {uri} does not answer; start it" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.chmod(0o555)
    try:
        code, line = refusal(capsys, "track", "x", "--", "true")
    finally:
        folder.chmod(0o755)
    assert code == 5 and "cannot write" in line


@contextlib.contextmanager
def mounted(place: Path, options: str) -> Iterator[Any]:
    """A small file system of its own at `place`."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        os.chdir("/")
        leave()
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.system
def test_a_read_only_file_system_is_said_with_the_cure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mounted(tmp_path / "disk", "size=64m") as place:
        (place / "mlops.toml").touch()
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        os.chdir(place)
        for line in (("track", "x", "--", "true"), ("data", "add", "mlops.toml", "x")):
            code, said = refusal(capsys, *line)
            assert code == 5
            assert "cannot write" in said or "read-only" in said.lower()
            assert str(place) in said and ";" in said
        assert call(["check", "nosuch.ipynb"]) == 2
        assert [p.name for p in place.iterdir()] == ["mlops.toml"]


@pytest.mark.system
def test_a_full_disk_is_said_and_what_was_there_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mounted(tmp_path / "disk", "size=6m") as place:
        os.chdir(place)
        (place / "mlops.toml").touch()
        (place / "small.csv").write_text("a\n1\n")
        assert call(["data", "add", "small.csv", "small"]) == 0
        assert call(["track", "x", "--name", "kept", "--", sys.executable, "-c", ""]) == 0
        leave()
        with (place / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while filler.write(b"x" * 4096):
                pass
        big = tmp_path / "big.csv"
        big.write_text("a\n" + "".join(f"{i}\n" for i in range(100_000)))
        code, line = refusal(capsys, "data", "add", str(big), "big")
        assert code == 5
        assert "full" in line
        (place / "filler").unlink()
        leave()
        assert mlops.get_run("kept").status == "FINISHED"
        assert [v.reference for v in mlops.list_data().versions] == ["small@v1"]
        assert mlops.load_data("small")["a"].tolist() == [1]
