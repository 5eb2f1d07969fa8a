"""Moving an alias: promote and rollback, each one recorded step."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from mlops_nb.errors import UsageError
from mlops_nb.models import ModelVersion, Promotion, standing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_nb.references import ModelReference


class Registry(Protocol):
    """What promotion needs of a model store."""

    def get(self, reference: ModelReference) -> ModelVersion: ...
    def alias_version(self, name: str, alias: str) -> int | None: ...
    def promotions(self, name: str, alias: str | None = None) -> Sequence[Promotion]: ...
    def move_alias(self, promotion: Promotion) -> None: ...


def promote(registry: Registry, reference: ModelReference, *, alias: str, by: str) -> Promotion:
    """Point `alias` at the version. No gates exist yet: the record says so (`gate: none`)."""
    version = registry.get(reference)
    previous = registry.alias_version(version.name, alias)
    if previous == version.version:
        raise UsageError(f"{version.reference} is {version.name}@{alias} already")
    return _move(registry, version.name, alias, version.version, previous, kind="promote", by=by)


def rollback(registry: Registry, name: str, *, alias: str, by: str) -> Promotion:
    """Point `alias` at the version it stood on before; again and again walks further back."""
    current = registry.alias_version(name, alias)
    stack = standing(registry.promotions(name, alias), current)
    if current is None or len(stack) < 2:
        where = f"only ever stood on {name}/{current}" if current else "was never set"
        raise UsageError(
            f"{name}@{alias} {where}",
            cure=f"nothing to roll back to; see mlops model show {name}/…",
        )
    return _move(registry, name, alias, stack[-2], current, kind="rollback", by=by)


def _move(
    registry: Registry,
    name: str,
    alias: str,
    version: int,
    previous: int | None,
    *,
    kind: str,
    by: str,
) -> Promotion:
    history = registry.promotions(name, alias)
    move = Promotion(
        model=name,
        alias=alias,
        version=version,
        previous=previous,
        kind=kind,
        at=datetime.now(UTC),
        by=by,
        number=max((entry.number for entry in history), default=0) + 1,
    )
    registry.move_alias(move)
    return move
