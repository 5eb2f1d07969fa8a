"""Where a workspace is and what is set in it.

A workspace is the nearest folder upwards that holds `mlops.toml`, `.mlops`, `.git`, or a
`pyproject.toml` with `[tool.mlops_nb]`; never the home folder or above it; else the folder.

    defaults  <  mlops.toml or [tool.mlops_nb]  <  MLFLOW_* variables
              <  [env.NAME] chosen by --env or MLOPS_NB_ENV  <  MLOPS_NB_* variables

    experiment = "flights"                 # default: the notebook's name
    tracking   = "sqlite:///mlflow.db"     # any MLflow tracking URI
    registry   = "http://registry:5000"    # default: as tracking
    data       = "/mnt/team/data"          # dataset versions; default: .mlops/data

    [env.prod]
    tracking = "http://mlflow.example:5000"
    params   = { month = 2 }               # notebook parameters of `mlops run --env prod`
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVIRONMENTS = ("dev", "test", "prod")
KEYS = ("experiment", "tracking", "registry", "data")


@dataclass(frozen=True)
class Settings:
    """What holds in one workspace under one environment; paths are absolute."""

    root: Path
    env: str | None
    tracking: str
    registry: str
    data: Path
    experiment: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        """The folder of everything that is ours alone."""
        return self.root / ".mlops"

    @property
    def embedded(self) -> Path | None:
        """The SQLite file behind `tracking`, if it is one."""
        return sqlite_path(self.tracking)


def find_root(start: Path) -> Path:
    """The workspace folder that `start` belongs to."""
    start = start.resolve()
    home = Path.home().resolve()
    for folder in (start, *start.parents):
        if folder in (home, folder.parent):
            break
        if _is_marked(folder):
            return folder
    return start


def read_settings(
    root: Path, *, env: str | None = None, environ: Mapping[str, str] = os.environ
) -> Settings:
    """The settings of the workspace at `root`.

    Raises ConfigError, with file and key, for what cannot be read or is not known.
    """
    env = env or environ.get("MLOPS_NB_ENV") or None
    source, config = _read_config(root)
    environments = _checked_environments(config.pop("env", {}), source)
    values = _checked(config, source, allowed=KEYS)
    values |= _variables(
        environ, {"tracking": "MLFLOW_TRACKING_URI", "registry": "MLFLOW_REGISTRY_URI"}
    )
    params: Mapping[str, Any] = {}
    if env is not None:
        chosen = _choose(env, environments, source)
        params = chosen.pop("params", {})
        values |= chosen
    values |= _variables(environ, {key: f"MLOPS_NB_{key.upper()}" for key in KEYS})
    tracking = _anchored(values.get("tracking") or "sqlite:///mlflow.db", root)
    return Settings(
        root=root,
        env=env,
        tracking=tracking,
        registry=_anchored(values.get("registry") or tracking, root),
        data=(root / (values.get("data") or ".mlops/data")),
        experiment=values.get("experiment"),
        params=params,
    )


def sqlite_path(uri: str) -> Path | None:
    """The file of a `sqlite:///` URI, else None."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])


def _is_marked(folder: Path) -> bool:
    if any((folder / name).exists() for name in ("mlops.toml", ".mlops", ".git")):
        return True
    project = folder / "pyproject.toml"
    if not project.is_file():
        return False
    try:
        return "mlops_nb" in _read_toml(project).get("tool", {})
    except ConfigError:
        return False  # somebody else's broken file above us is not our business


def _read_config(root: Path) -> tuple[Path, dict[str, Any]]:
    own = root / "mlops.toml"
    if own.is_file():
        return own, _read_toml(own)
    project = root / "pyproject.toml"
    if project.is_file():
        return project, dict(_read_toml(project).get("tool", {}).get("mlops_nb", {}))
    return own, {}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}", cure="mend or remove the file"
        ) from None


def _checked(table: Mapping[str, Any], source: Path, *, allowed: tuple[str, ...]) -> dict[str, Any]:
    for key, value in table.items():
        if key not in allowed:
            raise ConfigError(f"{source}: unknown key {key!r}", cure=did_you_mean(key, allowed))
        if key == "params":
            if not isinstance(value, dict):
                raise ConfigError(
                    f"{source}: params must be a table", cure="write { name = value }"
                )
        elif not isinstance(value, str):
            raise ConfigError(f"{source}: {key} must be a string, not {value!r}")
    return dict(table)


def _checked_environments(tables: Any, source: Path) -> dict[str, dict[str, Any]]:
    if not isinstance(tables, dict):
        raise ConfigError(f"{source}: env must be a table", cure="write [env.prod]")
    for name, table in tables.items():
        if name not in ENVIRONMENTS or not isinstance(table, dict):
            raise ConfigError(
                f"{source}: [env.{name}] is not an environment",
                cure=did_you_mean(name, ENVIRONMENTS),
            )
    return {
        name: _checked(table, source, allowed=(*KEYS, "params")) for name, table in tables.items()
    }


def _choose(env: str, environments: Mapping[str, dict[str, Any]], source: Path) -> dict[str, Any]:
    if env in environments:
        return dict(environments[env])
    if env in ENVIRONMENTS:
        raise ConfigError(f"environment {env!r} is not set up", cure=f"add [env.{env}] to {source}")
    raise ConfigError(f"no environment {env!r}", cure=did_you_mean(env, ENVIRONMENTS))


def _variables(environ: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    return {key: environ[name] for key, name in names.items() if environ.get(name)}


def _anchored(uri: str, root: Path) -> str:
    """A `sqlite:///relative` URI made absolute from the workspace, any other as it is."""
    path = sqlite_path(uri)
    if path is None or path.is_absolute() or not path.name:
        return uri
    return f"sqlite:///{root / path}"
