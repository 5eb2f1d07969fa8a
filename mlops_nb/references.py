"""How things are named: `last`, `best:auc`, `flights@v3`, `churn/7`, `churn@champion`.

    run       id prefix | run name | last | best:METRIC[:min|:max]
    dataset   name | name@v3 | name@latest | name@ALIAS       (name:v3 is accepted)
    model     name | name/3 | name@ALIAS

`run:`, `data:` and `model:` may stand in front where a word could be two things.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlops_nb.errors import UsageError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
VERSION = re.compile(r"v([1-9][0-9]{0,8})")
MINIMISED = re.compile(r"(^|_)(loss|error|rmse|mse|mae|mape|brier|deviance|perplexity)(_|$)")


@dataclass(frozen=True)
class DataReference:
    """A dataset by name and, unless it means the latest, a version or an alias."""

    name: str
    version: int | None = None
    alias: str | None = None

    @classmethod
    def parse(cls, text: str) -> DataReference:
        word = text.removeprefix("data:")
        name, mark, selector = word.partition("@")
        if not mark:
            name, _, selector = word.partition(":")
        check_name(name, "dataset")
        if not selector or selector == "latest":
            return cls(name)
        if match := VERSION.fullmatch(selector):
            return cls(name, version=int(match[1]))
        return cls(name, alias=check_alias(selector))

    def __str__(self) -> str:
        return f"{self.name}@{self.alias or (f'v{self.version}' if self.version else 'latest')}"


@dataclass(frozen=True)
class ModelReference:
    """A registered model by name and, unless bare, a version number or an alias."""

    name: str
    version: int | None = None
    alias: str | None = None

    @classmethod
    def parse(cls, text: str) -> ModelReference:
        word = text.removeprefix("model:")
        name, mark, selector = word.partition("/")
        if mark:
            check_name(name, "model")
            if not re.fullmatch(r"v?[1-9][0-9]{0,8}", selector):
                raise UsageError(
                    f"{text!r}: a model version is a number",
                    cure=f"write {name}/3 or {name}@champion",
                )
            return cls(name, version=int(selector.removeprefix("v")))
        name, _, alias = word.partition("@")
        return cls(check_name(name, "model"), alias=check_alias(alias) if alias else None)

    def __str__(self) -> str:
        if self.version:
            return f"{self.name}/{self.version}"
        return f"{self.name}@{self.alias}" if self.alias else self.name


@dataclass(frozen=True)
class RunReference:
    """A run: `last`, the best by a metric, or a word that is an id prefix or a name."""

    word: str = ""
    last: bool = False
    best: str | None = None
    direction: str = "max"

    @classmethod
    def parse(cls, text: str) -> RunReference:
        word = text.removeprefix("run:")
        if not word:
            raise UsageError(
                "no run named", cure="write a run's name, the start of its id, or last"
            )
        if word == "last":
            return cls(word, last=True)
        if word.startswith("best:"):
            metric, direction = split_direction(word.removeprefix("best:"))
            return cls(word, best=metric, direction=direction)
        return cls(word)


def split_direction(text: str) -> tuple[str, str]:
    """`auc`, `auc:max`, `loss:min` as (metric, "min" or "max"); without a suffix by its name."""
    metric, mark, direction = text.rpartition(":")
    if not mark or direction not in ("min", "max"):
        metric, direction = text, direction_of(text)
    if not metric:
        raise UsageError(f"best:{text}: no metric named", cure="write best:auc or best:loss:min")
    return metric, direction


def direction_of(metric: str) -> str:
    """Which way is better: "min" for losses and errors by their usual names, else "max"."""
    return "min" if MINIMISED.search(metric.lower()) else "max"


def check_name(name: str, noun: str) -> str:
    """The name, if it can be a file name and part of a reference."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a {noun}",
            cure="use letters, digits, '.', '_' and '-', at most 100, a letter or digit first",
        )
    return name


def check_alias(alias: str) -> str:
    """The alias, if it cannot be taken for a version."""
    if alias == "latest" or VERSION.fullmatch(alias):
        raise UsageError(
            f"{alias!r} cannot be an alias: it already means a version",
            cure="use a word such as champion or prod",
        )
    return check_name(alias, "alias")
