from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlops_nb.config import find_root, read_settings, sqlite_path
from mlops_nb.errors import ConfigError

PROD = """
tracking = "sqlite:///own.db"
experiment = "flights"

[env.prod]
tracking = "http://mlflow.example:5000"
params = { month = 2 }

[env.test]
"""


@pytest.fixture
def root(tmp_path: Path) -> Any:
    (tmp_path / "mlops.toml").write_text(PROD)
    return tmp_path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


# --- where a workspace is ------------------------------------------------------------------------


@pytest.mark.parametrize("marker", ["mlops.toml", ".mlops", ".git", "pyproject.toml"])
def test_a_workspace_is_the_nearest_marked_folder_upwards(home: Path, marker: Any) -> None:
    place = home / "project"
    deep = place / "a" / "b"
    deep.mkdir(parents=True)
    if marker.endswith("toml"):
        (place / marker).write_text("[tool.mlops_nb]\n" if marker == "pyproject.toml" else "")
    else:
        (place / marker).mkdir()
    assert find_root(deep) == place.resolve()


def test_the_nearest_of_two_marked_folders_wins(home: Path) -> None:
    inner = home / "outer" / "inner"
    inner.mkdir(parents=True)
    (home / "outer" / ".git").mkdir()
    (inner / "mlops.toml").touch()
    assert find_root(inner) == inner.resolve()


def test_the_home_folder_and_all_above_it_are_never_a_workspace(home: Path) -> None:
    (home / ".git").mkdir()
    (home.parent / "mlops.toml").touch()
    place = home / "notes"
    place.mkdir()
    assert find_root(place) == place.resolve()
    assert find_root(home) == home.resolve()


@pytest.mark.parametrize("content", ["[tool.other]\n", "not toml at all ["])
def test_somebody_elses_pyproject_marks_nothing(home: Path, content: Any) -> None:
    place = home / "project" / "notebooks"
    place.mkdir(parents=True)
    (home / "project" / "pyproject.toml").write_text(content)
    assert find_root(place) == place.resolve()


# --- what is set ---------------------------------------------------------------------------------


def test_without_a_file_the_store_is_in_the_folder(tmp_path: Path) -> None:
    settings = read_settings(tmp_path, environ={})
    assert settings.tracking == settings.registry == f"sqlite:///{tmp_path}/mlflow.db"
    assert settings.embedded == tmp_path / "mlflow.db"
    assert settings.data == tmp_path / ".mlops" / "data"
    assert (settings.env, settings.experiment, dict(settings.params)) == (None, None, {})


def test_settings_can_stand_in_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.mlops_nb]\nexperiment = "churn"\n')
    assert read_settings(tmp_path, environ={}).experiment == "churn"


@pytest.mark.parametrize(
    ("env", "environ", "tracking"),
    [
        (None, {}, "own.db"),
        (None, {"MLFLOW_TRACKING_URI": "http://from-mlflow"}, "http://from-mlflow"),
        ("prod", {"MLFLOW_TRACKING_URI": "http://from-mlflow"}, "http://mlflow.example:5000"),
        (None, {"MLOPS_NB_ENV": "prod"}, "http://mlflow.example:5000"),
        ("test", {"MLOPS_NB_ENV": "prod"}, "own.db"),
        ("prod", {"MLOPS_NB_TRACKING": "http://mine"}, "http://mine"),
        (
            None,
            {"MLOPS_NB_TRACKING": "http://mine", "MLFLOW_TRACKING_URI": "http://x"},
            "http://mine",
        ),
    ],
)
def test_the_nearer_setting_wins(root: Path, env: Any, environ: Any, tracking: Any) -> None:
    found = read_settings(root, env=env, environ=environ).tracking
    assert found == (f"sqlite:///{root}/own.db" if tracking == "own.db" else tracking)


def test_an_environment_brings_parameters_and_its_own_registry(root: Path) -> None:
    settings = read_settings(root, env="prod", environ={})
    assert (settings.env, dict(settings.params)) == ("prod", {"month": 2})
    assert settings.registry == settings.tracking
    assert settings.embedded is None
    assert settings.experiment == "flights"
    other = read_settings(root, env="prod", environ={"MLFLOW_REGISTRY_URI": "http://models"})
    assert other.registry == "http://models"


def test_relative_paths_are_counted_from_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "mlops.toml").write_text('tracking = "sqlite:///db/m.db"\ndata = "store"\n')
    settings = read_settings(tmp_path, environ={})
    assert settings.embedded == tmp_path / "db" / "m.db"
    assert settings.data == tmp_path / "store"
    (tmp_path / "mlops.toml").write_text('data = "/mnt/team/data"\n')
    assert read_settings(tmp_path, environ={}).data == Path("/mnt/team/data")


@pytest.mark.parametrize(
    ("content", "env", "words"),
    [
        ("tracking = 3\n", None, "tracking must be a string, not 3"),
        ('trakcing = "x"\n', None, "unknown key 'trakcing'; did you mean tracking"),
        ('[env.prod]\ntrack = "x"\n', None, "unknown key 'track'; did you mean tracking"),
        ('params = { a = 1 }\n', None, "unknown key 'params'"),
        ("[env.production]\n", None, r"\[env.production\] is not an environment; there is dev, "),
        ("env = 3\n", None, r"env must be a table; write \[env.prod\]"),
        ("[env.prod]\nparams = 3\n", None, "params must be a table; write {"),
        ("", "prod", r"environment 'prod' is not set up; add \[env.prod\] to "),
        ("", "produ", "no environment 'produ'; did you mean prod"),
        ("tracking = \n", None, "cannot be read: .*; mend or remove the file"),
        ("\0", None, "cannot be read"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named_with_its_file_and_the_cure(
    tmp_path: Path, content: Any, env: Any, words: Any
) -> None:
    (tmp_path / "mlops.toml").write_text(content)
    with pytest.raises(ConfigError, match=words) as caught:
        read_settings(tmp_path, env=env, environ={})
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_configuration_in_another_encoding_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "mlops.toml").write_bytes(b'experiment = "caf\xe9"\n')
    with pytest.raises(ConfigError, match=r"mlops\.toml cannot be read"):
        read_settings(tmp_path, environ={})


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("sqlite:////a/m.db", Path("/a/m.db")),
        ("sqlite:///m.db?timeout=3", Path("m.db")),
        ("postgresql://db/m", None),
        ("http://server", None),
    ],
)
def test_the_embedded_store_is_the_file_of_an_sqlite_uri(uri: Any, path: Path) -> None:
    assert sqlite_path(uri) == path
