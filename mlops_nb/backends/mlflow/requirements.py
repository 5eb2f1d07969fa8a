"""What a logged scikit-learn model needs, read from the model file instead of tried out.

MLflow loads every model once more in a new process to see what it imports: about a second of CPU
a fit. The file names every module that loading it will import; their packages are the answer.
"""

from __future__ import annotations

import json
import pickletools
import sys
import zipfile
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FLAVOR = "sklearn"


def inference(original: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """MLflow's `infer_pip_requirements`, quick where the model is scikit-learn's."""

    def infer(
        uri: Any, flavor: str, fallback: Sequence[str] | None = None, **more: Any
    ) -> list[str]:
        path = Path(str(uri))
        if flavor != FLAVOR or fallback is None or not path.is_file():
            return original(uri, flavor, fallback, **more)
        return sorted({*fallback, *requirements_of(path)})

    return infer


def requirements_of(model: Path) -> list[str]:
    """`package==version` of every installed package whose modules the model file names."""
    tops = {name.partition(".")[0] for name in _named_modules(model) if name in sys.modules}
    packages = {package for top in tops for package in _distributions().get(top, ())}
    return sorted(f"{package}=={version(package)}" for package in packages)


def _named_modules(model: Path) -> Iterator[str]:
    """Module names in a skops file (a zip with a schema) or in a pickle."""
    if zipfile.is_zipfile(model):
        with zipfile.ZipFile(model) as archive:
            yield from _values("__module__", json.loads(archive.read("schema.json")))
        return
    with model.open("rb") as stream:
        for _, argument, _ in pickletools.genops(stream):
            if isinstance(argument, str):
                yield argument.partition(" ")[0]  # GLOBAL says "module name"


def _values(key: str, tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        if isinstance(tree.get(key), str):
            yield tree[key]
        tree = list(tree.values())
    if isinstance(tree, list):
        for item in tree:
            yield from _values(key, item)


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())
