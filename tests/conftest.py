"""Every test in a fresh folder, with a clean environment and MLflow's migrated template shared."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from mlops_nb import api
from mlops_nb.backends.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The gate asks the same questions each time; at home the property tests go on exploring.
settings.register_profile("gate", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("gate")

FOREIGN = ("MLFLOW_", "_MLFLOW_", "MLOPS_NB_", "JPY_", "CI", "GIT_")


@pytest.fixture(scope="session", autouse=True)
def template_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of the migrated database for all workers: made once, by whoever comes first."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return shared / "template-cache"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, template_cache: Path) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLOPS_NB_CACHE", str(template_cache))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    yield
    Session.current().detach()
    Session.current.cache_clear()
    api._open.clear()
    if "mlflow" in sys.modules:
        import mlflow

        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh workspace folder, and the current one."""
    place = tmp_path / "work"
    place.mkdir()
    (place / "mlops.toml").touch()
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def ipython(folder: Path) -> Iterator[InteractiveShell]:
    """A real IPython shell in the folder, gone after the test."""
    main = sys.modules["__main__"]
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    yield InteractiveShell.instance(config=config)
    Session.current().detach()
    InteractiveShell.clear_instance()
    sys.modules["__main__"] = main


@pytest.fixture
def shell(ipython: InteractiveShell) -> InteractiveShell:
    """The shell with the extension loaded."""
    ipython.run_cell("%load_ext mlops_nb", store_history=True)
    return ipython
