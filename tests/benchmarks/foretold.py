"""How near the time that a plan foretells comes to what an answer takes: ``python -m tests.benchmarks.foretold``."""

from __future__ import annotations

import os
import time

import torch

from aadsl.estimators import ESTIMATORS
from tests.benchmarks.cost import scratch
from tests.cache.test_cost_model import recorded


def main() -> None:
    torch.set_num_threads(1)
    print(f"{os.cpu_count()} cores, one used by PyTorch {torch.__version__}, load {os.getloadavg()[0]:.1f}\n")
    print("| estimator | foretold | taken |\n| --- | ---: | ---: |")
    with scratch() as root:
        study = recorded(root / "run", width=512, batch=64)
        study.verify_trajectory()
        for name in ESTIMATORS:
            foretold = study.plan(["middle"], ["margin"], name).seconds
            started = time.perf_counter()
            study.score(["middle"], ["margin"], estimator=name)
            assert foretold is not None
            print(f"| {name} | {1e3 * foretold:.0f} ms | {1e3 * (time.perf_counter() - started):.0f} ms |")


if __name__ == "__main__":
    main()
