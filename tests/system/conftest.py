"""The outside parts, real ones on 127.0.0.1: JupyterLab, Chromium, PostgreSQL, MLflow's server.

A part that is missing is an error, never a skip: `.ci/run` installs them.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from jupyter_client.blocking.client import BlockingKernelClient
    from playwright.sync_api import Browser, Page

RUNUSER = shutil.which("runuser") or "/usr/sbin/runuser"  # not on every user's path
FOREIGN = ("MLFLOW_", "_MLFLOW_", "MLOPS_NB_", "JPY_", "JUPYTER", "GIT_", "PG")
PATIENCE = 120.0  # seconds for a server to answer, a cell to end
SHOTS = os.environ.get("MLOPS_NB_SHOTS")  # read now: tests run without the variable
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TRACKED = (  # a notebook that trains two models: two runs
    "%load_ext mlops_nb\n%mlops track",
    "import pandas as pd\n"
    "frame = pd.DataFrame({'delay': range(40), 'late': [n % 3 == 0 for n in range(40)]})\n"
    "%mlops data add frame flights",
    "import mlops_nb as mlops\nflights = mlops.load_data('flights@v1')",
    "from sklearn.linear_model import LogisticRegression\n"
    "LogisticRegression().fit(flights[['delay']], flights['late'])\n"
    "%mlops log auc=0.7",
    "from sklearn.tree import DecisionTreeClassifier\n"
    "DecisionTreeClassifier(max_depth=2).fit(flights[['delay']], flights['late'])\n"
    "%mlops log auc=0.9",
    "%mlops end",
)
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def environment(
    tmp_path_factory: pytest.TempPathFactory, template_cache: Path
) -> Mapping[str, str]:
    """What every process of these tests gets: nothing of the developer's own settings."""
    base = tmp_path_factory.mktemp("jupyter")
    kept = {k: v for k, v in os.environ.items() if k != "CI" and not k.startswith(FOREIGN)}
    return kept | {
        "MLOPS_NB_CACHE": str(template_cache),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "IPYTHONDIR": str(base / "ipython"),
        "JUPYTER_CONFIG_DIR": str(base / "config"),
        "JUPYTER_DATA_DIR": str(base / "data"),
        "JUPYTER_RUNTIME_DIR": str(base / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(base / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(base / "workspaces"),
    }


# -- terminal and kernel ---------------------------------------------------------------------


@dataclass(frozen=True)
class Terminal:
    """A folder in which `mlops …` is typed."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mlops_nb", *words],
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def value(self, *words: str) -> Any:
        """What the command answers by `--json`."""
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def refusal(self, *words: str) -> str:
        """The one line on stderr of a command that ends with exit code 5."""
        done = self.run(*words)
        assert done.returncode == 5, done.stdout + done.stderr
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        return line


@dataclass(frozen=True)
class Kernel:
    """A real kernel, one cell after the other."""

    client: BlockingKernelClient

    def run(self, source: str) -> str:
        """Execute a cell; gives all that it showed, as text. A raising cell is a failed test."""
        status, shown = self._execute(source)
        assert status == "ok", shown
        return shown

    def error(self, source: str) -> str:
        """Execute a cell that must raise; gives all that it showed."""
        status, shown = self._execute(source)
        assert status == "error", shown
        return shown

    def _execute(self, source: str) -> tuple[str, str]:
        shown: list[str] = []
        reply = self.client.execute_interactive(
            source, timeout=PATIENCE, output_hook=lambda message: shown.append(_text_of(message))
        )
        return reply["content"]["status"], re.sub(r"\x1b\[[0-9;]*m", "", "".join(shown))


@pytest.fixture(scope="session")
def terminal(environment: Mapping[str, str]) -> Callable[[Path], Terminal]:
    return lambda folder: Terminal(folder, environment)


@pytest.fixture(scope="session")
def kernel(environment: Mapping[str, str]) -> Callable[..., Any]:
    """`with kernel(folder) as k: k.run("1 + 1")`."""

    @contextmanager
    def start(folder: Path) -> Iterator[Kernel]:
        manager, client = start_new_kernel(env=dict(environment), cwd=str(folder))
        try:
            yield Kernel(client)
        finally:
            client.stop_channels()
            manager.shutdown_kernel()

    return start


@pytest.fixture(scope="session")
def write_notebook() -> Callable[[Path, Sequence[str]], Path]:
    """Writes code cells as a notebook at a path, and gives the path."""

    def write(path: Path, sources: Sequence[str]) -> Path:
        book = nbformat.v4.new_notebook()  # type: ignore[no-untyped-call]
        book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
        book.cells = [nbformat.v4.new_code_cell(text) for text in sources]  # type: ignore[no-untyped-call]
        nbformat.write(book, path)  # type: ignore[no-untyped-call]
        return path

    return write


@pytest.fixture(scope="session")
def track_two_runs(
    kernel: Callable[..., Any], write_notebook: Callable[[Path, Sequence[str]], Path]
) -> Callable[[Path], None]:
    """A notebook, executed in a real kernel: two runs on `flights@v1`, a model in each."""

    def track(folder: Path) -> None:
        write_notebook(folder / "trees.ipynb", TRACKED)
        with kernel(folder) as running:
            for source in TRACKED:
                running.run(source)

    return track


def _text_of(message: Mapping[str, Any]) -> str:
    content = message["content"]
    if message["msg_type"] == "stream":
        return str(content["text"])
    if message["msg_type"] == "error":
        return "\n".join(content["traceback"]) + "\n"
    return str(content.get("data", {}).get("text/plain", ""))


# -- servers ---------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A process that answers HTTP; it can be killed and started again."""

    command: Sequence[str]
    environment: Mapping[str, str]
    url: str
    alive: str  # the path that answers once it is up
    log: Path
    headers: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end = time.monotonic() + PATIENCE
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"{self.command[2]} does not answer:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.2)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the process and its children; by SIGKILL if it does not go."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def _answers(self) -> bool:
        request = urllib.request.Request(self.url + self.alive, headers=dict(self.headers))
        try:
            urllib.request.urlopen(request, timeout=5).close()
        except OSError:
            return False
        return True


@pytest.fixture(scope="module")
def tracking_server(
    environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """`mlflow server` on SQLite, artifacts by its proxy."""
    folder, port = tmp_path_factory.mktemp("tracking-server"), free_port()
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{folder}/server.db"]
    words += ["--artifacts-destination", str(folder / "artifacts")]
    command = [sys.executable, "-m", "mlflow", *words]
    url = f"http://127.0.0.1:{port}"
    server = Server(command, environment, url, "/health", folder / "server.log")
    server.start()
    yield server
    server.stop()


@dataclass(frozen=True)
class Postgresql:
    """A database cluster of its own, on a random port and a socket in its folder."""

    binaries: Path
    folder: Path
    port: int
    user: str | None  # whose processes they are; None: ours
    password: str

    @property
    def uri(self) -> str:
        """With the driver named: which one a bare `postgresql:` means depends on SQLAlchemy."""
        return f"postgresql://mlops:{self.password}@127.0.0.1:{self.port}/postgres"

    def create(self) -> None:
        secret = self.folder / "password"
        secret.write_text(self.password)
        if self.user:
            shutil.chown(self.folder, self.user)
            shutil.chown(secret, self.user)
        words = ["-U", "mlops", "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8", "-N"]
        self._run("initdb", "-D", str(self.folder / "data"), *words)

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._control("start", "-o", options, "-l", str(self.folder / "log"))

    def stop(self) -> None:
        self._control("stop", "-m", "immediate")

    def _control(self, *words: str) -> None:
        self._run("pg_ctl", "-w", "-D", str(self.folder / "data"), *words)

    def _run(self, program: str, *words: str) -> None:
        command = [str(self.binaries / program), *words]
        if self.user:
            command = [RUNUSER, "-u", self.user, "--", *command]
        done = subprocess.run(
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Postgresql]:
    """A running PostgreSQL; the folder is not pytest's, which no other user may enter."""
    with tempfile.TemporaryDirectory(prefix="mlops-pg-") as name:
        user = _unprivileged_user() if os.geteuid() == 0 else None
        server = Postgresql(
            _postgresql_binaries(), Path(name), free_port(), user, secrets.token_hex(8)
        )
        server.create()
        server.start()
        yield server
        with suppress(AssertionError):  # a failed test may have left it stopped
            server.stop()


def _postgresql_binaries() -> Path:
    found = shutil.which("pg_ctl")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    whole = [f for f in folders if all((f / p).exists() for p in ("initdb", "pg_ctl", "postgres"))]
    assert whole, "no PostgreSQL server here: apt-get install postgresql"
    return whole[0]


def _unprivileged_user() -> str:
    """PostgreSQL refuses to run as root."""
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


# -- browser ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab; `root` holds a copy of the examples."""

    server: Server
    token: str
    root: Path

    def address(self, notebook: Path) -> str:
        """`reset`: without the layout that an earlier test left."""
        return (
            f"{self.server.url}/lab/tree/{notebook.relative_to(self.root)}?token={self.token}&reset"
        )

    def end_kernels(self) -> None:
        for session in json.loads(self._call("GET", "/api/sessions")):
            self._call("DELETE", f"/api/sessions/{session['id']}")

    def _call(self, method: str, path: str) -> bytes:
        request = urllib.request.Request(
            self.server.url + path, headers=dict(self.server.headers), method=method
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return bytes(answer.read())


@pytest.fixture(scope="module")
def lab(environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    base = tmp_path_factory.mktemp("lab")
    root = Path(shutil.copytree(EXAMPLES, base / "notebooks"))
    (root / "mlops.toml").touch()
    _settle_lab(Path(environment["JUPYTERLAB_SETTINGS_DIR"]))
    port, token = free_port(), secrets.token_hex(16)
    words = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    words += ["--ServerApp.port_retries=0", f"--ServerApp.root_dir={root}"]
    server = Server(
        [sys.executable, "-m", "jupyterlab", *words],
        dict(environment) | {"JUPYTER_TOKEN": token},  # an argument would be seen by all
        f"http://127.0.0.1:{port}",
        "/api/status",
        base / "lab.log",
        {"Authorization": f"token {token}"},
    )
    server.start()
    yield Lab(server, token, root)
    server.stop()


def _settle_lab(settings: Path) -> None:
    """No question about news, and all cells in the page, also those out of sight."""
    for name, values in {
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "notebook-extension/tracker": {"windowingMode": "none"},
    }.items():
        file = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import expect, sync_playwright

    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    assert program, "no Chromium here: apt-get install chromium"
    expect.set_options(timeout=PATIENCE * 1000)  # the page's own default does not reach `expect`
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=CHROMIUM_ARGUMENTS)


@pytest.fixture(scope="module")
def new_page(browser: Browser, lab: Lab) -> Iterator[Callable[[], Page]]:
    """A window of its own, with the text font of this machine and the light theme."""
    contexts = []

    def open_window() -> Page:
        contexts.append(
            browser.new_context(viewport={"width": 1200, "height": 800}, color_scheme="light")
        )
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE * 1000)
        return page

    yield open_window
    for context in contexts:
        context.close()
    lab.end_kernels()


@pytest.fixture(scope="session")
def shots() -> Path | None:
    """Where pictures go, if MLOPS_NB_SHOTS says so."""
    if SHOTS is None:
        return None
    folder = Path(SHOTS).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
