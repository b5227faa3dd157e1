"""What compressing states would bring and cost: ``python -m tests.benchmarks.compression`` prints a table."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import netCDF4
import numpy as np
import torch
from torch import Tensor, nn

import aadsl
from aadsl.trajectory.record.subject import Subject
from aadsl.trajectory.store.tensors import pack, to_array
from tests.benchmarks.models import mlp, resnet18

ROUNDS = 5
STEPS = 60
WAYS: dict[str, dict[str, Any]] = {
    "none": {},
    "zlib 1, shuffle": {"compression": "zlib", "complevel": 1, "shuffle": True},
    "zstd 3, shuffle": {"compression": "zstd", "complevel": 3, "shuffle": True},
    "blosc lz4, shuffle": {"compression": "blosc_lz4", "complevel": 5, "blosc_shuffle": 1},
    "blosc zstd, shuffle": {"compression": "blosc_zstd", "complevel": 3, "blosc_shuffle": 1},
    "blosc zstd, bitshuffle": {"compression": "blosc_zstd", "complevel": 3, "blosc_shuffle": 2},
}


def trained(net: nn.Module) -> dict[str, np.ndarray]:
    """Return the flat variables of the state after some steps of SGD with momentum on digits."""
    digits = aadsl.datasets.mnist10k()
    images, labels = torch.tensor(digits.image.values)[:, None], torch.tensor(digits.label.values)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    for step in range(STEPS):
        rows = slice(64 * step, 64 * step + 64)
        optimizer.zero_grad()
        loss: Tensor = nn.functional.cross_entropy(net(images[rows]), labels[rows])
        loss.backward()
        optimizer.step()
    packed = pack(Subject(net, optimizer).entries())
    return {name: to_array(flat) for name, flat in packed.flats.items()}


def write(path: Path, arrays: dict[str, np.ndarray], way: dict[str, Any]) -> None:
    with netCDF4.Dataset(path, "w") as dataset:
        dataset.set_fill_off()
        for name, values in arrays.items():
            dataset.createDimension(name, len(values))
            layout = way or {"contiguous": True}
            dataset.createVariable(name, values.dtype, (name,), **layout)[:] = values


def read(path: Path) -> dict[str, np.ndarray]:
    with netCDF4.Dataset(path) as dataset:
        dataset.set_auto_maskandscale(False)
        return {name: np.asarray(variable[:]) for name, variable in dataset.variables.items()}


def seconds(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)


def main() -> None:
    torch.manual_seed(0)
    models = {"MLP 784–128–10": mlp(), "ResNet-18, width 32": resnet18(32)}
    print(f"netCDF4 {netCDF4.__version__}, medians of {ROUNDS} rounds, page cache warm")
    with tempfile.TemporaryDirectory() as folder:
        for name, net in models.items():
            arrays = trained(net)
            nbytes = sum(values.nbytes for values in arrays.values())
            print(f"\n{name}: a state of {nbytes / 1e6:.2f} MB\n{'':24}{'size':>8}{'write':>12}{'read':>12}")
            for way, options in WAYS.items():
                path = Path(folder) / "state.nc"
                try:
                    writing = seconds(lambda p=path, a=arrays, o=options: write(p, a, o))
                except RuntimeError as error:  # a filter that this netCDF was built without
                    print(f"{way:24} not offered here: {error}")
                    continue
                reading = seconds(lambda p=path: read(p))
                back = read(path)
                assert all(np.array_equal(values, back[part], equal_nan=True) for part, values in arrays.items())
                share = path.stat().st_size / nbytes
                print(f"{way:24}{share:8.0%}{1e3 * writing:9.1f} ms{1e3 * reading:9.1f} ms")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
