from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from mlops_nb.backends.git import provenance

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def checkout(tmp_path: Path) -> Any:
    def git(*words: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "-b", "trunk")
    (tmp_path / "a.txt").write_text("a")
    git("add", "a.txt")
    git("commit", "-qm", "first")
    return tmp_path, git


def test_a_checkout_has_commit_branch_and_whether_it_was_changed(checkout: Any) -> None:
    folder, git = checkout
    assert provenance(folder) == {
        "mlflow.source.git.commit": git("rev-parse", "HEAD"),
        "mlflow.source.git.branch": "trunk",
        "mlflow.source.git.dirty": "false",
    }
    (folder / "untracked.txt").touch()
    assert provenance(folder)["mlflow.source.git.dirty"] == "false"
    (folder / "a.txt").write_text("b")
    assert provenance(folder)["mlflow.source.git.dirty"] == "true"


def test_a_remote_is_named(checkout: Any) -> None:
    folder, git = checkout
    git("remote", "add", "origin", "git@example.org:team/flights.git")
    assert provenance(folder)["mlflow.source.git.repoURL"] == "git@example.org:team/flights.git"


def test_a_password_in_the_remotes_address_stays_out_of_the_record(checkout: Any) -> None:
    folder, git = checkout
    git("remote", "add", "origin", "https://ada:secret@example.org/flights.git")
    url = provenance(folder)["mlflow.source.git.repoURL"]
    assert "secret" not in url
    assert url.endswith("example.org/flights.git")


def test_a_sub_folder_belongs_to_its_checkout(checkout: Any) -> None:
    folder, git = checkout
    (folder / "deep").mkdir()
    assert provenance(folder / "deep")["mlflow.source.git.commit"] == git("rev-parse", "HEAD")


def test_outside_of_a_checkout_before_the_first_commit_and_without_git_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert provenance(tmp_path) == {}
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert provenance(tmp_path) == {}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance(tmp_path) == {}
