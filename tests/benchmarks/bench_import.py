"""What loading us costs a notebook's start: a bare IPython shell, plus us, beside `import mlflow`.

Run as `python tests/benchmarks/bench_import.py`. CPU milliseconds of fresh processes, medians of
7, the ways in turns so that a busy moment meets all of them. The aim is 50 ms over the bare shell.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPEATS = 7
AIM = 50.0  # CPU ms over the bare shell
SHELL = """
import time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
"""
WAYS = {
    "bare IPython shell": SHELL,
    "with %load_ext mlops_nb": SHELL + 'shell.run_line_magic("load_ext", "mlops_nb")',
    "with the first %mlops -h": SHELL
    + 'shell.run_line_magic("load_ext", "mlops_nb")\nshell.run_line_magic("mlops", "-h")',
    "with import mlflow": SHELL + "import mlflow",
}


def cpu(code: str, folder: Path) -> float:
    """CPU milliseconds of one fresh process, children and start of Python included."""
    before = spent_by_children()
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"IPYTHONDIR": str(folder / "ipython")},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return 1000 * (spent_by_children() - before)


def spent_by_children() -> float:
    """CPU seconds, to the microsecond (`os.times` counts in hundredths)."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measured() -> dict[str, list[float]]:
    """All values by way; one round before, which fills the caches, is not counted."""
    values: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        for turn in range(REPEATS + 1):
            for way, code in WAYS.items():
                spent = cpu(code, Path(name))
                if turn:
                    values[way].append(spent)
    return values


def main() -> None:
    started = time.monotonic()
    medians = {way: statistics.median(values) for way, values in measured().items()}
    bare = medians["bare IPython shell"]
    print(f"CPU ms of a fresh process, medians of {REPEATS}")
    print(f"{'':26} {'all':>7} {'over bare':>10} {'of bare':>8}")
    for way, value in medians.items():
        print(f"{way:26} {value:7.0f} {value - bare:10.0f} {value / bare:8.2f}")
    ours = medians["with %load_ext mlops_nb"] - bare
    theirs = medians["with import mlflow"] - bare
    print(f"loading us: {ours:.0f} ms (aim {AIM:.0f}), {theirs / ours:.0f} times less than MLflow")
    print(f"({time.monotonic() - started:.0f} s)")


if __name__ == "__main__":
    main()
