"""MLOps inside Jupyter: a notebook that keeps a true record of itself, and runs in production.

Nothing heavy is imported before it is used: `import mlops_nb` and `%load_ext mlops_nb` know
neither MLflow nor pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops_nb.api import (
        add_data as add_data,
        check as check,
        checkout_data as checkout_data,
        compare as compare,
        current_workspace as current_workspace,
        doctor as doctor,
        end as end,
        get_data as get_data,
        get_model as get_model,
        get_run as get_run,
        list_data as list_data,
        list_models as list_models,
        load_data as load_data,
        log as log,
        log_params as log_params,
        note as note,
        promote as promote,
        register_model as register_model,
        rollback as rollback,
        run_notebook as run_notebook,
        search_runs as search_runs,
        status as status,
        tag as tag,
        track as track,
    )
    from mlops_nb.errors import MlopsError as MlopsError

__version__ = "0.1.0"

_VERBS = (
    "add_data", "check", "checkout_data", "compare", "current_workspace", "doctor", "end",
    "get_data", "get_model", "get_run", "list_data", "list_models", "load_data", "log",
    "log_params", "note", "promote", "register_model", "rollback", "run_notebook", "search_runs",
    "status", "tag", "track",
)  # fmt: skip
_HOMES = {**dict.fromkeys(_VERBS, "mlops_nb.api"), "MlopsError": "mlops_nb.errors"}

__all__ = ["MlopsError", "__version__", *_VERBS]  # noqa: PLE0604 - one list, not two


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mlops_nb' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(ipython: Any) -> None:
    """`%load_ext mlops_nb`: the `%mlops` magic, and the store for plain MLflow calls."""
    from mlops_nb.magics import load

    load(ipython)
