"""The model registry in MLflow, with the alias history that MLflow does not keep.

Each move of an alias is a tag of the registered model, `mlops_nb.promotion.<alias>.<number>`,
written before the alias moves; so it lives where the alias lives, also on a shared server.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlops_nb.backends.mlflow.errors import mlflow_errors
from mlops_nb.backends.mlflow.runs import global_store
from mlops_nb.errors import AmbiguousError, NotFoundError, UsageError, did_you_mean
from mlops_nb.models import ModelVersion, Promotion
from mlops_nb.runs import PREFIX, Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlflow import MlflowClient

    from mlops_nb.backends.mlflow.runs import RunStore
    from mlops_nb.references import ModelReference

HISTORY = f"{PREFIX}promotion."


class ModelStore:
    """Reads and writes the registry behind one workspace."""

    def __init__(self, runs: RunStore) -> None:
        self.runs = runs

    @property
    def client(self) -> MlflowClient:
        return self.runs.client

    def register(self, name: str, run: Run, *, model: str | None = None) -> ModelVersion:
        """A new version of `name` from the model that `run` logged.

        `model` (its id or name) chooses when the run logged several. Raises UsageError when
        there is none, AmbiguousError when there are several and none is chosen.
        """
        chosen = self._logged_model(run, model)
        tags = {
            f"{PREFIX}run_name": run.name,
            f"{PREFIX}notebook": run.tags.get("mlflow.source.name", ""),
            f"{PREFIX}commit": run.tags.get("mlflow.source.git.commit", ""),
            f"{PREFIX}datasets": ",".join(run.datasets),
        }
        with mlflow_errors(f"registering {name}"), global_store(self.runs.settings):
            self._ensure_model(name)
            version = self.client.create_model_version(
                name,
                source=f"models:/{chosen.model_id}",
                run_id=run.run_id,
                tags={key: value for key, value in tags.items() if value},
                model_id=chosen.model_id,
            )
            return self._version(version, whole=True)

    def versions(self, name: str | None = None) -> list[ModelVersion]:
        """All versions, or those of one model; newest version first."""
        if name is not None:
            self._model(name)
        query = f"name = '{name}'" if name else ""
        found: list[Any] = []
        token = None
        with mlflow_errors("reading the model registry"):
            while True:
                page = self.client.search_model_versions(query, max_results=1000, page_token=token)
                found += page
                token = page.token
                if not token:
                    break
            aliases = {n: dict(self._model(n).aliases) for n in {v.name for v in found}}
        return [
            self._version(version, aliases[version.name])
            for version in sorted(found, key=lambda v: (v.name, -int(v.version)))
        ]

    def get(self, reference: ModelReference) -> ModelVersion:
        """The one version a reference means; a bare name must have only one."""
        model = self._model(reference.name)
        number = reference.version
        if reference.alias:
            number = int(self._alias(model, reference.alias))
        if number is None:
            number = self._only(reference.name)
        with mlflow_errors(f"reading {reference.name}/{number}"):
            try:
                version = self.client.get_model_version(reference.name, str(number))
            except Exception as error:
                if getattr(error, "error_code", "") != "RESOURCE_DOES_NOT_EXIST":
                    raise
                raise NotFoundError(
                    f"model {reference.name} has no version {number}",
                    cure=self._choices(reference.name),
                ) from None
        return self._version(
            version, dict(model.aliases), self.promotions(reference.name), whole=True
        )

    def alias_version(self, name: str, alias: str) -> int | None:
        """Where the alias points now."""
        version = self._model(name).aliases.get(alias)
        return int(version) if version else None

    def promotions(self, name: str, alias: str | None = None) -> list[Promotion]:
        """The moves of one alias or of all, oldest first."""
        tags: Mapping[str, str] = self._model(name).tags
        entries = [Promotion.from_json(v) for k, v in tags.items() if k.startswith(HISTORY)]
        wanted = [entry for entry in entries if alias in (None, entry.alias)]
        return sorted(wanted, key=lambda entry: (entry.alias, entry.number))

    def move_alias(self, promotion: Promotion) -> None:
        """Write the move down, then make it: a crash in between is seen by `standing`."""
        key = f"{HISTORY}{promotion.alias}.{promotion.number:06d}"
        with mlflow_errors(f"moving {promotion.model}@{promotion.alias}"):
            self.client.set_registered_model_tag(promotion.model, key, promotion.to_json())
            self.client.set_registered_model_alias(
                promotion.model, promotion.alias, str(promotion.version)
            )

    # -- finding ---------------------------------------------------------------------------

    def _logged_model(self, run: Run, wanted: str | None) -> Any:
        if not run.models:
            raise UsageError(
                f"run {run.name} logged no model",
                cure="fit one while tracking, or call mlflow.sklearn.log_model(model)",
            )
        with mlflow_errors("reading the run's models"):
            models = [self.client.get_logged_model(model_id) for model_id in run.models]
        chosen = [m for m in models if wanted in (None, m.model_id, m.name)]
        named = ", ".join(f"{m.name} ({m.model_id})" for m in models)
        if not chosen:
            raise NotFoundError(
                f"run {run.name} has no model {wanted!r}", cure=f"it logged {named}"
            )
        if len(chosen) > 1:
            raise AmbiguousError(
                f"run {run.name} logged {len(chosen)} models: {named}",
                cure="choose with --model ID",
            )
        return chosen[0]

    def _ensure_model(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _model(self, name: str) -> Any:
        from mlflow.exceptions import MlflowException

        with mlflow_errors("reading the model registry"):
            try:
                return self.client.get_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
            names = [m.name for m in self.client.search_registered_models(max_results=1000)]
        cure = did_you_mean(name, names) or "type mlops model list"
        raise NotFoundError(f"no model {name!r} is registered", cure=cure)

    def _alias(self, model: Any, alias: str) -> str:
        if alias not in model.aliases:
            known = ", ".join(f"@{name}" for name in model.aliases) or "none yet"
            raise NotFoundError(
                f"model {model.name} has no alias {alias!r}",
                cure=f"it has {known}; type mlops model promote {model.name}/1 --to {alias}",
            )
        return str(model.aliases[alias])

    def _only(self, name: str) -> int:
        versions = self.versions(name)
        if len(versions) != 1:
            raise AmbiguousError(
                f"model {name} has {len(versions)} versions", cure=self._choices(name)
            )
        return versions[0].version

    def _choices(self, name: str) -> str:
        some = [v.reference for v in self.versions(name)[:5]]
        return (
            f"name one: {', '.join(some)}"
            if some
            else f"register one: mlops model register {name} RUN"
        )

    def _version(
        self,
        version: Any,
        aliases: Mapping[str, str] | None = None,
        promotions: Sequence[Promotion] = (),
        *,
        whole: bool = False,
    ) -> ModelVersion:
        number = int(version.version)
        tags = version.tags
        run = self.runs.get(version.run_id) if version.run_id and whole else None
        return ModelVersion(
            name=version.name,
            version=number,
            aliases=tuple(a for a, v in (aliases or {}).items() if int(v) == number),
            created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
            run_id=version.run_id,
            run_name=tags.get(f"{PREFIX}run_name") or (run.name if run else None),
            source=version.source or "",
            notebook=tags.get(f"{PREFIX}notebook"),
            commit=tags.get(f"{PREFIX}commit"),
            datasets=tuple(filter(None, tags.get(f"{PREFIX}datasets", "").split(","))),
            metrics=run.metrics if run else {},
            promotions=tuple(p for p in promotions if number in (p.version, p.previous)),
        )
