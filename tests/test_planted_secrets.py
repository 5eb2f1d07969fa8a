"""Secrets that a notebook holds are in none of the files that its run leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import mlops_nb as mlops

if TYPE_CHECKING:
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

# Put together here, so that no scanner finds them in the repository.
GITHUB = "gh" + "p_" + "Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4zAb3d"
AWS = "AK" + "IA" + "Q7RT5VWX3YZA2BCD"
PASSWORD = "corr3ct-h0rse" + "-battery"
DATABASE = "post" + "gresql://ada:" + PASSWORD + "@db.example/x"
ENVIRONMENT = "v4lue-of-the" + "-variable-99"
PLANTED = (GITHUB, AWS, PASSWORD, ENVIRONMENT)
CELLS = (
    "%load_ext mlops_nb\n%mlops track flights",
    f"import mlops_nb as mlops\napi_token = '{GITHUB}'\nconnect = dict(password='{PASSWORD}')",
    f"mlops.log_params(db_password='{PASSWORD}', url='{DATABASE}', num_tokens=512)",
    f"mlops.tag(access_key='{AWS}')\nmlops.note('uses {GITHUB}')",
    f"print('{ENVIRONMENT}')\nmlops.log(auc=0.5)",
    f"raise ValueError('cannot log in with {GITHUB} at {DATABASE}')",
)


@pytest.fixture
def executed(folder: Path, monkeypatch: pytest.MonkeyPatch, ipython: InteractiveShell) -> Path:
    """The folder after all cells have run, the last of them with an exception."""
    monkeypatch.setenv("SERVICE_SECRET", ENVIRONMENT)
    for cell in CELLS:
        ipython.run_cell(cell, store_history=True)
    return folder


def test_no_planted_secret_is_in_any_file_while_the_run_is_open(executed: Path) -> None:
    files = [path for path in executed.rglob("*") if path.is_file()]
    assert any(path.suffix == ".jsonl" for path in files), "the journal is among them"
    assert any(path.name == "mlflow.db" for path in files)
    found = {
        (path.name, secret)
        for path in files
        for secret in PLANTED
        if secret.encode() in path.read_bytes()
    }
    assert found == set()


def test_the_record_says_what_was_there_and_keeps_the_rest(executed: Path) -> None:
    run = mlops.get_run("last")
    assert run.params["num_tokens"] == "512"
    assert run.params["db_password"].startswith("[redacted:")
    assert run.params["url"].endswith("@db.example/x")
    assert "[redacted:" in run.tags["mlops_nb.exception"]
    assert run.metrics == {"auc": 0.5}
