"""The one door through which MLflow's errors reach users: one line, of our kinds, with a cure.

MLflow, SQLAlchemy and requests are told by the names of their classes, so that a door that
nothing fails behind imports none of them.
"""

from __future__ import annotations

import errno
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlops_nb.errors import MlopsError, NotFoundError, StoreError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

LINE = 300  # characters of a foreign message
ROOTS = {  # (package, class): the roots of the families translated here
    ("mlflow", "MlflowException"),
    ("sqlalchemy", "SQLAlchemyError"),
    ("sqlite3", "Error"),
    ("requests", "RequestException"),
    ("urllib3", "HTTPError"),
}
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
DRIVERS = {  # what SQLAlchemy imports for a URI, and the package that brings it
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "pymysql": "pymysql",
    "MySQLdb": "mysqlclient",
    "pyodbc": "pyodbc",
}
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
MISUSE = (
    "INVALID_PARAMETER_VALUE",
    "RESOURCE_ALREADY_EXISTS",
    "INVALID_STATE",
    "MALFORMED_REQUEST",
    "BAD_REQUEST",
)
SERVER = "start the tracking server, or unset MLFLOW_TRACKING_URI to work in the folder"
LOGIN = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
# The store's own troubles, whatever code MLflow gave them.
TROUBLES = [
    (r"database is locked", "another process is writing to it; try again when it is done"),
    (r"readonly database|read-only file system", "make the store's folder writable"),
    (r"disk is full|no space left", "free some space and try again"),
    (r"out-of-date database schema|no such (table|column)", "type mlops doctor to see what to do"),
    (r"malformed|not a database|unable to open database", "type mlops doctor to see what to do"),
    (r"filesystem tracking backend", "type mlflow migrate-filestore --help"),
    (r"\b401\b|\b403\b|unauthori[sz]ed|permission.denied|unauthenticated", LOGIN),
    (r"max retries|connection (refused|reset|aborted)|timed out|name resolution", SERVER),
    (r"error code 404|endpoint.not.found", "check that MLFLOW_TRACKING_URI names an MLflow server"),
]


@contextmanager
def mlflow_errors(what: str = "") -> Iterator[None]:
    """Raise errors of MLflow, its database and its server as ours.

    `what` says what was being done ("reading runs"). NotFoundError for what is not there,
    UsageError for what MLflow refuses, StoreError for a store that fails; others pass as they are.
    """
    try:
        yield
    except MlopsError:
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name in DRIVERS:
            raise StoreError(
                f"the database driver {error.name} is not installed",
                cure=f'type pip install "{DRIVERS[error.name]}"',
            ) from None
        if not _is_foreign(error):
            raise
        raise _translated(error, what) from error


def first_line(error: BaseException) -> str:
    """What an error says, on one line, without passwords of URLs."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = re.sub(r"://[^/@\s]+@", "://***@", lines[0] if lines else type(error).__name__)
    return text if len(text) <= LINE else text[: LINE - 1] + "…"


def _is_foreign(error: Exception) -> bool:
    names = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(error).__mro__}
    return bool(names & ROOTS) or (isinstance(error, OSError) and error.errno in DISK)


def _translated(error: Exception, what: str) -> MlopsError:
    line = first_line(error)
    problem = f"{what} failed: {line}" if what else line
    code = str(getattr(error, "error_code", ""))
    if code in ABSENT:
        return NotFoundError(problem, cure=_where_to_look(line))
    cure = next((cure for pattern, cure in TROUBLES if re.search(pattern, line.lower())), "")
    passed_on = code == "BAD_REQUEST" and _is_database(error.__cause__)
    if code in MISUSE and not cure and not passed_on:
        return UsageError(problem)
    return StoreError(problem, cure=cure or "type mlops doctor to see what to do")


def _is_database(error: BaseException | None) -> bool:
    """Whether MLflow only passed on what its database said (it codes that as a bad request)."""
    return error is not None and type(error).__module__.startswith(("sqlalchemy", "sqlite3"))


def _where_to_look(line: str) -> str:
    if re.search(r"registered model|model version", line, re.IGNORECASE):
        return "mlops model list shows what there is"
    return "mlops runs shows what there is"
