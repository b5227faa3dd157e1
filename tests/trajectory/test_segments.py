"""However steps are cut into segments, merged and truncated, the same steps are read."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from aadsl.core.errors import AadslError
from aadsl.trajectory import Recorder, open_trajectory
from aadsl.trajectory.record.description import describe
from aadsl.trajectory.record.plans import SquareRoot
from aadsl.trajectory.record.rows import MicroBatch, Row, batch_columns, step_columns
from aadsl.trajectory.record.subject import Subject
from aadsl.trajectory.store import segments
from aadsl.trajectory.store.header import write_header
from aadsl.trajectory.store.segments import Segment, append, cover, merge_steps, segments_in, truncate
from tests.trajectory.loops import DATA, sgd, small_model, train

metadata = st.fixed_dictionaries(
    {},
    optional={
        "tag": st.sampled_from(["bad", "good", "a b", "ü", ""]),
        "epoch": st.integers(-5, 5),
        "score": st.floats(allow_nan=False),
        "noisy": st.booleans(),
    },
)


@st.composite
def a_row(draw: st.DrawFn) -> Row:
    batches = [
        MicroBatch(
            size,
            np.arange(size) if draw(st.booleans()) else None,
            {"0": torch.rand(size, 2)} if draw(st.booleans()) else {},
            rng={"cpu": torch.randint(0, 255, (5,), dtype=torch.uint8)} if draw(st.booleans()) else {},
        )
        for size in draw(st.lists(st.integers(1, 3), min_size=1, max_size=2))
    ]
    rates = draw(st.lists(st.sampled_from([0.1, 0.2]), min_size=2, max_size=2))
    return Row(draw(metadata), [{"lr": rate} for rate in rates], draw(st.sampled_from("ab")), 0, True, "", batches)


def write(folder: Path, rows: list[Row], cuts: list[int]) -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    optimizer = torch.optim.SGD([{"params": part.parameters()} for part in model], lr=0.1)
    write_header(folder, describe(Subject(model, optimizer), None, None, None))
    bounds = [0, *sorted({cut for cut in cuts if 0 < cut < len(rows)}), len(rows)]
    for start, stop in pairwise(bounds):
        append(folder, Segment("batches", start, stop), batch_columns(start, rows[start:stop]), {})
        append(folder, Segment("steps", start, stop), step_columns(start, rows[start:stop]), {})


def read(folder: Path, rows: list[Row]) -> None:
    """Compare what is on disk with ``rows``."""
    trajectory = open_trajectory(folder)
    assert trajectory.length == len(rows)
    for name in {name for row in rows for name in row.metadata}:
        expected = [row.metadata.get(name) for row in rows]
        missing: Any = "" if name == "tag" else np.nan
        found = trajectory.steps[name].values
        wanted = np.array([missing if value is None else value for value in expected], dtype=found.dtype)
        assert np.array_equal(found, wanted) if name == "tag" else np.array_equal(found, wanted, equal_nan=True), name
    for step, row in enumerate(rows):
        assert [scalars["lr"] for scalars in trajectory.hyperparameters(step)] == [h["lr"] for h in row.hyperparameters]
        assert trajectory.micro_batch_sizes(step) == tuple(batch.size for batch in row.batches)
        all_known = all(batch.indices is not None for batch in row.batches)
        expected_indices = np.concatenate([batch.indices for batch in row.batches]) if all_known else None
        assert np.array_equal(trajectory.batch_indices(step), expected_indices)
        stored = trajectory.batch_tensors(step)
        if all(batch.tensors for batch in row.batches):
            assert torch.equal(stored[0], torch.cat([batch.tensors["0"] for batch in row.batches]))
        else:
            assert stored is None
        for micro, batch in enumerate(row.batches):
            state = trajectory.rng_state(step, micro)
            assert (state is None) == (not batch.rng) and (state is None or torch.equal(state, batch.rng["cpu"]))


def test_indices_that_begin_in_a_later_segment_stay_with_their_step(tmp_path: Path) -> None:
    silent = Row({}, [{"lr": 0.1}, {"lr": 0.1}], "a", 0, True, "", [MicroBatch(1)])
    told = Row({}, [{"lr": 0.1}, {"lr": 0.1}], "a", 0, True, "", [MicroBatch(1, np.array([3]))])
    rows = [*[silent] * 6, told]
    write(tmp_path, rows, [1])
    read(tmp_path, rows)


@settings(max_examples=15, deadline=None)
@given(st.lists(a_row(), min_size=1, max_size=14), st.lists(st.integers(1, 13), max_size=14), st.integers(0, 14))
def test_any_cutting_reads_the_same(rows: list[Row], cuts: list[int], kept: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), rows, cuts)
        read(Path(folder), rows)
        truncate(Path(folder), kept, {})
        read(Path(folder), rows[:kept])


def test_merging_keeps_few_files_and_rewrites_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row({}, [{"lr": 0.1}], "run", 0, True, "", [MicroBatch(1)])
    written: list[Segment] = []
    write_one = segments.write_segment

    def counted(folder: Path, segment: Segment, *rest: Any) -> None:
        written.append(segment)
        write_one(folder, segment, *rest)

    monkeypatch.setattr(segments, "write_segment", counted)
    most = 0
    for step in range(64):
        append(tmp_path, Segment("steps", step, step + 1), step_columns(step, [row]), {})
        most = max(most, len(list(tmp_path.iterdir())))
    assert [path.name for path in tmp_path.iterdir()] == ["steps-0-64.nc"]
    assert most <= 14 and sum(segment.stop - segment.start for segment in written) <= 3 * 64


def test_no_more_is_merged_than_memory_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_LONG", 64)
    row = Row({"n": 1}, [{"lr": 0.1}], "run", 0, True, "", [MicroBatch(1)])
    for step in range(300):
        append(tmp_path, Segment("steps", step, step + 1), step_columns(step, [row]), {})
    merge_steps(tmp_path, {})
    left = cover(segments_in((path.name for path in tmp_path.iterdir()), "steps"))
    assert [segment.stop - segment.start for segment in left] == [64, 64, 64, 64, 44]
    assert len(list(tmp_path.iterdir())) == 5


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=300))
def test_however_long_the_segments_are_few_are_left(lengths: list[int]) -> None:
    chain: list[Segment] = []
    for length in lengths:
        start = chain[-1].stop if chain else 0
        chain.append(Segment("steps", start, start + length))
        first = segments._first_to_merge(Path(), chain)
        chain[first:] = [Segment("steps", chain[first].start, chain[-1].stop)]
    assert len(chain) <= 7 * (np.log(sum(lengths)) / np.log(8) + 1)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=12))
def test_cover_takes_the_longest_chain_without_gaps(pairs: list[tuple[int, int]]) -> None:
    chain = cover(segments_in([f"steps-{start}-{stop}.nc" for start, stop in pairs], "steps"))
    assert [segment.start for segment in chain] == [0, *(segment.stop for segment in chain)][: len(chain)]
    reach = chain[-1].stop if chain else 0
    assert not [pair for pair in pairs if pair[0] == reach and pair[1] > reach]
    assert all(stop <= segment.stop for segment in chain for start, stop in pairs if start == segment.start)


def test_an_interrupted_merge_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the merged file was committed and before its parts were deleted: all of them are there."""
    row = Row({"n": 1}, [{"lr": 0.1}], "run", 0, True, "", [MicroBatch(1)])
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
    write(tmp_path, [row] * 9, list(range(1, 9)))
    assert len(list(tmp_path.glob("steps-*.nc"))) > 9
    assert open_trajectory(tmp_path).length == 9
    assert open_trajectory(tmp_path).steps["n"].values.tolist() == [1] * 9


def test_the_square_root_plan_is_the_first_step_and_twice_the_squares() -> None:
    plan = SquareRoot()
    assert [step for step in range(100_000) if plan.due(step)] == [0, 1, *(2 * n * n for n in range(1, 224))]
    assert plan.due(2 * 10**24) and not plan.due(2 * 10**24 + 1) and not plan.due(10**24)


LIMIT = 600
"""Seconds after which a script hangs, however slow the machine is."""
SCRIPT = """
import sys
from tests.trajectory.loops import *
model = small_model()
optimizer = sgd(model)
recorder = Recorder(sys.argv[1], model, optimizer)
train(recorder, model, optimizer, 5)
print("recording", flush=True)
{end}
"""


def script(end: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(end=end), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_script_that_forgets_to_close(tmp_path: Path) -> None:
    process = script("", tmp_path)
    assert process.wait(LIMIT) == 0
    kept = open_trajectory(tmp_path).checkpoints
    assert {0, 1, 5} <= set(kept) <= {0, 1, 2, 3, 4, 5}


def test_another_process_is_refused_while_one_records(tmp_path: Path) -> None:
    process = script("input()", tmp_path)
    assert process.stdout is not None and process.stdout.readline() == "recording\n"
    model = small_model()
    with pytest.raises(AadslError, match="being recorded into by another recorder"):
        Recorder(tmp_path, model, sgd(model))
    process.communicate("\n", timeout=LIMIT)
    assert open_trajectory(tmp_path).length == 5


def test_reading_while_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aadsl.trajectory.record.journal.FLUSH_SECONDS", 0.0)
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer, DATA) as recorder:
        for step in range(12):
            train(recorder, model, optimizer, 1, first=step)
            recorder.flush()
            trajectory = open_trajectory(tmp_path)
            assert trajectory.length == step + 1
            assert trajectory.verify().ok
            assert len(trajectory.steps["loss"].values) == step + 1
