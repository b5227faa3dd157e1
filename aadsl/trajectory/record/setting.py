"""What a recorder needs before the first step, in all processes that train the model or in none of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from aadsl.core.clip import Clip
from aadsl.core.generators import OwnGenerator
from aadsl.trajectory.record.around import warn_of_unknown
from aadsl.trajectory.record.description import describe
from aadsl.trajectory.record.parallel import replicas_of, require_recordable
from aadsl.trajectory.record.process import take_over
from aadsl.trajectory.record.ranks import Ranks
from aadsl.trajectory.record.resume import Start, prepared
from aadsl.trajectory.record.subject import Subject
from aadsl.trajectory.record.vocabulary import Vocabulary


@dataclass(frozen=True)
class Setting:
    """What is recorded, and where.

    Attributes:
        subject: model and optimizers.
        vocabulary: the names of metadata.
        ranks: the processes that train the model together; None for this one alone.
        start: where the recording begins.
        own: generators of the program's own that the loop draws from.
    """

    subject: Subject
    vocabulary: Vocabulary
    ranks: Ranks | None
    start: Start
    own: Sequence[OwnGenerator]

    def let_go(self) -> None:
        """Let others record into the folder, and go on without this process."""
        if self.start.lock is not None:
            self.start.lock.release()
        if self.ranks is not None:
            self.ranks.leave()


def setting_of(
    path: Path,
    model: nn.Module,
    optimizer: Any,
    averaged: Any,
    data: Any,
    clip: Clip | None,
    accumulate: int | None,
    generators: Sequence[OwnGenerator],
    overwrite: bool,
    step: int | None,
) -> Setting:
    """Return the setting of a :class:`Recorder` with these arguments.

    Raises:
        AadslError, OSError: what is given cannot be recorded, in this process or another one that trains the model.
    """
    replicas = replicas_of(model)
    ranks = Ranks(replicas) if replicas else None
    with nullcontext() if ranks is None else ranks.agreeing():
        subject = Subject(model, optimizer, averaged)
        require_recordable(replicas, subject)
        warn_of_unknown(subject)
        vocabulary = Vocabulary(set().union(*subject.hyperparameters()))
        vocabulary.steps["loss"] = False  # recorded where the backward pass is seen, and the loop tells no other
        header = describe(subject, data, clip, accumulate, generators)
    take_over(path)
    if ranks is None:
        start = prepared(path, subject, vocabulary, header, overwrite, step)
        return Setting(subject, vocabulary, None, start, generators)
    start = Start(None, header, 0, stored=False, phase="")
    with ranks.agreeing():
        if not ranks.number:
            start = prepared(path, subject, vocabulary, header, overwrite, step)
    return Setting(subject, vocabulary, ranks, ranks.placed(start), generators)
