"""Interrupted sweeps go on where they stood: in the same study, in a new one, after the process was killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import aadsl
from aadsl.replayed import checkpoints
from tests import forkserver
from tests.engine.studies import digits_study, reopened

QUESTIONS = ["first_order", "linearized", "blocks"]


def effects(study: aadsl.Study, estimator: str, progress=None) -> xr.DataArray:
    if estimator == "first_order":
        return study.step_effects(["digits"], progress=progress)
    return study.score(["early"], ["digits"], estimator=estimator, progress=progress).effect


def progress_ending(seen: list[int], after: int, end):
    def progress(what: str, done: int, total: int) -> None:
        if what != "sweep":  # comes before the first one
            return
        seen.append(total - done)
        if len(seen) == after:
            end()

    return progress


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("estimator", QUESTIONS)
def test_an_interrupted_sweep_goes_on_where_it_stood(tmp_path: Path, estimator: str, anew: bool) -> None:
    whole = effects(digits_study(tmp_path / "whole", lr=0.01), estimator)
    study = digits_study(tmp_path / "run", lr=0.01)
    before: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        effects(study, estimator, progress_ending(before, 12, interrupt))
    again: list[int] = []
    study = reopened(tmp_path / "run") if anew else study
    result = effects(study, estimator, progress_ending(again, -1, interrupt))
    assert before[-1] - 1 <= again[0] <= before[-1], "the second sweep must not start over, and not skip anything"
    assert np.array_equal(result, whole)
    assert not list(Path(f"{tmp_path / 'run'}.effects").glob("sweep-*")), "what is done need not stand anywhere"


def work_until_killed(path: Path, estimator: str) -> None:
    torch.set_num_threads(1)  # as the tests do: the sweep that goes on here must have the bits of one done in one go
    checkpoints.SECONDS, checkpoints.SHARE = 0.0, np.inf
    effects(reopened(path), estimator, progress_ending([], 12, lambda: os.kill(os.getpid(), signal.SIGKILL)))


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
@pytest.mark.parametrize("estimator", QUESTIONS)
def test_a_sweep_of_a_killed_process_goes_on(tmp_path: Path, estimator: str) -> None:
    whole = effects(digits_study(tmp_path / "whole", lr=0.01), estimator)
    length = digits_study(tmp_path / "run", lr=0.01).trajectory.length
    # No fork of this process: of one that used several threads it may hang.
    child = forkserver.context().Process(target=work_until_killed, args=(tmp_path / "run", estimator))
    child.start()
    child.join(300)
    assert child.exitcode == -signal.SIGKILL
    again: list[int] = []
    result = effects(reopened(tmp_path / "run"), estimator, progress_ending(again, -1, interrupt))
    assert len(again) <= length - 11, "the twelve steps that were done need not be done again, but for the last one"
    assert np.array_equal(result, whole)


def test_a_damaged_stand_begins_afresh(tmp_path: Path) -> None:
    whole = effects(digits_study(tmp_path / "whole", lr=0.01), "first_order")
    study = digits_study(tmp_path / "run", lr=0.01)
    with pytest.raises(KeyboardInterrupt):
        effects(study, "first_order", progress_ending([], 12, interrupt))
    (file,) = Path(f"{tmp_path / 'run'}.effects").glob("sweep-*")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    again: list[int] = []
    assert np.array_equal(effects(study, "first_order", progress_ending(again, -1, interrupt)), whole)
    assert len(again) == len(whole)
