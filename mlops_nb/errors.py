"""What can go wrong, as one tree.

    MlopsError             exit 1   a step or a check failed, or anything below
    ├── UsageError         exit 2   the words, a file or a plan are not valid
    │   ├── NotFoundError           no such run, dataset, model, notebook, file
    │   ├── AmbiguousError          several things fit; all are named
    │   ├── ConfigError             mlops.toml, pyproject.toml or an environment
    │   └── ParameterError          a notebook parameter is unknown, missing, ill-typed
    ├── StepError          exit 1   a notebook step ended badly
    │   ├── CancelledError exit 130 stopped by Ctrl-C
    │   └── KernelDiedError exit 138 its kernel is gone
    └── StoreError         exit 5   a store cannot be read, written or reached

Every message says what is wrong, where, and what to type next, in one line.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class MlopsError(Exception):
    """The root of all errors that mlops_nb raises on purpose.

    `cure` is what the user can type or do next; it becomes the end of the one-line message.
    """

    exit_code = 1

    def __init__(self, problem: str, *, cure: str = "") -> None:
        self.problem = problem
        self.cure = cure
        super().__init__(_one_line(f"{problem}; {cure}" if cure else problem))

    def _render_traceback_(self) -> list[str]:
        """One line in a notebook instead of a traceback (IPython's protocol)."""
        return [f"{type(self).__name__}: {self}"]


class UsageError(MlopsError):
    """The words typed, a file given or a plan are not valid; nothing was changed."""

    exit_code = 2


class NotFoundError(UsageError):
    """A named run, dataset, model, notebook or file does not exist."""


class AmbiguousError(UsageError):
    """A name or prefix fits several things."""


class ConfigError(UsageError):
    """A configuration file or environment setting is not valid."""


class ParameterError(UsageError):
    """A notebook parameter is unknown, missing or has the wrong type."""


class StepError(MlopsError):
    """A notebook step ended badly; the record says where."""


class CancelledError(StepError):
    """A step was stopped by the user."""

    exit_code = 130


class KernelDiedError(StepError):
    """The kernel of a step died."""

    exit_code = 138


class StoreError(MlopsError):
    """A store (MLflow's, ours, or the disk below) cannot be read, written or reached."""

    exit_code = 5


def _one_line(text: str) -> str:
    """Line ends and control characters of what was typed, made visible."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A cure that names the nearest known words, or all of a few, or nothing."""
    known = sorted(set(known))
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    if 0 < len(known) <= 8:
        return f"there is {', '.join(known)}"
    return ""
