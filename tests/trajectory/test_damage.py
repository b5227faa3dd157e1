"""Damaged files end in a clear error or a correct read: never in a crash, never in a wrong number."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from aadsl.core.errors import AadslError
from aadsl.core.files import SEAL_LENGTH
from aadsl.trajectory import Recorder, Trajectory, open_trajectory
from aadsl.trajectory.store.files import require_seal
from tests.trajectory.loops import DATA, sgd, small_model, train


def contents(trajectory: Trajectory, name: str) -> list[np.ndarray]:
    """Return what is read from one file, as arrays."""
    if name.startswith("state"):
        state = trajectory.state(int(name.split("-")[1].removesuffix(".nc")))
        parts = [state.parameters, *state.optimizer.values(), state.buffers]
        return [tensor.numpy() for part in parts for tensor in part.values()]
    if name.startswith("batches"):
        steps = range(trajectory.length)
        return [array for t in steps for array in (trajectory.batch_indices(t), trajectory.rng_state(t).numpy())]
    return [np.asarray(value.values) for value in trajectory.steps.data_vars.values()]


def damage(content: bytes, dice: random.Random) -> bytes:
    """Cut, flip bits, overwrite a stretch, or append."""
    kind = dice.randrange(5)
    place = dice.randrange(len(content))
    changed = bytearray(content)
    if kind == 0:
        return content[:place]
    if kind == 1:
        changed[place] ^= 1 << dice.randrange(8)
    elif kind == 2:
        stretch = changed[place : place + dice.randrange(1, 64)]
        changed[place : place + len(stretch)] = dice.randbytes(len(stretch))
    elif kind == 3:
        changed += dice.randbytes(dice.randrange(1, 200))
    else:  # the end with the seal, where damage matters most
        changed[-dice.randrange(1, SEAL_LENGTH + 1)] ^= 1 << dice.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("cases", [300, pytest.param(2000, marks=pytest.mark.long)])
def test_damaged_files(tmp_path: Path, cases: int) -> None:
    torch.manual_seed(0)
    model = small_model(dropout=0.2)
    optimizer = sgd(model)
    with Recorder(tmp_path / "run", model, optimizer, DATA) as recorder:
        train(recorder, model, optimizer, 6)
    open_trajectory(tmp_path / "run").to_netcdf(tmp_path / "single.nc")
    victims = [*sorted((tmp_path / "run").glob("*.nc")), tmp_path / "single.nc"]
    originals = {victim: victim.read_bytes() for victim in victims}
    truths = {victim: contents(open_trajectory(tmp_path / "run"), victim.name) for victim in victims}
    dice = random.Random(1)
    refused = 0
    for case in range(cases):
        victim = victims[case % len(victims)]
        victim.write_bytes(damage(originals[victim], dice))
        try:
            place = victim if victim.name == "single.nc" else tmp_path / "run"
            read = contents(open_trajectory(place), victim.name)
        except AadslError as error:
            assert victim.name in str(error), error
            refused += 1
        else:
            assert all(np.array_equal(a, b) for a, b in zip(read, truths[victim], strict=True)), victim
        finally:
            victim.write_bytes(originals[victim])
    assert refused > 0.95 * cases


def sealed_nonsense(dice: random.Random) -> Iterator[bytes]:
    """Yield content with a true seal that no recorder wrote."""
    from hashlib import sha256

    signature = b"\x89HDF\r\n\x1a\n"
    for content in (b"", b"CDF\x01", signature, dice.randbytes(500), signature + dice.randbytes(500)):
        yield content + b"\naadsl sha256 %s\n" % sha256(content).hexdigest().encode()


def test_nonsense_with_a_true_seal(tmp_path: Path) -> None:
    """A seal says that bytes are unchanged, not that they are a trajectory."""
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path / "run", model, optimizer) as recorder:
        train(recorder, model, optimizer, 3)
    for number, content in enumerate(sealed_nonsense(random.Random(2))):
        for name in ("run.nc", "steps-0-3.nc", "batches-0-3.nc", "state-0.nc"):
            folder = tmp_path / f"{number}-{name}"
            shutil.copytree(tmp_path / "run", folder)
            (folder / name).write_bytes(content)
            assert require_seal(folder / name)
            try:
                trajectory = open_trajectory(folder)
                trajectory.state(0)
                trajectory.batch_indices(0)
            except AadslError as error:
                assert name in str(error)
            else:
                raise AssertionError(f"{name} was accepted")
