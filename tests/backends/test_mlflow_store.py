"""Opening the embedded store: real processes, real kills, real MLflow, real broken files."""

from __future__ import annotations

import os
import random
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlops_nb.backends.mlflow import store
from mlops_nb.backends.mlflow.errors import mlflow_errors
from mlops_nb.backends.mlflow.inspection import inspect_store, installed_schema
from mlops_nb.backends.mlflow.store import ensure_store, repair_moved
from mlops_nb.backends.mlflow.template import ensure_template
from mlops_nb.config import Settings, read_settings
from mlops_nb.errors import NotFoundError, StoreError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

OPEN = """
import sys
from pathlib import Path
from mlops_nb.config import read_settings
from mlops_nb.backends.mlflow.store import ensure_store
settings = read_settings(Path(sys.argv[1]), environ={})
print("ready", flush=True)
sys.stdin.readline()
ensure_store(settings)
"""
OPEN_AND_READ = (
    OPEN
    + """
import sqlite3
print(sqlite3.connect(settings.embedded).execute("SELECT count(*) FROM experiments").fetchone()[0])
"""
)
OPEN_AND_RUN = (
    OPEN
    + """
import os
from mlflow import MlflowClient
client = MlflowClient(settings.tracking)
print(client.create_run("0", run_name=str(os.getpid())).info.run_id)
"""
)
PLAIN = """
import sys
from mlflow import MlflowClient
client = MlflowClient(f"sqlite:///{sys.argv[1]}/mlflow.db")
print(client.create_run(client.create_experiment("plain")).info.run_id)
"""


@pytest.fixture(scope="session")
def warm_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One template for all workers of a session."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    cache = shared / "template-cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLOPS_NB_CACHE", str(cache))
        ensure_template(base)
    return cache


@pytest.fixture
def warm(warm_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLOPS_NB_CACHE", str(warm_cache))
    return warm_cache


@pytest.fixture
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLOPS_NB_CACHE", str(tmp_path / "cold-cache"))
    return tmp_path / "cold-cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(root: Path, warm: Path) -> Settings:
    return settings_of(root)


def settings_of(root: Path, **environ: str) -> Settings:
    return read_settings(root, environ=environ)


def spawn(code: str, *arguments: object, start_new_session: bool = False) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=start_new_session,
    )


def all_at_once(code: str, root: Path, count: int) -> list[str]:
    """The last line each of `count` processes prints, started together; none may fail."""
    processes = [spawn(code, root) for _ in range(count)]
    for process in processes:
        assert process.stdout and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=300) for process in processes]
    failed = [err[-2000:] for p, (_, err) in zip(processes, answers, strict=True) if p.returncode]
    assert failed == []
    return [out.split()[-1] for out, _ in answers]


def sql(path: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db, db:
        return db.execute(statement, values).fetchall()


def schema_of(path: Path) -> set[tuple[str, ...]]:
    """All tables and indexes; the order of a table's constraints is another in each migration."""
    return {
        (str(kind), str(name), *sorted(line.strip(" ,") for line in str(text).splitlines()))
        for kind, name, text in sql(path, "SELECT type, name, sql FROM sqlite_master")
    }


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if ".new-" in path.name]


def assert_whole(settings: Settings) -> None:
    path = settings.embedded
    assert path and inspect_store(path).problem == "" and inspect_store(path).exists
    assert sql(path, "PRAGMA integrity_check") == [("ok",)]
    location = str(path.parent / "mlruns" / "0")
    assert sql(path, "SELECT artifact_location FROM experiments") == [(location,)]


def refusal(settings: Settings) -> str:
    """The one line with which the store is refused; a second try says the same."""
    with pytest.raises(StoreError) as first:
        ensure_store(settings)
    with pytest.raises(StoreError) as second:
        ensure_store(settings)
    assert first.value.cure and "\n" not in str(first.value)
    assert str(first.value) == str(second.value)
    return str(first.value)


def age(path: Path) -> None:
    """Nobody has written here for a while."""
    os.utime(path, (time.time() - 60, time.time() - 60))


# --- a fresh folder ------------------------------------------------------------------------------


def test_a_fresh_folder_gets_what_mlflow_would_have_made(
    root: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    ensure_store(settings)
    plain = root.parent / "plain"
    plain.mkdir()
    monkeypatch.chdir(plain)
    MlflowClient(f"sqlite:///{plain}/mlflow.db").create_experiment("plain")
    assert schema_of(root / "mlflow.db") == schema_of(plain / "mlflow.db")
    for table in ("alembic_version", "workspaces"):
        assert sql(root / "mlflow.db", f"SELECT * FROM {table}") == sql(
            plain / "mlflow.db", f"SELECT * FROM {table}"
        )
    locations = "SELECT artifact_location FROM experiments WHERE experiment_id = 0"
    [(theirs,)] = sql(plain / "mlflow.db", locations)
    assert theirs == str(plain / "mlruns/0")
    assert sql(root / "mlflow.db", locations) == [(str(root / "mlruns/0"),)]


def test_mlflow_works_in_a_fresh_folder(root: Path, settings: Settings) -> None:
    from mlflow import MlflowClient

    ensure_store(settings)
    client = MlflowClient(settings.tracking)
    run = client.create_run("0")
    client.log_text(run.info.run_id, "hello", "a.txt")
    assert (root / "mlruns/0" / run.info.run_id / "artifacts/a.txt").read_text() == "hello"
    before = (root / "mlflow.db").stat().st_ino
    ensure_store(settings)
    assert (root / "mlflow.db").stat().st_ino == before
    assert client.get_run(run.info.run_id).info.status == "RUNNING"


def test_opening_imports_nothing_heavy(root: Path, warm: Path) -> None:
    code = OPEN + "print(sorted({'mlflow', 'sqlalchemy', 'pandas', 'numpy'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code, root], input="\n", text=True, capture_output=True, check=True
    )
    assert done.stdout == "ready\n[]\n"
    assert_whole(settings_of(root))


def test_the_head_revision_is_the_one_mlflow_itself_names() -> None:
    from mlflow.store.db.utils import _get_latest_schema_revision

    assert installed_schema().head == _get_latest_schema_revision()  # type: ignore[no-untyped-call]


def test_a_database_elsewhere_keeps_its_artifacts_beside_it(root: Path, warm: Path) -> None:
    far = root.parent / "far" / "deep" / "runs.db"
    settings = settings_of(root, MLOPS_NB_TRACKING=f"sqlite:///{far}")
    ensure_store(settings)
    assert_whole(settings)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["a b", "ünï ツ", "100%", "a#b", "q'uote", "both'\"", "a:b", "[x]", "semi;colon", "a&b"]
)
def test_odd_folder_names_work(root: Path, warm: Path, name: str) -> None:
    from mlflow import MlflowClient

    folder = root / name
    folder.mkdir()
    settings = settings_of(folder)
    ensure_store(settings)
    client = MlflowClient(settings.tracking)
    run = client.create_run("0")
    client.log_text(run.info.run_id, "hello", "a.txt")
    assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["a.txt"]
    assert sorted(path.name for path in root.iterdir()) == [name]
    assert_whole(settings)


@pytest.mark.parametrize("name", ["a%20b", "what?", "%41"])
def test_folder_names_that_mlflow_misreads_are_refused(root: Path, warm: Path, name: str) -> None:
    (root / name).mkdir()
    assert "rename the folder" in refusal(settings_of(root / name))
    assert [path.name for path in root.rglob("*")] == [name]


def test_a_uri_without_a_file_is_refused(root: Path) -> None:
    line = refusal(settings_of(root, MLOPS_NB_TRACKING="sqlite:///"))
    assert line == "'sqlite:///' names no file; set tracking to sqlite:///mlflow.db"


# --- a registry of its own ------------------------------------------------------------------------


def with_registry(root: Path, registry: str = "sqlite:///registry.db") -> Settings:
    return settings_of(root, MLOPS_NB_REGISTRY=registry)


def test_a_registry_of_its_own_is_made_like_the_tracking_store(root: Path, warm: Path) -> None:
    code = OPEN.replace("environ={}", "environ={'MLOPS_NB_REGISTRY': 'sqlite:///far/registry.db'}")
    code += "print(sorted({'mlflow', 'sqlalchemy'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code, root], input="\n", text=True, capture_output=True, check=True
    )
    assert done.stdout == "ready\n[]\n"
    settings = with_registry(root, "sqlite:///far/registry.db")
    assert_whole(settings)
    assert_whole(settings_of(root, MLOPS_NB_TRACKING="sqlite:///far/registry.db"))


def test_models_go_to_a_registry_of_its_own(root: Path, warm: Path) -> None:
    from mlflow import MlflowClient

    settings = with_registry(root)
    ensure_store(settings)
    client = MlflowClient(settings.tracking, settings.registry)
    run = client.create_run("0")
    client.create_registered_model("line")
    client.create_model_version("line", f"{run.info.artifact_uri}/model", run.info.run_id)
    ensure_store(settings)
    count = "SELECT count(*) FROM model_versions"
    assert sql(root / "registry.db", count) == [(1,)]
    assert sql(root / "mlflow.db", count) == [(0,)]
    assert client.get_model_version("line", "1").run_id == run.info.run_id


def test_a_registry_that_plain_mlflow_made_is_taken_as_it_is(root: Path, warm: Path) -> None:
    """It has no experiment at all."""
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

    settings = with_registry(root)
    SqlAlchemyStore(settings.registry).create_registered_model("line")  # type: ignore[no-untyped-call]
    assert sql(root / "registry.db", "SELECT count(*) FROM experiments") == [(0,)]
    before = (root / "registry.db").read_bytes()
    ensure_store(settings)
    assert (root / "registry.db").read_bytes() == before

    sql(root / "registry.db", "UPDATE alembic_version SET version_num = '451aebb31d03'")
    age(root / "registry.db")
    assert "copy the file, then type mlflow db upgrade" in refusal(settings)


def test_what_is_wrong_with_a_registry_names_the_registry(root: Path, warm: Path) -> None:
    registry = root / "registry.db"
    sql(registry, "CREATE TABLE mine (x)")
    line = refusal(with_registry(root))
    assert line == f"{registry} is a database, but not MLflow's; set registry to another file"
    registry.write_text("not a database, not at all, for more than a header's length\n" * 9)
    assert f"{registry} is not a database; rename it" in refusal(with_registry(root))
    assert "set registry to" in refusal(with_registry(root, "sqlite:///"))
    (root / "file").touch()
    line = refusal(with_registry(root, "sqlite:///file/registry.db"))
    assert str(root / "file") in line and "set MLOPS_NB_REGISTRY" in line


def test_a_server_as_registry_is_left_to_mlflow(root: Path, warm: Path) -> None:
    settings = with_registry(root, "http://127.0.0.1:9")
    ensure_store(settings)
    assert_whole(settings)


@pytest.mark.parametrize("place", ["old/registry.db", "shared/registry.db"])
def test_a_move_mends_the_registry_too(tmp_path: Path, warm: Path, place: str) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    (tmp_path / "shared").mkdir()
    settings = with_registry(old, f"sqlite:///{tmp_path / place}")
    ensure_store(settings)
    statement = (
        "INSERT INTO model_versions (name, version, source, workspace) VALUES (?, 1, ?, 'default')"
    )
    registry = tmp_path / place
    for name, source in (("line", f"{old}/mlruns/0/model"), ("other", f"{old}er/mlruns/0/model")):
        sql(registry, statement, name, source)
    old.rename(new)
    registry = tmp_path / place.replace("old", "new")
    moved = with_registry(new, f"sqlite:///{registry}")
    assert f"was moved from {old}" in refusal(moved)
    repair_moved(moved)
    ensure_store(moved)
    sources = sql(registry, "SELECT source FROM model_versions ORDER BY name")
    assert sources == [(f"{new}/mlruns/0/model",), (f"{old}er/mlruns/0/model",)]
    assert repair_moved(moved) == 0


def test_a_registry_that_moved_without_a_tracking_database_is_no_matter(
    tmp_path: Path, warm: Path
) -> None:
    (tmp_path / "old").mkdir()
    ensure_store(settings_of(tmp_path / "old"))
    (tmp_path / "old").rename(tmp_path / "new")
    root = tmp_path / "root"
    root.mkdir()
    assert inspect_store(tmp_path / "new" / "mlflow.db").moved_from == tmp_path / "old"
    ensure_store(with_registry(root, f"sqlite:///{tmp_path}/new/mlflow.db"))


# --- many at once, and kills ---------------------------------------------------------------------


def test_many_processes_open_a_fresh_folder_at_once(tmp_path: Path, warm: Path) -> None:
    open_at_once(tmp_path, repeats=1)


@pytest.mark.long
def test_many_processes_many_times(tmp_path: Path, warm: Path) -> None:
    open_at_once(tmp_path, repeats=20)


def open_at_once(base: Path, *, repeats: int) -> None:
    for repeat in range(repeats):
        folder = base / str(repeat)
        folder.mkdir()
        assert all_at_once(OPEN_AND_READ, folder, 32) == ["1"] * 32
        assert_whole(settings_of(folder))
        assert leftovers(folder) == []


def test_many_processes_share_the_building_of_the_template(root: Path, cold: Path) -> None:
    assert all_at_once(OPEN_AND_READ, root, 6) == ["1"] * 6
    assert sorted(path.suffix for path in cold.iterdir()) == [".db", ".lock"]


@pytest.mark.long
def test_many_processes_share_the_building_and_run_at_once(root: Path, cold: Path) -> None:
    ids = all_at_once(OPEN_AND_RUN, root, 6)
    assert len(set(ids)) == 6
    assert sql(root / "mlflow.db", "SELECT count(*) FROM runs") == [(6,)]
    assert sorted(path.suffix for path in cold.iterdir()) == [".db", ".lock"]


def kill_first_start(root: Path, moment: Callable[[], bool], *, group: bool) -> bool:
    """Whether a kill -9 at a moment of the first start came before its end."""
    process = spawn(OPEN, root, start_new_session=True)
    assert process.stdin and process.stdout and process.stdout.readline() == "ready\n"
    process.stdin.write("\n")
    process.stdin.flush()
    while process.poll() is None and not moment():
        time.sleep(0.0005)
    early = process.poll() is None
    if early:
        (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    return early


def kills_at_random(base: Path, count: int, seconds: float, *, empty: bool = False) -> None:
    random.seed(count)
    early = 0
    for trial in range(count):
        folder = base / f"trial-{trial}"
        folder.mkdir()
        if empty and trial % 2:
            (folder / "mlflow.db").touch()
        early += kill_first_start(folder, within(seconds), group=trial % 3 > 0)
        assert_opens(folder)
    assert early > 0


def within(seconds: float) -> Callable[[], bool]:
    """A moment at random in so many seconds from now, or rather from its first question."""
    start: list[float] = []
    wait = random.uniform(0, seconds)

    def reached() -> bool:
        start[:1] = start[:1] or [time.monotonic()]
        return time.monotonic() - start[0] >= wait

    return reached


def assert_opens(folder: Path) -> None:
    ensure_store(settings_of(folder))
    assert_whole(settings_of(folder))
    assert leftovers(folder) == []


def test_a_kill_at_any_moment_of_first_start_leaves_a_folder_that_opens(
    tmp_path: Path, warm: Path
) -> None:
    kills_at_random(tmp_path, 17, 0.03, empty=True)


@pytest.mark.parametrize("group", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_kill_while_the_template_is_built_leaves_a_folder_that_opens(
    root: Path, cold: Path, group: bool
) -> None:
    """With the builder, or (in the long share) with the builder left behind at its work."""

    def half_built() -> bool:
        return any(file.stat().st_size > 200_000 for file in cold.glob("building-*/store.db"))

    assert kill_first_start(root, half_built, group=group)
    assert list(cold.glob("mlflow-*.db")) == []
    assert_opens(root)
    assert sorted(path.suffix for path in cold.iterdir()) == [".db", ".lock"]


@pytest.mark.long
def test_a_hundred_kills_leave_folders_that_open(
    tmp_path: Path, warm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills_at_random(tmp_path, 85, 0.03, empty=True)
    random.seed(15)
    early = 0
    for trial in range(15):
        monkeypatch.setenv("MLOPS_NB_CACHE", str(tmp_path / f"cache-{trial}"))
        folder = tmp_path / f"cold-{trial}"
        folder.mkdir()
        early += kill_first_start(folder, within(4.0), group=trial % 3 > 0)
        assert_opens(folder)
    assert early > 0


KILLED_AT = OPEN.replace(
    "ensure_store(settings)",
    """
import os, signal
left = int(sys.argv[2])
def count(event, arguments):
    global left
    mine = [str(a) for a in arguments if sys.argv[1] in str(a)]
    if mine or event in ("sqlite3.connect/handle", "fcntl.flock"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
ensure_store(settings)
""",
)


@pytest.mark.parametrize("empty", [False, True], ids=["missing", "empty"])
def test_a_kill_at_each_file_operation_leaves_a_folder_that_opens(
    tmp_path: Path, warm: Path, empty: bool
) -> None:
    """Python's audit hook sees each open, link, removal and connection before it is done."""
    for step in range(1, 100):
        folder = tmp_path / str(step)
        folder.mkdir()
        if empty:
            (folder / "mlflow.db").touch()
        process = spawn(KILLED_AT, folder, step)
        _, said = process.communicate("\n", timeout=60)
        assert process.returncode in (0, -signal.SIGKILL), said
        ensure_store(settings_of(folder))
        assert_whole(settings_of(folder))
        for left in leftovers(folder):  # killed between the two names of one finished file
            assert (folder / left).samefile(folder / "mlflow.db")
        if process.returncode == 0:
            break
    assert step > 6


# --- what may be found ---------------------------------------------------------------------------


def test_an_empty_database_file_is_filled_in_place(root: Path, settings: Settings) -> None:
    (root / "mlflow.db").touch()
    before = (root / "mlflow.db").stat().st_ino
    ensure_store(settings)
    assert_whole(settings)
    assert (root / "mlflow.db").stat().st_ino == before
    assert schema_of(root / "mlflow.db") == schema_of(ensure_template(root))


def test_a_database_without_a_table_is_filled(root: Path, settings: Settings) -> None:
    sql(root / "mlflow.db", "PRAGMA journal_mode = WAL")
    assert (root / "mlflow.db").stat().st_size > 0
    ensure_store(settings)
    assert_whole(settings)


def test_a_journal_of_a_removed_database_does_no_harm(root: Path, settings: Settings) -> None:
    ensure_store(settings)
    crash_in_transaction(root / "mlflow.db")
    assert (root / "mlflow.db-journal").stat().st_size > 512
    (root / "mlflow.db").unlink()
    ensure_store(settings)
    assert_whole(settings)


def test_what_a_killed_writer_began_is_undone(root: Path, settings: Settings) -> None:
    ensure_store(settings)
    crash_in_transaction(root / "mlflow.db")
    assert (root / "mlflow.db-journal").exists()
    ensure_store(settings)
    assert_whole(settings)


def crash_in_transaction(path: Path) -> None:
    code = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN")
db.execute("UPDATE experiments SET name = 'torn'")
db.execute("CREATE TABLE filler (x)")
for _ in range(500):
    db.execute("INSERT INTO filler VALUES (randomblob(5000))")
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code, path], check=False)
    assert done.returncode == -signal.SIGKILL


def ruin(path: Path, how: str) -> None:
    statements = {
        "no revision": ["DELETE FROM alembic_version", "DELETE FROM experiments"],
        "no revision table": ["DROP TABLE alembic_version", "DELETE FROM experiments"],
        "middle revision": [
            "DELETE FROM experiments",
            "UPDATE alembic_version SET version_num = '451aebb31d03'",
        ],
        "upgrade left": ["CREATE TABLE _alembic_tmp_runs (x)"],
        "older": ["UPDATE alembic_version SET version_num = '451aebb31d03'"],
        "newer": ["UPDATE alembic_version SET version_num = 'ffffffffffff'"],
        "table gone": ["DROP TABLE latest_metrics"],
    }
    for statement in statements.get(how, []):
        sql(path, statement)
    content = path.read_bytes()
    if how == "text":
        path.write_text("not a database, not at all, for more than a header's length\n" * 9)
    elif how == "half":
        path.write_bytes(content[: len(content) // 8192 * 4096])
    elif how == "header":
        path.write_bytes(content[:60])
    elif how == "torn page":
        path.write_bytes(content[:-100])
    elif how == "zeros":
        path.write_bytes(content[:4096] + bytes(len(content) - 4096))
    elif how == "foreign":
        path.unlink()
        sql(path, "CREATE TABLE mine (x)")
    elif how == "folder":
        path.unlink()
        path.mkdir()
    age(path)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("text", "is not a database; rename it to mlflow.db.broken"),
        ("header", "is damaged: .* rename it"),
        ("half", "is damaged: database disk image is malformed; put a backup back"),
        ("zeros", "is damaged"),
        ("torn page", "is cut off in the middle of a page; rename it"),
        ("no revision", "is half made: .* rename it to mlflow.db.broken"),
        ("no revision table", "is half made"),
        ("middle revision", "is half made"),
        ("upgrade left", "is half migrated: .*; put your backup back"),
        (
            "older",
            r"MLflow older than .*451aebb31d03.*; copy the file, then type mlflow db upgrade",
        ),
        ("newer", "MLflow newer than .*ffffffffffff.*; type pip install --upgrade mlflow"),
        ("table gone", "is damaged: no table latest_metrics; rename it"),
        ("foreign", "is a database, but not MLflow's; set tracking to another file"),
        ("folder", "is not a file; rename it"),
    ],
)
def test_each_kind_of_broken_file_gives_its_line(
    root: Path, settings: Settings, how: str, words: str
) -> None:
    ensure_store(settings)
    path = root / "mlflow.db"
    ruin(path, how)
    before = path.read_bytes() if path.is_file() else None
    line = refusal(settings)
    assert re.search(words, line) and str(path) in line
    assert (path.read_bytes() if path.is_file() else None) == before
    path.rename(path.with_name("mlflow.db.broken"))  # the cure
    ensure_store(settings)
    assert_whole(settings)


def test_what_a_killed_plain_mlflow_leaves_is_named_or_mended(
    root: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = spawn(PLAIN, root)
    path = root / "mlflow.db"
    while not (path.exists() and path.stat().st_size > 200_000):
        assert plain.poll() is None
        time.sleep(0.005)
    plain.kill()
    plain.communicate()
    monkeypatch.setattr(store, "SETTLING", 1.0)
    assert re.search(r"half (made|migrated)", refusal(settings))


def test_a_plain_mlflow_that_sets_up_the_folder_now_is_waited_for(
    root: Path, settings: Settings
) -> None:
    plain = spawn(PLAIN, root)
    path = root / "mlflow.db"
    while not (path.exists() and path.stat().st_size > 200_000):
        assert plain.poll() is None
        time.sleep(0.005)
    ensure_store(settings)
    out, err = plain.communicate(timeout=60)
    assert plain.returncode == 0, err
    assert sql(path, "SELECT run_uuid FROM runs") == [(out.strip(),)]


def test_the_cure_for_an_old_database_works(root: Path, settings: Settings) -> None:
    make_old(root / "mlflow.db", "acf3f17fdcc7", str(root / "mlruns/0"))
    line = refusal(settings)
    _, _, words = line.partition("then type ")
    run_mlflow(words)
    ensure_store(settings)
    assert_whole(settings)


def make_old(path: Path, revision: str, place: str) -> None:
    """A database as an MLflow of that revision left it, with its Default experiment."""
    import sqlalchemy
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config
    from mlflow.store.tracking.dbmodels.initial_models import Base as InitialBase

    uri = f"sqlite:///{path}"
    engine = sqlalchemy.create_engine(uri)
    InitialBase.metadata.create_all(engine)
    with engine.begin() as connection:
        config = _get_alembic_config(uri)  # type: ignore[no-untyped-call]
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()
    sql(
        path,
        "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage)"
        " VALUES (0, 'Default', ?, 'active')",
        place,
    )


def run_mlflow(command: str) -> None:
    """A command line of MLflow's, as a user would type it."""
    words = shlex.split(command)
    assert words[0] == "mlflow"
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_big_store_is_looked_at_as_fast_as_a_small_one(root: Path, settings: Settings) -> None:
    ensure_store(settings)

    def fastest() -> float:
        times = []
        for _ in range(7):
            start = time.perf_counter()
            ensure_store(settings)
            times.append(time.perf_counter() - start)
        return min(times)

    small = fastest()
    with closing(sqlite3.connect(root / "mlflow.db")) as db, db:
        db.execute("CREATE TABLE filler (x)")
        for _ in range(100):
            db.execute("INSERT INTO filler VALUES (randomblob(1000000))")
    assert (root / "mlflow.db").stat().st_size > 100_000_000
    assert fastest() < 3 * small + 0.005


# --- file stores, servers, disks -----------------------------------------------------------------


def test_an_old_file_store_is_named_with_the_command_that_migrates_it(
    tmp_path: Path, warm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    root = tmp_path / "my work"
    root.mkdir()
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        client = MlflowClient((root / "mlruns").as_uri())
        run = client.create_run(client.create_experiment("old times"))
        client.log_metric(run.info.run_id, "auc", 0.9)
    before = sorted(root.rglob("*"))
    line = refusal(settings_of(root))
    assert "is an old MLflow file store" in line and sorted(root.rglob("*")) == before
    by_uri = settings_of(root, MLFLOW_TRACKING_URI=(root / "mlruns").as_uri())
    assert refusal(by_uri) == line
    _, _, words = line.partition("; type ")
    run_mlflow(words)
    ensure_store(settings_of(root))
    names = sql(root / "mlflow.db", "SELECT name FROM experiments ORDER BY name")
    assert names == [("Default",), ("old times",)]


def test_a_server_that_does_not_answer_is_named_without_its_password(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        settings = settings_of(root, MLFLOW_TRACKING_URI=f"http://me:secret@127.0.0.1:{port}")
        ensure_store(settings)
    line = refusal(settings)
    assert f"tracking server http://127.0.0.1:{port} does not answer; start it, or unset" in line
    assert "secret" not in line and list(root.iterdir()) == []
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    ensure_store(settings)  # only MLflow's client knows the way


def test_a_folder_that_cannot_be_made_is_named(root: Path, warm: Path) -> None:
    (root / "file").write_text("")
    settings = settings_of(root, MLOPS_NB_TRACKING=f"sqlite:///{root}/file/mlflow.db")
    line = refusal(settings)
    assert str(root / "file") in line and "set MLOPS_NB_TRACKING" in line


def mounted(folder: Path, mounting: str, code: str) -> str:
    """What `code` prints, run with `folder` mounted so in a mount namespace of its own."""
    folder.mkdir(exist_ok=True)
    script = f"{mounting} && exec {shlex.join([sys.executable, '-c', code, str(folder)])}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


REFUSED = """
import os, sys
from pathlib import Path
from mlops_nb.backends.mlflow.store import ensure_store
from mlops_nb.config import read_settings
from mlops_nb.errors import StoreError
try:
    ensure_store(read_settings(Path(sys.argv[1]), environ={}))
    print("opened")
except StoreError as error:
    print(error)
print(sorted(name for name in os.listdir(sys.argv[1]) if name != ".mlops"))
"""


@pytest.mark.system
def test_a_read_only_folder_is_named(root: Path, warm: Path) -> None:
    there = shlex.quote(str(root))
    out = mounted(
        root, f"mount --bind {there} {there} && mount -o remount,bind,ro {there}", REFUSED
    )
    line, names = out.splitlines()
    assert "Read-only file system; " in line and str(root) in line and names == "[]"


@pytest.mark.system
def test_a_store_in_a_read_only_folder_can_be_read(root: Path, settings: Settings) -> None:
    ensure_store(settings)
    there = shlex.quote(str(root))
    out = mounted(
        root, f"mount --bind {there} {there} && mount -o remount,bind,ro {there}", REFUSED
    )
    assert out.splitlines()[0] == "opened"


@pytest.mark.system
@pytest.mark.parametrize("empty", [False, True], ids=["missing", "empty"])
def test_a_full_disk_is_named_and_nothing_is_left(root: Path, warm: Path, empty: bool) -> None:
    there = shlex.quote(str(root))
    first = f" && : > {there}/mlflow.db" if empty else ""
    out = mounted(root, f"mount -t tmpfs -o size=300k tmpfs {there}{first}", REFUSED)
    line, names = out.splitlines()
    assert "is full; free some space" in line
    assert names == ("['mlflow.db']" if empty else "[]")


# --- the template --------------------------------------------------------------------------------


def test_without_a_writable_cache_the_workspace_keeps_the_template(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLOPS_NB_CACHE", str(tmp_path / "file" / "cache"))
    ensure_store(settings_of(root))
    assert_whole(settings_of(root))
    assert ensure_template(root / ".mlops").parent == root / ".mlops" / "cache"


@pytest.mark.parametrize(
    "ruined",
    [
        pytest.param(
            lambda path: sql(path, "UPDATE alembic_version SET version_num = '451aebb31d03'"),
            marks=pytest.mark.long,
            id="outdated",
        ),
        pytest.param(lambda path: os.truncate(path, 500_000), id="cut off"),
    ],
)
def test_a_template_that_is_not_sound_is_built_again(
    root: Path, warm: Path, cold: Path, ruined: object
) -> None:
    cold.mkdir()
    for file in warm.glob("mlflow-*.db"):
        shutil.copy(file, cold)
    good = ensure_template(root)
    content = good.read_bytes()
    assert good.parent == cold
    ruined(good)  # type: ignore[operator]
    assert good.read_bytes() != content
    ensure_store(settings_of(root))
    assert_whole(settings_of(root))


@pytest.mark.parametrize("part", ["yaml", pytest.param("alembic", marks=pytest.mark.long)])
def test_mlflow_that_cannot_build_is_told_in_one_line(
    root: Path, cold: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, part: str
) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / f"{part}.py").write_text(f"raise ImportError('{part} is broken here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "bad"))
    line = refusal(settings_of(root))
    assert f"MLflow could not make a database: ImportError: {part} is broken here" in line
    assert not (root / "mlflow.db").exists()
    assert [path.name for path in cold.iterdir()] == ["template.lock"]


# --- a moved folder ------------------------------------------------------------------------------


LIFE = """
import sys, mlflow, mlflow.sklearn
from pathlib import Path
from sklearn.linear_model import LinearRegression
root = Path(sys.argv[1])
mlflow.set_tracking_uri(f"sqlite:///{root}/mlflow.db")
mlflow.set_experiment("flights")
with mlflow.start_run() as run:
    mlflow.log_text("hello", "a/b.txt")
    mlflow.log_param("where", str(root / "mlruns"))
    model = LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])
    logged = mlflow.sklearn.log_model(
        model, name="model", registered_model_name="line", pip_requirements=["scikit-learn"]
    )
with mlflow.start_span("question") as span:
    span.set_inputs({"x": 1})
mlflow.flush_trace_async_logging()
print(run.info.run_id, logged.model_id, span.trace_id)
"""


def read_back(database: str, run_id: str, model_id: str, trace_id: str) -> list[str]:
    """What LIFE left, read by MLflow; raises what MLflow raises."""
    import mlflow
    import mlflow.sklearn

    mlflow.set_tracking_uri(database)
    file = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="a/b.txt")
    uris = (f"models:/{model_id}", "models:/line/1", f"runs:/{run_id}/model")
    models = [mlflow.sklearn.load_model(uri) for uri in uris]
    trace = mlflow.get_trace(trace_id)
    assert trace is not None
    return [
        Path(file).read_text(),
        *(str(model.predict([[3.0]])[0].round(6)) for model in models),
        trace.data.spans[0].name,
        mlflow.get_run(run_id).data.params["where"],
    ]


def test_a_moved_folder_is_named_and_mended(tmp_path: Path, warm: Path) -> None:
    from mlflow.exceptions import MlflowException

    old, new = tmp_path / "old place", tmp_path / "new 100% ünï"
    old.mkdir()
    ensure_store(settings_of(old))
    made = subprocess.run(
        [sys.executable, "-c", LIFE, old], cwd=old, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    ids = made.stdout.split()[-3:]
    old.rename(new)
    settings = settings_of(new)
    with pytest.raises(MlflowException, match="Failed to download artifacts"):
        read_back(settings.tracking, *ids)
    line = refusal(settings)
    assert f"was moved from {old}" in line and "mlops doctor --repair" in line

    assert repair_moved(settings) >= 6
    ensure_store(settings)
    answers = read_back(settings.tracking, *ids)
    assert answers == ["hello", "6.0", "6.0", "6.0", "question", str(old / "mlruns")]
    assert repair_moved(settings) == 0
    mine = {"params.value", "logged_model_params.param_value"}  # the run's own record of its param
    assert cells_that_name(new / "mlflow.db", str(old)) == mine
    assert not old.exists()


def cells_that_name(path: Path, text: str) -> set[str]:
    """All `table.column` that hold `text` anywhere."""
    found = set()
    for (table,) in sql(path, "SELECT name FROM sqlite_master WHERE type = 'table'"):
        for column in sql(path, f'PRAGMA table_info("{table}")'):
            query = f'SELECT count(*) FROM "{table}" WHERE instr("{column[1]}", ?)'
            if sql(path, query, text) != [(0,)]:
                found.add(f"{table}.{column[1]}")
    return found


def test_artifacts_below_a_sub_folder_move_along(tmp_path: Path, warm: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "nb" / "mlruns" / "1").mkdir(parents=True)
    ensure_store(settings_of(old))
    sql(old / "mlflow.db", "UPDATE experiments SET artifact_location = ?", f"{old}/nb/mlruns/0")
    sql(
        old / "mlflow.db",
        "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage)"
        " VALUES (1, 'x', ?, 'active')",
        (old / "nb/mlruns/1").as_uri(),
    )
    ensure_store(settings_of(old))
    old.rename(new)
    old.mkdir()  # somebody works there again
    assert f"was moved from {old}, where its artifacts" in refusal(settings_of(new))
    assert repair_moved(settings_of(new)) == 2
    places = sql(new / "mlflow.db", "SELECT artifact_location FROM experiments ORDER BY 1")
    assert places == [(f"{new}/nb/mlruns/0",), ((new / "nb/mlruns/1").as_uri(),)]
    ensure_store(settings_of(new))


def test_a_copied_folder_and_artifacts_kept_elsewhere_are_no_move(
    tmp_path: Path, settings: Settings, root: Path
) -> None:
    ensure_store(settings)
    (root / "mlruns").mkdir()
    shutil.copytree(root, tmp_path / "copy")
    ensure_store(settings_of(tmp_path / "copy"))
    for place in ("s3://bucket/mlruns/0", f"{root}/nb/mlruns/0", "/srv/artifacts/0"):
        (root / "nb").mkdir(exist_ok=True)
        sql(root / "mlflow.db", "UPDATE experiments SET artifact_location = ?", place)
        ensure_store(settings)
        assert repair_moved(settings) == 0


# --- the door of errors --------------------------------------------------------------------------


def test_errors_of_mlflow_become_ours_in_one_line(root: Path, settings: Settings) -> None:
    from mlflow import MlflowClient

    ensure_store(settings)
    client = MlflowClient(settings.tracking)
    with (
        pytest.raises(NotFoundError, match=r"reading a run failed: .*abc.*mlops runs") as missing,
        mlflow_errors("reading a run"),
    ):
        client.get_run("abc")
    with pytest.raises(NotFoundError, match="mlops model list"), mlflow_errors():
        client.get_registered_model("nobody")
    with pytest.raises(UsageError, match="already exists"), mlflow_errors():
        client.create_experiment("Default")
    with pytest.raises(UsageError) as query, mlflow_errors():
        client.search_runs(["0"], "metrics.auc >")
    sql(root / "mlflow.db", "DROP TABLE latest_metrics")
    with (
        pytest.raises(StoreError, match=r"no such table.*; type mlops doctor") as broken,
        mlflow_errors(),
    ):
        client.get_run(client.create_run("0").info.run_id)
    for caught in (missing, query, broken):
        assert "\n" not in str(caught.value)


def test_a_locked_database_is_told_with_its_cure(root: Path, settings: Settings) -> None:
    import sqlalchemy

    ensure_store(settings)
    engine = sqlalchemy.create_engine(settings.tracking, connect_args={"timeout": 0})
    with closing(sqlite3.connect(root / "mlflow.db", isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        with (
            pytest.raises(StoreError, match=r"is locked; another process is writing"),
            mlflow_errors(),
            engine.connect() as other,
        ):
            other.execute(sqlalchemy.text("SELECT * FROM runs"))
    engine.dispose()


def test_a_server_that_is_gone_is_told_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with (
        pytest.raises(StoreError, match=r"; start the tracking server, or unset") as gone,
        mlflow_errors("reading runs"),
    ):
        MlflowClient(f"http://me:secret@127.0.0.1:{port}").get_run("abc")
    assert "\n" not in str(gone.value) and "secret" not in str(gone.value)


def test_other_errors_pass_the_door_as_they_are() -> None:
    for error in (
        ValueError("mine"),
        KeyboardInterrupt(),
        UsageError("ours"),
        FileNotFoundError(2, "x"),
    ):
        with pytest.raises(type(error)) as caught, mlflow_errors("anything"):
            raise error
        assert caught.value is error


def test_the_door_imports_nothing() -> None:
    code = """
import sys
from mlops_nb.backends.mlflow.errors import mlflow_errors
try:
    with mlflow_errors():
        raise ValueError
except ValueError:
    print(sorted({'mlflow', 'sqlalchemy', 'requests', 'sqlite3'} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
