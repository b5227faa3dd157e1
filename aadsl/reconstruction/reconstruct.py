"""The public function: checkpoints and a seeded loader in, a trajectory that can be studied out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from typing import Any

import torch
from torch import nn

from aadsl.core.arguments import checked
from aadsl.core.clip import Clip
from aadsl.core.errors import AadslError
from aadsl.core.files import expanded
from aadsl.core.progress import Progress, silent
from aadsl.propagation import LossFunction
from aadsl.reconstruction.checkpoints import Checkpoint, require_checkpoints
from aadsl.reconstruction.gaps import Stint, require_room, stints_of, train
from aadsl.reconstruction.recipe import Rates, Recipe
from aadsl.reconstruction.report import Reconstruction
from aadsl.replayed.devices import device_of
from aadsl.replayed.parcels import RaisedThere, pickled, unpickled
from aadsl.verification.findings import SAME_KERNELS


@checked
def reconstruct(
    checkpoints: Mapping[Any, Any],
    *,
    path: str | os.PathLike[str],
    model: nn.Module,
    loss: LossFunction,
    optimizer: Callable[..., Any],
    batches: Callable[[int], Any],
    data: Any = None,
    begin: Callable[[int], Any] | None = None,
    schedule: Callable[[int], Rates] | None = None,
    metadata: Callable[[int], Mapping[str, Any]] | None = None,
    clip: Clip | float | None = None,
    accumulate: int = 1,
    states: Any = "auto",
    device: str | torch.device = "auto",
    executor: Executor | None = None,
    tolerance: float = SAME_KERNELS,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Reconstruction:
    """Train a run again, of which nothing but checkpoints was kept, and record it: from each checkpoint to the next.

    Where a gap ends at the next checkpoint, to the bit or as near as rounding lets it come, it is what happened. One
    that does not is kept all the same: the run goes on from the checkpoint, answers that go over the gap say by how
    much it was missed, their trust is medium at most, and what the mismatch alone does to a behavior counts as noise.

    Args:
        checkpoints: after how many steps each was kept, and the checkpoint: a file that ``torch.load`` or safetensors
            reads, what is in one, or a function that loads it: ``{"model": state_dict, "optimizer": state_dict}``, or
            weights alone. The optimizer's state is then the one with which the steps before end, and before the first
            checkpoint of a run that began earlier one that a pass over its own steps leaves; ``gaps`` say so.
        path: the folder to record into; the gaps in it that agree are not trained again by another call.
        model: the model that was trained, each of its modules in the mode, train or eval, that it was trained in.
        loss: ``loss(model, batch)``, the mean loss of a batch; precision (``torch.autocast``) is its business.
        optimizer: ``optimizer(params)``, with ``list(model.parameters())``, returns the optimizer, or a list of them.
        batches: ``batches(step)``, of the step alone: positions in ``data``, or the batch itself.
        data: what positions point into.
        begin: ``begin(step)`` is called before anything else of a step: to seed what the loop had seeded.
        schedule: ``schedule(step)`` returns the learning rate, or one for each parameter group; without it they are
            those of the last checkpoint that has the optimizer.
        metadata: ``metadata(step)`` is recorded with the step, such as ``{"epoch": 3}``.
        clip: as the loop clipped its gradients: the limit of their norm, or an ``aadsl.trajectory.Clip``.
        accumulate: how many micro-batches make a step; ``batches`` then returns a list of so many, of equal weight.
        states: which states to keep between checkpoints, as the recorder takes it.
        device: where to train.
        executor: any ``concurrent.futures.Executor`` that gaps are spread over; those that begin with weights alone
            wait for the one before. Threads of one process take turns.
        tolerance: the mismatch, relative to how far the gap moved, that needs no explanation; checkpoints of another
            device or precision may want 0.02.
        overwrite: replace what lies in the folder of gaps between other checkpoints, and train all again.
        progress: called as ``progress(what, done, total)``.

    Raises:
        AadslError: a checkpoint cannot be read or does not fit, a step cannot be taken again, or the folder is taken.
    """
    steps, folder = require_checkpoints(checkpoints), expanded(path).absolute()
    if accumulate < 1:
        raise AadslError(f"accumulate={accumulate} micro-batches make no step", hint="say how many make one")
    recipe = Recipe(
        model, loss, optimizer, batches, data, begin, schedule, metadata, Clip.of(clip), accumulate, states,
        device_of(device),
    )  # fmt: skip

    def keeps_optimizer(step: int) -> bool:
        return Checkpoint.read(step, checkpoints[step]).optimizers is not None

    stints = stints_of(checkpoints, folder, tolerance, keeps_optimizer)
    require_room(folder, stints, overwrite)
    left = [stint for stint in stints if overwrite or not stint.is_done()]
    if executor is None:
        for number, stint in enumerate(left):
            train(recipe, stint, _part(progress or silent, number, len(left)))
    else:
        _spread(executor, recipe, left, progress or silent)
    return Reconstruction.opened(folder, steps[0])


def _spread(executor: Executor, recipe: Recipe, stints: list[Stint], progress: Progress) -> None:
    """Train stints over an executor; what ends this calls off those that have not begun."""
    threads = isinstance(executor, ThreadPoolExecutor)
    futures: list[Future[Any]] = [
        executor.submit(train, recipe, stint) if threads else executor.submit(_sent, pickled((recipe, stint)))
        for stint in stints
    ]
    try:
        for done, future in enumerate(as_completed(futures), 1):
            if isinstance(raised := future.result(), RaisedThere):
                raise raised.error()
            progress("training again", done, len(stints))
    finally:
        for future in futures:
            future.cancel()


def _sent(content: bytes) -> RaisedThere | None:
    """Train a stint in another process."""
    try:
        train(*unpickled(content, "the model, the loss or the data"))
    except Exception as error:  # whatever a user's functions raise
        return RaisedThere.of(error)
    return None


def _part(progress: Progress, position: int, parts: int) -> Progress:
    def report(what: str, done: int, total: int) -> None:
        progress(what, position * total + done, parts * total)

    return report
