from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from aadsl.statements import Session
from tests.statements.fakes import FakeStudy
from tests.statements.tiny import record


@pytest.fixture
def study() -> FakeStudy:
    return FakeStudy()


@pytest.fixture
def session(study: FakeStudy) -> Session:
    return Session(study=study)  # type: ignore[arg-type]


@pytest.fixture
def names() -> dict[str, Any]:
    """What lives in the notebook."""
    return notebook()


def notebook() -> dict[str, Any]:
    inputs, labels = torch.zeros(6, 2), torch.tensor([4, 9, 4, 1, 9, 4])
    return {
        "net": torch.nn.Linear(2, 10),
        "loss_fn": lambda model, batch: torch.nn.functional.cross_entropy(model(batch[0]), batch[1]),
        "triggered": (inputs, labels),
        "test": xr.Dataset(
            {
                "image": (("sample", "pixel"), np.zeros((6, 2), dtype=np.float32)),
                "label": ("sample", labels.numpy()),
                "writer": ("sample", np.array(["ann", "bob", "ann", "", "bob", "ann"], dtype=object)),
            }
        ),
        "my_metric": lambda model, examples: model(examples[0])[:, 0],
        "threshold": 0.05,
        "chosen": [4, 9],
        "number": 3,
        "second": np.int64(1),
        "spread": np.array([10, 20, 30]),
        "few": range(2, 4),
    }


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder that holds ``runs/tiny``, and the notebook's names."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "runs").mkdir()
    return folder, record(folder / "runs")
