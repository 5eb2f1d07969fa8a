"""What git knows of a folder."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def provenance(folder: Path) -> dict[str, str]:
    """MLflow's git tags of the checkout that `folder` is in; empty outside of one."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    tags = {
        "mlflow.source.git.commit": commit,
        "mlflow.source.git.branch": _git(folder, "rev-parse", "--abbrev-ref", "HEAD"),
        "mlflow.source.git.repoURL": _without_password(
            _git(folder, "config", "--get", "remote.origin.url")
        ),
        "mlflow.source.git.dirty": "true"
        if _git(folder, "status", "--porcelain", "-uno")
        else "false",
    }
    return {key: value for key, value in tags.items() if value}


def _without_password(url: str) -> str:
    return re.sub(r"://[^/@]*@", "://", url)


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
