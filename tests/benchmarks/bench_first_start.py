"""What the first start in a fresh folder costs beyond `import mlflow`: MLflow's own, and ours.

Run as `python tests/benchmarks/bench_first_start.py`. Medians of 5 processes each, in turns;
CPU seconds of the process (its children count too, so nothing hides in the template's builder).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPEATS = 5
CPU = """
import json, resource, sys, time
from pathlib import Path
def cpu():
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
way, root = sys.argv[1], Path(sys.argv[2])
from mlops_nb.config import read_settings
settings = read_settings(root, environ={})
"""
ALONE = (
    CPU
    + """
start = cpu()
from mlops_nb.backends.mlflow.store import ensure_store
ensure_store(settings)
print(json.dumps({"all": cpu() - start}))
"""
)
MEASURED = (
    CPU
    + """
import mlflow
start = cpu()
if way == "ours":
    from mlops_nb.backends.mlflow.store import ensure_store
    ensure_store(settings)
opened = cpu()
mlflow.set_tracking_uri(settings.tracking)
client = mlflow.MlflowClient()
client.create_run(client.create_experiment("first"))
print(json.dumps({"open": opened - start, "all": cpu() - start}))
"""
)


def measure(code: str, way: str, base: Path, cache: Path) -> dict[str, float]:
    folder = Path(tempfile.mkdtemp(dir=base))
    done = subprocess.run(
        [sys.executable, "-c", code, way, str(folder)],
        cwd=folder,
        env=os.environ | {"MLOPS_NB_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    value: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return value


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        base, cache = Path(name), Path(name) / "cache"
        cold = measure(MEASURED, "ours", base, cache)["all"]
        plain, ours, alone = [], [], []
        for _ in range(REPEATS):
            plain.append(measure(MEASURED, "plain", base, cache)["all"])
            ours.append(measure(MEASURED, "ours", base, cache))
            alone.append(measure(ALONE, "ours", base, cache)["all"])
    theirs, bare = statistics.median(plain), statistics.median(alone)
    whole = statistics.median(each["all"] for each in ours)
    opened = statistics.median(each["open"] for each in ours)
    print("CPU seconds beyond `import mlflow`, medians of", REPEATS)
    print(f"{theirs:7.3f}  MLflow's own first start, to the first run")
    print(f"{whole:7.3f}  ours, to the first run: {theirs / whole:.1f} times less")
    print(f"{opened:7.3f}    of it ensure_store")
    print(f"{bare:7.3f}  ensure_store without MLflow: {theirs / bare:.0f} times less")
    print(f"{cold:7.3f}  ours, once per user: MLflow builds the template")


if __name__ == "__main__":
    main()
