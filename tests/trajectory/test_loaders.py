"""Loops over loaders with one added line: the recording says what came, and its replay is the run to the bits."""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)  # fmt: skip

import aadsl
from aadsl.trajectory import open_trajectory

N = 40
DATA = (torch.randn(N, 6, generator=torch.Generator().manual_seed(0)), torch.arange(N) % 3)


class Items(Dataset[tuple[Tensor, Tensor]]):
    """A map-style dataset whose items are made one by one; ``noise`` augments them at random."""

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x = DATA[0][index]
        return (x + self.noise * torch.randn_like(x) if self.noise else x), DATA[1][index]


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    """Has no positions."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(*DATA, strict=True)


class Named(Items):
    """Its items are dicts, with a text each."""

    def __getitem__(self, index: int) -> Any:
        return {"x": DATA[0][index], "y": DATA[1][index], "file": f"{index}.png"}


def padded(items: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    xs, ys = zip(*items, strict=True)
    return nn.functional.pad(torch.stack(xs), (0, 1))[:, :-1] * 2, torch.stack(ys)


def drawn(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


INDEXED: dict[str, Callable[[], Any]] = {
    "tensors": lambda: DataLoader(TensorDataset(*DATA), 8, shuffle=True, generator=drawn()),
    "items": lambda: DataLoader(Items(), 8, shuffle=True, generator=drawn()),
    "workers": lambda: DataLoader(Items(), 8, shuffle=True, generator=drawn(), num_workers=2, persistent_workers=True),
    "global generator": lambda: DataLoader(Items(), 8, shuffle=True),
    "subset": lambda: DataLoader(Items(), 8, sampler=SubsetRandomSampler(range(3, 30), generator=drawn())),
    "batch sampler": lambda: DataLoader(
        Items(), batch_sampler=BatchSampler(RandomSampler(range(N), generator=drawn()), 8, drop_last=True)
    ),
    "dicts with texts": lambda: DataLoader(Named(), 8, shuffle=True, generator=drawn()),
    "accelerate": lambda: Accelerator(cpu=True).prepare(DataLoader(Items(), 8, shuffle=True, generator=drawn())),
}
STORED: dict[str, Callable[[], Any]] = {
    "augmented": lambda: DataLoader(Items(0.1), 8, shuffle=True, generator=drawn()),
    "augmented by workers": lambda: DataLoader(Items(0.1), 8, generator=drawn(), num_workers=1),
    "collated otherwise": lambda: DataLoader(Items(), 8, generator=drawn(), collate_fn=padded),
    "iterable": lambda: DataLoader(Stream(), 8),
    "a list of batches": lambda: [tuple(part[k : k + 8] for part in DATA) for k in range(0, N, 8)],
}


def parts(batch: Any) -> tuple[Tensor, Tensor]:
    return (batch["x"], batch["y"]) if isinstance(batch, dict) else (batch[0], batch[1])


def loss_fn(model: nn.Module, batch: Any) -> Tensor:
    x, y = parts(batch)
    return nn.functional.cross_entropy(model(x), y)


def trained(loader: Any, folder: Path | None, epochs: int = 2, **store: str) -> nn.Module:
    """Train some epochs over a loader, recorded where there is a folder; dropout draws from the global generator."""
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    width, classes = DATA[0].shape[1], int(DATA[1].max()) + 1
    model = nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, classes))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    recorder = None if folder is None else aadsl.Recorder(folder, model, optimizer)
    for epoch in range(epochs):
        for batch in loader if recorder is None else recorder.batches(loader, **store, epoch=epoch):
            optimizer.zero_grad()
            loss_fn(model, batch).backward()
            optimizer.step()
    if recorder is not None:
        recorder.close()
    return model


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def exact(folder: Path, model: nn.Module, data: Any) -> Any:
    study = aadsl.Study(open_trajectory(folder), model=model, loss=loss_fn, data=data, device="cpu")
    report = study.verify_trajectory()
    assert report.ok, report
    study.stage("second", study.steps["epoch"] == 1)
    study.behavior("b", read, on=DATA)
    return study.score(["second"], ["b"])


def read(model: nn.Module, batch: Any) -> Tensor:
    return model(parts(batch)[0])[:, 0]


def by_hand(loader: Any, model: nn.Module) -> float:
    """Return what the second of two epochs did, from a run that ends after the first."""
    first = trained(loader, None, epochs=1)
    with torch.no_grad():
        return float(read(model.eval(), DATA).mean() - read(first.eval(), DATA).mean())


@pytest.mark.parametrize("name", INDEXED)
def test_a_loader_tells_the_positions_of_its_examples(name: str, tmp_path: Path) -> None:
    plain = trained(INDEXED[name](), None)
    loader = INDEXED[name]()
    model = trained(loader, tmp_path / "run")
    assert same_weights(plain, model), "recording changed what was trained on, or the random numbers"
    trajectory = open_trajectory(tmp_path / "run")
    assert trajectory.batch_tensors(0) is None  # nothing was stored
    dataset = loader.dataset
    for step in range(trajectory.length):
        indices = trajectory.batch_indices(step)
        assert indices is not None and len(set(indices.tolist())) == len(indices) <= 8
    answer = exact(tmp_path / "run", model, dataset)
    assert answer.exact.values.all()
    assert answer.effect.item() == pytest.approx(by_hand(INDEXED[name](), model), abs=1e-6) != 0


@pytest.mark.parametrize("name", STORED)
def test_what_positions_do_not_say_is_stored_as_it_came(name: str, tmp_path: Path) -> None:
    plain = trained(STORED[name](), None)
    with pytest.warns(UserWarning, match=r"the batches of the loader are stored as they come, [\d,]+ bytes each"):
        model = trained(STORED[name](), tmp_path / "run")
    assert same_weights(plain, model), "recording changed what was trained on, or the random numbers"
    trajectory = open_trajectory(tmp_path / "run")
    assert trajectory.length == 10 and trajectory.batch_tensors(0) is not None
    answer = exact(tmp_path / "run", model, None)
    assert answer.exact.values.all()
    assert answer.effect.item() == pytest.approx(by_hand(STORED[name](), model), abs=1e-6) != 0


class Random(Items):
    """Draws from all generators there are, a part of them through what is fetched together."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x, y = super().__getitem__(index)
        return x + torch.rand(()) + float(np.random.rand()) + random.random(), y


class Together(Random):
    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Tensor]]:
        shift = torch.rand(())
        return [(x + shift, y) for x, y in map(self.__getitem__, indices)]


class OwnGenerator(Items):
    """No state of a global generator gives its noise again."""

    generator = np.random.default_rng(0)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x, y = super().__getitem__(index)
        return x + float(self.generator.random()), y


SEEDS: dict[str, Callable[[], Any]] = {
    "augmented": lambda: DataLoader(Random(), 8, shuffle=True, generator=drawn()),
    "by workers": lambda: DataLoader(Random(), 8, shuffle=True, generator=drawn(), num_workers=2),
    "fetched together": lambda: DataLoader(Together(), 8, generator=drawn()),
    "with replacement": lambda: DataLoader(Random(), 8, sampler=RandomSampler(range(N), True, N, generator=drawn())),
}


@pytest.mark.parametrize("name", SEEDS)
def test_random_numbers_are_drawn_again_instead_of_storing_batches(name: str, tmp_path: Path) -> None:
    plain = trained(SEEDS[name](), None)
    model = trained(SEEDS[name](), tmp_path / "run", store="seeds")
    assert same_weights(plain, model), "recording changed what was trained on, or the random numbers"
    trajectory = open_trajectory(tmp_path / "run")
    assert trajectory.batch_tensors(0) is None and trajectory.batch_indices(0) is not None
    assert set(trajectory.rng_states(0, loader=True)[0]) == {"cpu", "python", "numpy"}
    assert set(trajectory.rng_states(0)[0]) == {"cpu"}  # dropout
    data = SEEDS[name]().dataset
    answer = exact(tmp_path / "run", model, data)
    assert answer.exact.values.all() and answer.effect.item() == pytest.approx(by_hand(SEEDS[name](), model), abs=1e-6)
    state = torch.get_rng_state()
    study = aadsl.Study(trajectory, model=model, loss=loss_fn, data=data, device="cpu")
    seen = study.training_input(3, 2)[0]
    assert torch.equal(seen, study.history.batches.at(3)[0][0][2:3]) and not torch.equal(seen[0], DATA[0][2])
    assert torch.equal(torch.get_rng_state(), state)


def test_answers_are_kept_of_data_that_are_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = SEEDS["augmented"]()
    model = trained(loader, tmp_path / "run", store="seeds")
    first = exact(tmp_path / "run", model, loader.dataset)
    monkeypatch.setattr("aadsl.study.exact_answers.ends", None)
    again = exact(tmp_path / "run", model, loader.dataset)
    assert again.effect.item() == first.effect.item() and again.attrs.get("not_kept", "") == ""


@pytest.mark.parametrize("make", [OwnGenerator, lambda: TensorDataset(*DATA)], ids=["own generator", "nothing random"])
def test_seeds_are_kept_only_where_they_say_all(make: Callable[[], Any], tmp_path: Path) -> None:
    random = make is OwnGenerator
    loader = DataLoader(make(), 8, shuffle=True, generator=drawn())
    said = "generators do not give them" if random else "no warning"
    with pytest.warns(UserWarning, match=said) if random else nullcontext():
        model = trained(loader, tmp_path / "run", store="seeds")
    trajectory = open_trajectory(tmp_path / "run")
    assert (trajectory.batch_tensors(0) is not None) is random and not any(trajectory.rng_states(0, loader=True))
    assert exact(tmp_path / "run", model, make()).exact.values.all()


def test_what_to_store_is_one_of_two(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    with (
        aadsl.Recorder(tmp_path, model, torch.optim.SGD(model.parameters(), lr=0.1)) as recorder,
        pytest.raises(aadsl.AadslError, match=r'no store "seed"[\s\S]*seeds'),
    ):
        recorder.batches(DataLoader(Items(), 8), store="seed")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16, torch.int64], ids=str)
def test_batches_are_compressed_where_that_pays(dtype: torch.dtype, tmp_path: Path) -> None:
    """Pictures with dark margins are; noise is not; both come back in their own dtype, bit by bit."""
    pictures = (torch.arange(50 * 400) % 23 * 10).reshape(50, 1, 20, 20) * (torch.rand(50, 1, 20, 20) > 0.8)
    noise = torch.randn(50, 1, 20, 20, dtype=torch.float64) * 1e17
    batches = [pictures.to(dtype), noise.to(dtype)]
    model = nn.Linear(400, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with (
        pytest.warns(UserWarning, match=r"bytes each, .* on the disk, .* an epoch: list tells no positions"),
        aadsl.Recorder(tmp_path, model, optimizer) as recorder,
    ):
        for x in recorder.batches(batches):
            optimizer.zero_grad()
            model(x.float().flatten(1) / 1e17).sum().backward()
            optimizer.step()
            recorder.flush()
    trajectory = open_trajectory(tmp_path)
    assert all(torch.equal(trajectory.batch_tensors(t), x) and x.dtype == dtype for t, x in enumerate(batches))
    compressed = []
    for path in sorted(tmp_path.glob("batches-*")):
        with netCDF4.Dataset(path) as dataset:
            (stored,) = (v for name, v in dataset.variables.items() if name.endswith(str(dtype)[6:]))
            compressed.append(stored.filters()["zlib"])
    assert compressed == [True, False]


def test_positions_are_those_that_were_used(tmp_path: Path) -> None:
    loader = DataLoader(Items(), 8, shuffle=True, generator=drawn(), num_workers=2)
    seen: list[Tensor] = []
    model = nn.Linear(DATA[0].shape[1], int(DATA[1].max()) + 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with aadsl.Recorder(tmp_path, model, optimizer) as recorder:
        batches = recorder.batches(loader)
        assert len(batches) == len(loader)
        for batch in batches:
            loss_fn(model, batch).backward()
            optimizer.step()
            seen.append(batch[0])
    trajectory = open_trajectory(tmp_path)
    for step, x in enumerate(seen):
        indices = trajectory.batch_indices(step)
        assert indices is not None and torch.equal(DATA[0][indices], x)


def test_a_part_of_the_data_is_looked_up_in_the_whole(tmp_path: Path) -> None:
    """As ``random_split`` gives it, where the recorder was given the whole."""
    whole = Items()
    part = Subset(Subset(whole, range(30, 2, -1)), [5, 3, 8, 20, 21, 22, 23, 24])
    model = nn.Linear(DATA[0].shape[1], 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen: list[Tensor] = []
    with aadsl.Recorder(tmp_path, model, optimizer, data=whole) as recorder:
        for batch in recorder.batches(DataLoader(part, 4, shuffle=True, generator=drawn())):
            optimizer.zero_grad()
            loss_fn(model, batch).backward()
            optimizer.step()
            seen.append(batch[0])
    trajectory = open_trajectory(tmp_path)
    for step, x in enumerate(seen):
        indices = trajectory.batch_indices(step)
        assert indices is not None and torch.equal(DATA[0][indices], x)
    assert trajectory.verify(model=model, loss=loss_fn, data=whole, device="cpu").ok


def test_data_that_are_others_are_not_pointed_into(tmp_path: Path) -> None:
    others = TensorDataset(DATA[0].flip(0), DATA[1].flip(0))
    model = nn.Linear(DATA[0].shape[1], 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with aadsl.Recorder(tmp_path, model, optimizer, data=others) as recorder:
        batches = iter(recorder.batches(DataLoader(Items(), 8)))
        with pytest.warns(UserWarning, match="not the examples of the data at their positions"):
            loss_fn(model, next(batches)).backward()
        optimizer.step()
    assert open_trajectory(tmp_path).batch_tensors(0) is not None


def test_a_loader_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    model = nn.Linear(DATA[0].shape[1], 3)
    with aadsl.Recorder(tmp_path, model, torch.optim.SGD(model.parameters(), lr=0.1)) as recorder:
        loader = DataLoader(Items(), 8)
        gone = weakref.ref(loader)
        batches = recorder.batches(loader)
        del loader, batches
        gc.collect()
        assert gone() is None


def test_indexed_items_come_with_their_positions(tmp_path: Path) -> None:
    loader = DataLoader(aadsl.indexed(Items()), 8, shuffle=True, generator=drawn())
    for positions, (x, y) in loader:
        assert torch.equal(DATA[0][positions], x) and torch.equal(DATA[1][positions], y)
    assert aadsl.indexed(Items(0.5)).noise == 0.5  # type: ignore[attr-defined]


def test_what_yields_nothing_is_refused(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    with (
        aadsl.Recorder(tmp_path, model, torch.optim.SGD(model.parameters(), lr=0.1)) as recorder,
        pytest.raises(aadsl.AadslError, match=r"batches cannot be taken from int(.|\n)*DataLoader"),
    ):
        recorder.batches(3)


def test_numpy_and_python_draw_as_without(tmp_path: Path) -> None:
    """What is looked up to be compared draws nothing from the generators of the training."""

    class Noisy(Items):
        def __getitem__(self, index: int) -> Any:
            x, y = super().__getitem__(index)
            return x + float(np.random.rand()), y

    def sums(recorded: bool) -> list[float]:
        np.random.seed(0)
        model = nn.Linear(DATA[0].shape[1], 2)
        loader = DataLoader(Noisy(), 8)
        with aadsl.Recorder(tmp_path, model, torch.optim.SGD(model.parameters(), lr=0.1), overwrite=True) as recorder:
            return [float(batch[0].sum()) for batch in (recorder.batches(loader) if recorded else loader)]

    with pytest.warns(UserWarning, match="stored as they come|left out"):
        assert sums(True) == sums(False)
