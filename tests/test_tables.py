"""What tables know of examples, in conditions over batches and behaviors: the real pandas, datasets and xarray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch import nn

import aadsl
from aadsl.core.errors import AadslError
from aadsl.data.examples import Examples
from aadsl.statements import Session, run

COUNT, STEPS, BATCH = 24, 8, 5
INPUTS = torch.randn(COUNT, 3, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(COUNT) % 4
WRITERS = ["ann" if i % 3 else "bob" for i in range(COUNT)]
AGES: list[int | None] = [None if i % 5 == 0 else 20 + i for i in range(COUNT)]
SURE = [i % 2 == 0 for i in range(COUNT)]


def consumed(step: int) -> list[int]:
    return [(step * 3 + i) % COUNT for i in range(BATCH)]


def frame() -> pd.DataFrame:
    return pd.DataFrame({"label": LABELS.numpy(), "writer": WRITERS, "age": AGES, "sure": SURE})


def hugging_face() -> Any:
    datasets = pytest.importorskip("datasets")
    columns = {"label": LABELS.tolist(), "writer": WRITERS, "age": AGES, "sure": SURE, "pixels": INPUTS.tolist()}
    return datasets.Dataset.from_dict(columns)


def labelled() -> xr.Dataset:
    known = {"writer": ("row", WRITERS), "age": ("row", np.array(AGES, dtype=float)), "sure": ("row", SURE)}
    return xr.Dataset({"image": (("row", "pixel"), INPUTS.numpy()), "label": ("row", LABELS.numpy()), **known})


SOURCES: dict[str, Callable[[], Any]] = {
    "pandas": frame,
    "pandas with categories": lambda: frame().astype({"writer": "category", "age": "Int64", "label": "category"}),
    "pandas beside tensors": lambda: (INPUTS, LABELS, frame().drop(columns="label")),
    "datasets": hugging_face,
    "datasets with a format": lambda: hugging_face().with_format("torch"),
    "datasets beside tensors": lambda: (INPUTS, LABELS, hugging_face()),
    "xarray": labelled,
}
CONDITIONS: dict[str, Callable[[int], bool | None]] = {
    "label == 3": lambda i: i % 4 == 3,
    "label in [0, 3]": lambda i: i % 4 in (0, 3),
    'writer == "bob"': lambda i: i % 3 == 0,
    "sure": lambda i: i % 2 == 0,
    "age > 30": lambda i: i % 5 > 0 and i > 10,
    "not age > 30": lambda i: i % 5 > 0 and i <= 10,
}


def loss_fn(model: nn.Module, batch: Any) -> torch.Tensor:
    inputs, labels = batch[:2] if isinstance(batch, (tuple, list)) else (batch["inputs"], batch["label"])
    return nn.functional.cross_entropy(model(inputs), labels)


def first_class(model: nn.Module, examples: Any) -> torch.Tensor:
    """One number an example, of whichever batch the source gives: a tuple of tensors, or a dict of columns."""
    parts = list(examples.values()) if isinstance(examples, dict) else examples
    return model(INPUTS)[: len(parts[0]), 0]


def session_over(path: Path, data: Any) -> Session:
    """Record the batches themselves, and which examples they were: the data need only tell about these."""
    torch.manual_seed(0)
    net = nn.Linear(3, 4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with aadsl.Recorder(path, net, optimizer, data) as recorder:
        for step in range(STEPS):
            rows = consumed(step)
            batch = (INPUTS[rows], LABELS[rows])
            recorder.batch(batch, indices=rows)
            optimizer.zero_grad()
            loss_fn(net, batch).backward()
            optimizer.step()
    trajectory = aadsl.open_trajectory(path)
    return Session(study=aadsl.Study(trajectory, model=net, loss=loss_fn, data=data, device="cpu"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("source", SOURCES)
def test_conditions_over_batches_and_behaviors(tmp_path: Path, source: str) -> None:
    data = SOURCES[source]()
    session = session_over(tmp_path, data)
    study = session.study
    assert study is not None
    for condition, holds in CONDITIONS.items():
        run(f"stage some = batches where any({condition})", {}, session)
        expected = [any(holds(i) for i in consumed(step)) for step in range(STEPS)]
        assert study.stages["some"].values.tolist() == expected, condition
        assert any(expected)
        names = {"data": data, "first_class": first_class}
        run(f"behavior chosen = first_class on data where {condition}", names, session)
        assert study.behaviors["chosen"].examples.positions.tolist() == [i for i in range(COUNT) if holds(i)]
    run("behavior each = first_class on data by writer", {"data": data, "first_class": first_class}, session)
    assert study.behavior_families["each"] == ("each[bob]", "each[ann]")
    run("behavior each = first_class on data by label", {"data": data, "first_class": first_class}, session)
    assert study.behavior_families["each"] == tuple(f"each[{label}]" for label in range(4))
    run("stage some = steps[1:3]", {}, session)
    if source == "datasets":  # its rows hold a None where an age is missing, of which there is no tensor
        with pytest.raises(AadslError, match=r"(?s)one batch.*\(inputs, targets, table\)"):
            run("score some on each", {}, session)
    else:
        run("score some on each", {}, session)


def test_rows_of_a_frame_are_examples_of_named_values(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": np.linspace(-1, 1, COUNT, dtype=np.float32), "label": LABELS.numpy(), "writer": WRITERS})

    def loss(model: nn.Module, batch: Any) -> torch.Tensor:
        return nn.functional.cross_entropy(model(batch["x"][:, None]), batch["label"])

    torch.manual_seed(0)
    net = nn.Linear(1, 4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with aadsl.Recorder(tmp_path, net, optimizer, table) as recorder:
        for step in range(STEPS):
            batch = {"x": torch.tensor(table["x"].to_numpy())[consumed(step)], "label": LABELS[consumed(step)]}
            optimizer.zero_grad()
            loss(net, batch).backward()
            recorder.batch(indices=consumed(step))
            optimizer.step()
    report = aadsl.open_trajectory(tmp_path).verify(model=net, loss=loss, data=table, device="cpu")
    assert "sampled examples agree" in str(report) and "every bit the same" in str(report)
    shuffled = table.sample(frac=1, random_state=0)
    report = aadsl.open_trajectory(tmp_path).verify(model=net, loss=loss, data=shuffled, device="cpu")
    assert report.causes == ("shuffled data",)


def test_a_column_is_read_when_a_condition_asks_about_it() -> None:
    data = hugging_face()
    asked: list[str] = []

    class Watched(type(data)):  # type: ignore[misc]
        def __getitem__(self, key: Any) -> Any:
            asked.append(key)
            return super().__getitem__(key)

    data.__class__ = Watched
    known = Examples.of(data).coordinates
    assert set(known.data_vars) == {"label", "writer", "age", "sure"}  # pixels are no scalars
    assert asked == []
    kept = known.isel(example=[3, 4, 7])
    assert kept["label"].values.tolist() == [3, 0, 3]
    assert asked == ["label"]


def test_series_indexes_and_odd_columns() -> None:
    assert Examples.of(pd.Series(WRITERS, name="who")).coordinates["who"].values.tolist() == WRITERS
    table = frame().assign(many=[[1, 2]] * COUNT, when=pd.Timestamp("2026-01-02")).set_index("writer")
    known = Examples.of(table).coordinates
    assert set(known.data_vars) == {"writer", "label", "age", "sure", "when"}
    assert known["writer"].values.tolist() == WRITERS
    assert known["when"].values[0] == "2026-01-02"


def test_labelled_arrays_and_text_labels() -> None:
    array = labelled()["image"].assign_coords(writer=("row", WRITERS))
    examples = Examples.of(array)
    assert examples.coordinates["writer"].values.tolist() == WRITERS
    assert torch.equal(examples.take([2, 5])[0], INPUTS[[2, 5]])
    named = labelled().assign(label=("row", np.array(WRITERS, dtype=object)), target=("row", LABELS.numpy()))
    assert torch.equal(Examples.of(named).take([2, 5])[1], LABELS[[2, 5]])


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(AadslError, match="different numbers of examples: 24, 24, 23"):
        Examples.of((INPUTS, LABELS, frame().iloc[1:]))
    with pytest.raises(AadslError, match="cannot be put into one batch"):
        Examples.of(hugging_face()).take([0, 1])  # an age is missing
