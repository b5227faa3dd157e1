"""How often examples are decoded: each once for the first question, none for an answer that is kept."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, get_worker_info

import aadsl
from aadsl.data.decoded import DecodedItems
from aadsl.data.examples import Examples
from aadsl.study.entries import EntryStore
from aadsl.study.example_digests import ExampleDigests
from tests.digits import images_and_labels, loss_fn, network

EXAMPLES, STEPS = 120, 12
SAMPLED = 65
"""Decoded besides, each time a run is verified: 32 examples twice, and one to see whether it comes out alike."""


class Files(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Digits in files of a folder; it opens a log when it is first asked, and counts."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log, self.count = str(folder), None, 0

    def __len__(self) -> int:
        return EXAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.log = self.log or Path(os.devnull).open()  # type: ignore[assignment]  # noqa: SIM115
        self.count += 1
        values = np.load(Path(self.folder) / f"{index}.npy")
        return torch.from_numpy(values[:-1]), torch.tensor(int(values[-1]))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each row was decoded by whoever studies."""
    calls: Counter[int] = Counter()
    here = DecodedItems._here

    def counted(items: DecodedItems, rows: Any) -> list[Any]:
        calls.update(rows)
        return here(items, rows)

    monkeypatch.setattr(DecodedItems, "_here", counted)
    return calls


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("digits")
    x, y = images_and_labels()
    for row in range(EXAMPLES):
        np.save(path / f"{row}.npy", np.append(x[row].numpy(), np.float32(y[row])))
    return path


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, data, net = tmp_path_factory.mktemp("runs") / "run", Files(folder), network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    with aadsl.Recorder(path, net, optimizer, data=data) as recorder:
        for step in range(STEPS):
            rows = range(10 * step, 10 * step + 10)
            optimizer.zero_grad()
            loss_fn(net, torch.utils.data.default_collate([data[row] for row in rows])).backward()
            recorder.batch(indices=rows)
            optimizer.step()
    return path


def study_of(run: Path, data: Any, **options: Any) -> aadsl.Study:
    study = aadsl.Study(aadsl.open_trajectory(run), model=network(), loss=loss_fn, data=data, device="cpu", **options)
    study.stage("late", slice(6, None))
    study.behavior("reading", "log_likelihood", on=data, per_example=True)
    return study


ASKED: list[Callable[[aadsl.Study], Any]] = [
    lambda study: study.score("late", "reading", estimator="first_order"),
    lambda study: study.score("late", "reading", estimator="retraining"),
    lambda study: study.step_effects("reading"),
    lambda study: study.examples("late", "reading", top=1, within="1 h"),
]


def test_each_example_is_decoded_once_and_none_for_a_kept_answer(
    run: Path, folder: Path, decoded: Counter[int]
) -> None:
    data = Files(folder)
    study = study_of(run, data)
    for ask in ASKED:
        ask(study)
    assert sum(decoded.values()) <= 2 * EXAMPLES + SAMPLED  # as training data, and as what a behavior is on
    decoded.clear()
    for again in (study, study_of(run, data), study_of(run, Files(folder))):
        for ask in ASKED:
            ask(again)
        assert not decoded


def test_a_changed_file_is_decoded_and_the_answer_is_another_one(
    run: Path, folder: Path, decoded: Counter[int]
) -> None:
    study = study_of(run, Files(folder), unverified=True)
    before = study.score("late", "reading", estimator="retraining")
    file = folder / "70.npy"
    kept = file.read_bytes()
    decoded.clear()
    try:
        values = np.load(file)
        values[-1] = (values[-1] + 1) % 10
        np.save(file, values)
        os.utime(file, ns=(1, 1))
        after = study.score("late", "reading", estimator="retraining")
    finally:
        file.write_bytes(kept)
    assert sum(decoded.values()) >= EXAMPLES
    assert float(before["effect"].item()) != float(after["effect"].item())


class Held(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Computes its examples from what it holds, by a transform."""

    def __init__(self, scale: float = 1.0) -> None:
        self.values, self.transform = torch.arange(4.0), Scaled(scale)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.values[index]), torch.tensor(0)


class Scaled:
    """Counts its calls, so that it is another one after each."""

    def __init__(self, scale: float) -> None:
        self.scale, self.calls = scale, 0

    def __call__(self, value: Tensor) -> Tensor:
        self.calls += 1
        return value * self.scale


class Noisy(Held):
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.values[index] + torch.rand(()), torch.tensor(0)


class Named(Held):
    fingerprint = "one"

    def __init__(self) -> None:
        super().__init__()
        self.unnameable = iter([])  # a generator cannot be told from another one


CHANGES: dict[str, Callable[[Any], object]] = {
    "a value in place": lambda data: data.values.__setitem__(1, 7.0),
    "another attribute": lambda data: setattr(data, "values", torch.arange(4.0) + 1),
    "another object where decoding leaves something": lambda data: setattr(data, "transform", Scaled(2.0)),
}


def digests(folder: Path) -> ExampleDigests:
    return ExampleDigests(EntryStore(folder))


def told(known: ExampleDigests, data: Any) -> str:
    known.begin()
    return known.of(Examples.of(data))


@pytest.mark.parametrize(
    "wrap", [lambda data: data, lambda data: Subset(data, [0, 1]), lambda data: ConcatDataset([data])]
)
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_what_a_data_set_is_made_of_is_seen(
    change: str, wrap: Callable[[Any], Any], tmp_path: Path, decoded: Counter[int]
) -> None:
    known, data = digests(tmp_path), Held()
    whole = wrap(data)
    first = told(known, whole)
    decoded.clear()
    assert told(known, whole) == first
    assert not decoded
    CHANGES[change](data)
    assert told(known, whole) != first


def test_whoever_looks_at_changed_data_later_in_a_question_decodes_them_too(tmp_path: Path) -> None:
    known, data = digests(tmp_path), Held()
    both = Examples.of(data), Examples.of(data)
    known.begin()
    assert known.of(both[0]) == known.of(both[1])
    data.values[1] = 7.0
    known.begin()
    assert known.of(both[0]) == known.of(both[1])
    assert [float(one.take([1])[0]) for one in both] == [7.0, 7.0]


def test_what_gives_another_example_each_time_is_decoded_each_time(tmp_path: Path, decoded: Counter[int]) -> None:
    known, data = digests(tmp_path), Noisy()
    first = told(known, data)
    decoded.clear()
    assert told(known, data) != first and sum(decoded.values()) >= 4


def test_a_data_set_may_say_itself_what_it_is(tmp_path: Path, decoded: Counter[int]) -> None:
    known, data = digests(tmp_path), Named()
    first = told(known, data)
    decoded.clear()
    assert told(known, data) == first == told(digests(tmp_path), Named())  # beside a run it is kept
    assert not decoded
    data.values[0] = 5.0
    data.fingerprint = "two"
    assert told(known, data) != first


def test_what_cannot_be_told_apart_is_decoded_for_each_question_once(tmp_path: Path, decoded: Counter[int]) -> None:
    known, data = digests(tmp_path), Named()
    data.fingerprint = None  # type: ignore[assignment]
    first = told(known, data)
    decoded.clear()
    assert known.of(Examples.of(data)) == first and not decoded  # the same question
    assert told(known, data) == first
    assert sum(decoded.values()) == 5


class Where(torch.utils.data.Dataset[Tensor]):
    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor([index, get_worker_info() is not None])


def test_other_processes_decode_where_the_user_says_so() -> None:
    rows = [*range(99, -1, -1)]
    state = torch.get_rng_state()
    items = DecodedItems(Where(), decoders=2).at(rows)
    assert [item.tolist() for item in items] == [[row, True] for row in rows]
    assert torch.equal(torch.get_rng_state(), state)


def test_no_more_is_held_than_fits(decoded: Counter[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aadsl.data.decoded.LIMIT", 10 * (500 + 16))
    items = DecodedItems(Where())
    for _ in range(2):
        assert [int(item[0]) for item in items.at(range(20))] == [*range(20)]
    assert [decoded[row] for row in range(20)] == [1] * 10 + [2] * 10
    assert items.foretold(5) == 5 * 516 and items.foretold(50) == 10 * 516


def test_answers_are_the_same_by_other_processes(run: Path, folder: Path, tmp_path: Path) -> None:
    here, there = (study_of(run, Files(folder), decoders=count) for count in (0, 2))
    there._answering.cache.entries.__init__(tmp_path)  # type: ignore[misc]  # nothing is kept there
    asked = [study.score("late", "reading", estimator="first_order")["effect"] for study in (here, there)]
    assert asked[0].equals(asked[1])
