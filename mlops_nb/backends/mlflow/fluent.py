"""Plain MLflow calls of the user, sent to the notebook's run.

The open run is deliberately not on MLflow's own stack: there, the user's `start_run` raises
"already active" and other threads open orphan runs. Instead these names are wrapped:

    fluent._get_or_start_run   every implicit `mlflow.log_*`, in every thread
    mlflow.start_run           the user's own runs become children; autologging's is ours
    mlflow.end_run             autologging may not end ours
    mlflow.active_run          answers ours
    mlflow.log_metric(s), log_param(s), log_input(s)
                               announce what they are about to log: it may open the next run

`fluent.active_run` stays as it is, so that autologging still asks `start_run` for its run.
A transformer's params must not meet the model's under the same names, so they get the class name in
front. tests/backends/test_mlflow_fluent.py is the contract with MLflow.
"""

from __future__ import annotations

import inspect
import sys
import threading
import warnings
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, Protocol

import mlflow
from mlflow.entities import RunStatus
from mlflow.tracking import fluent
from mlflow.utils.autologging_utils.client import MlflowAutologgingQueueingClient

from mlops_nb.backends.mlflow.requirements import inference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FINISHED = RunStatus.to_string(RunStatus.FINISHED)
AUTOLOGGING = "mlflow.autologging"
CONTRIBUTIONS = ("log_metric", "log_metrics", "log_param", "log_params", "log_input", "log_inputs")


class Router(Protocol):
    """Who knows which run is open. `None` means: none of ours, do as MLflow does."""

    def current_run_id(self) -> str | None: ...
    def contribute(self, params: Mapping[str, Any]) -> object: ...
    def fit_run_id(self, *, predictor: bool) -> str | None: ...


def start_autologging(tracking: str, registry: str) -> None:
    """MLflow's own autologging of every library it knows, into this store.

    Dataset digests stay off: MLflow's read only the first 10,000 rows, ours all of them.
    """
    if mlflow.get_tracking_uri() != tracking:
        mlflow.set_tracking_uri(tracking)
    if registry != tracking:
        mlflow.set_registry_uri(registry)
    mlflow.autolog(silent=True, log_datasets=False)
    # MLflow's own call, inside of the user's fit; nothing that the user could change.
    warnings.filterwarnings("ignore", "`y_pred` was renamed", FutureWarning, "sklearn")


def forget_run(run_id: str | None) -> None:
    """Take a run that a parent process handed down, and that MLflow has resumed, off its stack."""
    _stack()[:] = [run for run in _stack() if run.info.run_id != run_id]


class Redirection:
    """Sends MLflow's fluent calls where `router` says, until `uninstall`."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self._local = threading.local()
        self._originals: list[tuple[Any, str, Callable[..., Any]]] = []

    def install(self) -> None:
        for owner, name, replacement in (
            (fluent, "_get_or_start_run", self._get_or_start_run),
            (mlflow, "start_run", self._start_run),
            (mlflow, "end_run", self._end_run),
            (mlflow, "active_run", self._active_run),
        ):
            self._wrap(owner, name, replacement)
        for name in CONTRIBUTIONS:
            self._wrap(mlflow, name, self._announced(getattr(mlflow, name)))
        self._wrap_transformer_logging()
        quick = inference(mlflow.models.infer_pip_requirements)
        self._wrap(mlflow.models, "infer_pip_requirements", quick)

    def uninstall(self) -> None:
        for owner, name, original in reversed(self._originals):
            setattr(owner, name, original)
        self._originals.clear()

    def _wrap(self, owner: Any, name: str, replacement: Callable[..., Any]) -> None:
        original = getattr(owner, name)
        self._originals.append((owner, name, original))
        setattr(owner, name, replacement)

    def _original(self, name: str) -> Callable[..., Any]:
        return next(original for _, known, original in self._originals if known == name)

    # -- the four calls --------------------------------------------------------------------

    def _get_or_start_run(self) -> Any:
        stack = _stack()
        if stack:
            return stack[-1]
        return _active(self.router.current_run_id()) or self._original("_get_or_start_run")()

    def _start_run(self, *args: Any, **kwargs: Any) -> Any:
        stack = _stack()
        if AUTOLOGGING in (kwargs.get("tags") or {}) and not args and not stack:
            return self._begin_fit(kwargs) or self._original("start_run")(**kwargs)
        ours = self.router.current_run_id()
        if ours and not stack and not args and not kwargs.get("run_id"):
            kwargs.setdefault("parent_run_id", ours)
            kwargs.setdefault("experiment_id", _active(ours).info.experiment_id)
        return self._original("start_run")(*args, **kwargs)

    def _end_run(self, status: str = FINISHED) -> None:
        stack = _stack()
        if stack and stack[-1].info.run_id == getattr(self._local, "fitting", None):
            stack.pop()  # the fit is over, the run is not
            self._local.fitting = self._local.transformer = None
            return
        self._original("end_run")(status)

    def _active_run(self) -> Any:
        return self._original("active_run")() or _active(self.router.current_run_id())

    def _announced(self, original: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(original)

        @wraps(original)
        def log(*args: Any, **kwargs: Any) -> Any:
            if not _stack() and not kwargs.get("run_id") and self.router.current_run_id():
                given = signature.bind_partial(*args, **kwargs).arguments
                one = {given["key"]: given.get("value")} if original.__name__ == "log_param" else {}
                self.router.contribute(given.get("params") or one)
            return original(*args, **kwargs)

        return log

    # -- autologging -----------------------------------------------------------------------

    def _begin_fit(self, kwargs: Mapping[str, Any]) -> Any:
        estimator = _fitted_estimator()
        predictor = estimator is None or _is_predictor(estimator)
        run = _active(self.router.fit_run_id(predictor=predictor))
        if run is None:
            return None
        self._local.fitting = run.info.run_id
        self._local.transformer = None if predictor else type(estimator).__name__
        if predictor:
            mlflow.MlflowClient().set_tag(run.info.run_id, AUTOLOGGING, kwargs["tags"][AUTOLOGGING])
        _stack().append(run)
        return run

    def _wrap_transformer_logging(self) -> None:
        log_params = MlflowAutologgingQueueingClient.log_params
        set_tags = MlflowAutologgingQueueingClient.set_tags
        local = self._local

        def prefixed(client: Any, run_id: str, params: dict[str, Any]) -> None:
            name = getattr(local, "transformer", None)
            log_params(
                client, run_id, {f"{name}.{k}": v for k, v in params.items()} if name else params
            )

        def of_models(client: Any, run_id: str, tags: dict[str, Any]) -> None:
            if not getattr(local, "transformer", None):
                set_tags(client, run_id, tags)

        self._wrap(MlflowAutologgingQueueingClient, "log_params", prefixed)
        self._wrap(MlflowAutologgingQueueingClient, "set_tags", of_models)


def _stack() -> list[Any]:
    """The runs that this thread opened by MLflow's own calls, or is fitting in."""
    return fluent._active_run_stack.get()  # type: ignore[no-any-return, no-untyped-call]


def _active(run_id: str | None) -> Any:
    """The run as MLflow's own kind of handle."""
    return fluent.ActiveRun(_fetched(run_id)) if run_id else None  # type: ignore[no-untyped-call]


@lru_cache(maxsize=16)
def _fetched(run_id: str) -> Any:
    """A handle's facts (id, experiment) do not change, and a log call must not wait for a read."""
    return mlflow.MlflowClient().get_run(run_id)


def _fitted_estimator() -> Any:
    """What autologging is about to fit: the first argument of its innermost managed call."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_code.co_name != "patch_with_managed_run":
        frame = frame.f_back  # type: ignore[assignment]
    arguments = frame.f_locals.get("args", ()) if frame is not None else ()
    return arguments[0] if arguments else None


def _is_predictor(estimator: Any) -> bool:
    """Everything that predicts; a transformer or selector only prepares."""
    return hasattr(estimator, "predict") or not hasattr(estimator, "transform")
