"""Answers, charts and models saved by a program, and read back by other libraries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr

import aadsl
from tests.soak.kinds import DATA, KINDS, PROBE, Floats, Question, Weights, cross_entropy

FORMATS = (".nc", ".csv", ".parquet", ".svg", ".png", ".html", ".safetensors")
ENDS = {".svg": b"</svg>", ".png": b"IEND\xaeB`\x82", ".html": b"</html>"}


def save(kind: str, folder: Path, asked: Question, path: Path) -> None:
    """Ask and save by a program of the language."""
    names = {"net": KINDS[kind].model(), "loss": cross_entropy, "data": DATA, "probe": PROBE}
    target = f'save "{path}" without part' if path.suffix == ".safetensors" else f'save "{path}"'
    program = f"""
        load "{folder}" with model=net, loss=loss, data=data, device="cpu"
        stage part = steps[{asked.first}:{asked.last}]
        behavior likelihood = log_likelihood on probe
        score part on likelihood using {asked.estimator}()
        plot bars
        {target}
    """
    aadsl.run("\n".join(line.strip() for line in program.strip().splitlines()), names)


def fault_of(path: Path, truths: Sequence[tuple[Floats, Weights]]) -> str:
    """Return what is wrong with a saved file, that has to hold one of these effects, or models; "" where nothing is."""
    if not path.exists():
        return "it is gone"
    try:
        return _fault_of(path, truths)
    except Exception as error:
        return f"it cannot be read: {error!r}"


def _fault_of(path: Path, truths: Sequence[tuple[Floats, Weights]]) -> str:
    if path.suffix in ENDS:
        return "" if path.read_bytes().rstrip().endswith(ENDS[path.suffix]) else "it is cut short"
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        found = load_file(path)
        same = [all(torch.equal(found[name], value) for name, value in model.items()) for _, model in truths]
    else:
        effect = np.atleast_2d(_effect(path))
        near = 0.0 if path.suffix == ".nc" else 1e-12  # text
        same = [bool((abs(effect - truth) <= near * abs(truth)).all()) for truth, _ in truths]
    return "" if any(same) else f"it holds something else than {truths}"


def _effect(path: Path) -> Floats:
    if path.suffix == ".nc":
        with xr.open_dataset(path) as dataset:
            return np.asarray(dataset["effect"].values)
    table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    return table["effect"].to_numpy()
