"""Metadata that was recorded for single examples, in conditions over the steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import aadsl
from aadsl.statements import Session, run
from tests.statements.tiny import loss_fn

INPUTS, LABELS = torch.arange(40.0).reshape(20, 2) / 40, torch.arange(20) % 4


def record(path: Path, steps: int, offset: int, told: bool) -> None:
    """Batches of two and three examples in turn; step 1 of each run is announced without indices."""
    torch.manual_seed(0)
    net = torch.nn.Linear(2, 4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with aadsl.Recorder(path, net, optimizer) as recorder:
        for step in range(steps):
            chosen = (torch.arange(2 + step % 2) + step + offset) % 20
            batch = (INPUTS[chosen], LABELS[chosen])
            kind = ["odd" if int(i) % 2 else "even" for i in chosen]
            where: dict[str, Any] = {} if step == 1 else {"indices": chosen}
            recorder.batch(batch, **where, **({"kind": kind} if told else {}))
            optimizer.zero_grad()
            loss_fn(net, batch).backward()
            optimizer.step()


@pytest.fixture
def session(tmp_path: Path) -> Session:
    record(tmp_path / "first", 6, 0, told=True)
    record(tmp_path / "second", 4, 7, told=False)
    trajectory = aadsl.open_trajectory([tmp_path / "first", tmp_path / "second"])
    study = aadsl.Study(trajectory, model=torch.nn.Linear(2, 4), loss=loss_fn, data=(INPUTS, LABELS))
    return Session(study=study)


def steps_of(session: Session, condition: str) -> list[int]:
    run(f"stage found = batches where {condition}", {}, session)
    assert session.study is not None
    return session.study.stages["found"].values.nonzero()[0].tolist()


def consumed(step: int) -> list[int]:
    """Return the examples of a step of the chain, from the recipe of the two runs."""
    local, offset = (step, 0) if step < 6 else (step - 6, 7)
    return [(i + local + offset) % 20 for i in range(2 + local % 2)]


def test_every_row_is_there_in_order(session: Session) -> None:
    assert session.study is not None
    rows = session.study.trajectory.examples
    assert rows["step"].values.tolist() == [step for step in range(10) for _ in consumed(step)]
    told = [i if step not in (1, 7) else -1 for step in range(10) for i in consumed(step)]
    assert rows["index"].values.tolist() == told
    kinds = ["odd" if i % 2 else "even" for step in range(6) for i in consumed(step)]
    assert rows["kind"].values.tolist() == kinds + [""] * (rows.sizes["example"] - len(kinds))


def test_metadata_of_the_recorder(session: Session) -> None:
    odd = {step: [i % 2 for i in consumed(step)] for step in range(6)}  # the second run told nothing
    assert steps_of(session, 'share(kind == "odd") > 0.5') == [s for s, o in odd.items() if sum(o) > len(o) / 2]
    assert steps_of(session, 'any(kind == "odd") and not all(kind matches "^o")') == [s for s in odd if any(odd[s])]
    half = [s for s, o in odd.items() if 2 * sum(o) == len(o)]
    assert steps_of(session, 'share(kind == "odd") == 0.5 or step == 9') == [*half, 9]


def test_coordinates_of_the_data_by_the_recorded_index(session: Session) -> None:
    known = [step for step in range(10) if step not in (1, 7)]
    zero = [step for step in known if any(i % 4 == 0 for i in consumed(step))]
    assert steps_of(session, "any(label == 0)") == zero
    assert steps_of(session, "not any(label == 0)") == [step for step in known if step not in zero]
    assert steps_of(session, 'any(label == 0 and kind == "even")') == [step for step in zero if step < 6]
