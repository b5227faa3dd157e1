"""Two processes train one model together, and each has a recorder: what rank 0 writes is what both of them did."""

from __future__ import annotations

import os
import warnings
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, distributed, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook
from torch.distributed.algorithms.join import Join
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import aadsl
from aadsl.core.errors import AadslError
from aadsl.trajectory import Recorder, open_trajectory
from tests.processes import in_two_processes

INPUTS = torch.randn(48, 6, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(3, (48,), generator=torch.Generator().manual_seed(2))
DATA = TensorDataset(INPUTS, TARGETS)


def network(dropout: float = 0.3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))


def loss_fn(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def wrapped(net: nn.Module | None = None) -> tuple[DistributedDataParallel, torch.optim.Optimizer]:
    model = DistributedDataParallel(network() if net is None else net)
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def trained(rank: int, path: Path | None, epochs: int = 2) -> nn.Module:
    """Train with micro-batches that accumulate; each rank draws its own numbers."""
    model, optimizer = wrapped()
    torch.manual_seed(10 + rank)
    sampler = DistributedSampler(DATA, seed=3)
    loader = DataLoader(DATA, batch_size=6, sampler=sampler)
    recorder = None if path is None else Recorder(path, model, optimizer, data=DATA, states="all")
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        batches = loader if recorder is None else recorder.batches(loader, epoch=epoch, tag="even")
        for number, batch in enumerate(batches):
            last = number % 2 == 1
            with nullcontext() if last else model.no_sync():
                (loss_fn(model, batch) / 2).backward()
            if last:
                optimizer.step()
                optimizer.zero_grad()
    if recorder is not None:
        recorder.close()
    return model.module


def train_in_two_ways(rank: int, folder: Path) -> None:
    recorded, plain = trained(rank, folder / "run"), trained(rank, None)
    assert all(map(torch.equal, recorded.state_dict().values(), plain.state_dict().values()))
    earlier = trained(rank, None, epochs=1)
    if rank == 0:
        torch.save([recorded.state_dict(), earlier.state_dict()], folder / "ends.pt")
    refused_in_both(rank, folder)
    heard_of(rank, folder)
    alone(rank, folder)


def refused_in_both(rank: int, folder: Path) -> None:
    """What is refused in one process is refused in both, and nobody waits."""
    model, optimizer = wrapped()
    model.register_comm_hook(None, fp16_compress_hook)
    with pytest.raises(AadslError, match="fp16_compress_hook changes how gradients are averaged"):
        Recorder(folder / "refused", model, optimizer)
    model, optimizer = wrapped()
    model.module[1].__class__ = nn.SyncBatchNorm
    with pytest.raises(AadslError, match="SyncBatchNorm normalizes"):
        Recorder(folder / "refused", model, optimizer)
    sharded = fully_shard(network())
    with pytest.raises(AadslError, match="is a DTensor"):
        Recorder(folder / "refused", sharded, torch.optim.SGD(sharded.parameters(), lr=0.1))
    model, optimizer = wrapped()
    other = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    with pytest.raises(AadslError, match="no parameter of the model" if rank else "rank 1: the optimizer updates"):
        Recorder(folder / "refused", model, other if rank else optimizer)
    taken = folder / "file"
    if not rank:
        taken.write_text("no folder")
    distributed.barrier()
    model, optimizer = wrapped()
    with pytest.raises(AadslError, match="cannot record into"):
        Recorder(taken, model, optimizer)
    recorder = Recorder(folder / "uneven", model, optimizer)
    with pytest.raises(AadslError, match="Join"), Join([model]):
        recorder.batch((INPUTS[:4], TARGETS[:4]))
        loss_fn(model, (INPUTS[:4], TARGETS[:4])).backward()
        optimizer.step()
    recorder.close()


def heard_of(rank: int, folder: Path) -> None:
    """One process stops recording in the middle: the other hears of it, and the training goes on in both."""
    model, optimizer = wrapped()
    recorder = Recorder(folder / "stopped", model, optimizer, data=DATA, on_error="warn")
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for step in range(4):
            optimizer.zero_grad()
            if step < 2 or rank == 0:
                recorder.batch(indices=[step, step + 4], tag=f"rank {rank}", loss=float(rank))
            loss_fn(model, (INPUTS[:2], TARGETS[:2])).backward()
            optimizer.step()
    recorder.close()
    said = "\n".join(str(one.message) for one in heard)
    assert ("step 2 was not announced" if rank else "another process stopped recording") in said
    assert rank or "tag of step 0 is 'rank 0' here and 'rank 1' in rank 1" in said


def test_what_two_processes_did_is_replayed_in_one(tmp_path: Path) -> None:
    in_two_processes(train_in_two_ways, tmp_path, tmp_path)
    trajectory = open_trajectory(tmp_path / "run")
    assert trajectory.length == 4 and not trajectory.violations()
    assert trajectory.micro_batch_ranks(0) == (0, 0, 1, 1) and trajectory.micro_batch_sizes(0) == (6, 6, 6, 6)
    assert [
        len(set(trajectory.batch_indices(2 * epoch)) & set(trajectory.batch_indices(2 * epoch + 1))) for epoch in (0, 1)
    ] == [0, 0]
    assert not torch.equal(*(states["cpu"] for states in trajectory.rng_states(0)[::2])), "each rank draws its own"
    study = aadsl.Study(trajectory, model=network(), loss=loss_fn, data=DATA, device="cpu")
    report = study.verify_trajectory()
    assert report.ok and "every bit the same" in str(report), report
    study.stage("last", study.steps["epoch"] == 1)
    study.behavior("right", "log_likelihood", on=(INPUTS, TARGETS))
    answer = study.score(["last"], ["right"])
    assert answer.exact.values.all()
    ends = torch.load(tmp_path / "ends.pt")
    values = []
    for end in ends:
        net = network()
        net.load_state_dict(end)
        values.append(-loss_fn(net.eval(), (INPUTS, TARGETS)).item())
    assert answer.effect.item() == pytest.approx(values[0] - values[1], abs=1e-6) != 0
    without = study.counterfactual("last").state_dict()
    assert all(torch.equal(without[name], tensor) for name, tensor in ends[1].items()), "buffers are those of rank 0"

    stopped = open_trajectory(tmp_path / "stopped")
    assert stopped.length == 2 and stopped.steps.loss.values.tolist() == [0.5, 0.5]
    assert set(stopped.steps.tag.values) == {"rank 0"}


def alone(rank: int, folder: Path) -> None:
    """Only one process makes a recorder, as in ``if rank == 0``: it is told, and does not wait for long."""
    model, optimizer = wrapped()
    if rank == 0:
        with (
            patch("aadsl.trajectory.record.ranks.PATIENCE", timedelta(seconds=1)),
            pytest.raises(AadslError, match="not all of the 2 processes have made a recorder"),
        ):
            Recorder(folder / "alone", model, optimizer)
    distributed.barrier()


@pytest.mark.parametrize(("kind", "said"), [("FullyShardedDataParallel", "FSDP"), ("DeepSpeedEngine", "DeepSpeed")])
def test_other_ways_are_refused_in_words(tmp_path: Path, kind: str, said: str) -> None:
    model = type(kind, (nn.Sequential,), {})(network())
    with pytest.raises(AadslError, match=f"in {said}, whose shards are not recorded(.|\n)*DistributedDataParallel"):
        Recorder(tmp_path, model, torch.optim.SGD(model.parameters(), lr=0.1))


def killed(rank: int, folder: Path) -> None:
    model, optimizer = wrapped(network(dropout=0.0))
    with Recorder(folder / "run", model, optimizer, data=DATA) as recorder:
        for step in range(6):
            rows = [4 * step + 2 * rank, 4 * step + 2 * rank + 1]
            recorder.batch(indices=rows)
            if step == 3 and rank == 1:
                os._exit(9)
            optimizer.zero_grad()
            loss_fn(model, (INPUTS[rows], TARGETS[rows])).backward()
            optimizer.step()


def test_a_killed_process_leaves_what_was_recorded(tmp_path: Path) -> None:
    in_two_processes(killed, tmp_path, tmp_path, codes=(1, 9))
    trajectory = open_trajectory(tmp_path / "run")
    assert trajectory.length == 3
    assert trajectory.verify(network(dropout=0.0), loss_fn, DATA).ok
