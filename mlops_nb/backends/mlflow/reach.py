"""Whether the server behind a store's URI answers, found out before MLflow waits for it.

MLflow's client tries a dead server again and again for minutes, SQLAlchemy a dead database for
almost two. A connection attempt tells in milliseconds.
"""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

from mlops_nb.errors import StoreError

PATIENCE = 2.0  # seconds for one attempt
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


def check_answers(uri: str) -> None:
    """Raise StoreError if the server of `uri` refuses a connection; other URIs pass.

    So do those behind a proxy, which only MLflow's client can use.
    """
    parts = urlsplit(uri)
    scheme = parts.scheme.partition("+")[0]
    if scheme not in PORTS or not parts.hostname:
        return
    if scheme.startswith("http") and any(os.environ.get(name) for name in PROXIES):
        return
    try:
        address = (parts.hostname, parts.port or PORTS[scheme])
        socket.create_connection(address, timeout=PATIENCE).close()
    except (OSError, ValueError):
        raise _silence(scheme, parts.netloc) from None


def _silence(scheme: str, address: str) -> StoreError:
    kind = "tracking server" if scheme.startswith("http") else "database server"
    shown = address.rpartition("@")[2]  # without a password
    return StoreError(
        f"{kind} {scheme}://{shown} does not answer",
        cure="start it, or unset MLFLOW_TRACKING_URI to work in the folder",
    )
