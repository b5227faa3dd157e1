"""Trajectories of many steps, written as a recorder would, without training for them."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from aadsl.trajectory.record.description import describe
from aadsl.trajectory.record.rows import MicroBatch, Row, batch_columns, step_columns
from aadsl.trajectory.record.subject import Subject
from aadsl.trajectory.store.header import write_header
from aadsl.trajectory.store.segments import Segment, append, write_segment
from aadsl.trajectory.store.states import StateWriter
from aadsl.trajectory.store.tensors import pack
from tests.trajectory.loops import sgd

FLUSHES = 20


def row(step: int) -> Row:
    """Every fiftieth step is tagged "bad", an epoch is a hundred steps."""
    metadata = {"loss": step * 0.001, "tag": "bad" if step % 50 == 0 else "good", "epoch": step // 100}
    return Row(metadata, [{"lr": 0.1, "momentum": 0.9}], "run", int(step == 0), True, "", [MicroBatch(2)])


def write_long_run(folder: Path, count: int) -> None:
    """Write ``count`` steps in twenty flushes; only the first state is stored."""
    model = nn.Linear(2, 1)
    subject = Subject(model, sgd(model))
    header = describe(subject, None, None, None)
    write_header(folder, header)
    StateWriter(folder, header.attributes).write(0, pack(subject.entries()))
    size = count // FLUSHES
    for start in range(0, count, size):
        rows = [row(step) for step in range(start, start + size)]
        append(folder, Segment("steps", start, start + size), step_columns(start, rows), header.attributes)
        segment = Segment("batches", start, start + size)
        write_segment(folder, segment, batch_columns(start, rows), header.attributes)
