"""Several processes that train one model together, each with a recorder: what each did in a step goes to the first.

They have connections of their own, so that nothing they say gets between the collective calls of the training. Who
stops recording closes its own, so that nobody waits for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, NamedTuple

from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from aadsl.core.errors import AadslError
from aadsl.trajectory.record.parallel import require_plain
from aadsl.trajectory.record.resume import Start
from aadsl.trajectory.record.rows import MicroBatch, number
from aadsl.trajectory.store.tensors import dtype_name, from_array, to_array

PATIENCE = timedelta(minutes=2)
"""How long the first recorder waits until each of the others is made."""


class Mode(NamedTuple):
    """How the model went through a step: in train mode but for some modules, in which precision."""

    training: bool
    off_mode: str
    autocast: str


class Ranks:
    """This process among those that train the same model.

    Args:
        replicas: the parts of the model that they train together.

    Attributes:
        number: of this process, 0 for the one that writes.
        count: how many they are.

    Raises:
        AadslError: not all of them have made a recorder.
    """

    def __init__(self, replicas: list[DistributedDataParallel]) -> None:
        self._replicas = replicas
        self.count, self.number = distributed.get_world_size(), distributed.get_rank()
        try:
            # That all are there is waited for shortly; what follows takes as long as training does. To close the first
            # connections before all have the second ones would break into those that are still being made.
            arrival = distributed.new_group(timeout=PATIENCE, backend="gloo")
            self._group: Any = distributed.new_group(backend="gloo")
            distributed.destroy_process_group(arrival)
        except (RuntimeError, ValueError) as error:
            raise AadslError(
                f"not all of the {self.count} processes have made a recorder: {_first_line(error)}",
                hint="make one in each, with the same arguments; the first one writes",
            ) from error
        self._told: set[str] = set()

    @contextmanager
    def agreeing(self) -> Iterator[None]:
        """Raise in all processes what is raised inside in one: an AadslError, or an OSError."""
        problem: Exception | None = None
        try:
            yield
        except Exception as error:
            problem = error
        own = None if problem is None else (isinstance(problem, OSError), str(problem))
        found: list[Any] = [None] * self.count
        with _heard():
            distributed.all_gather_object(found, own, group=self._group)
        if any(found):
            self.leave()
        if problem is not None:
            raise problem
        for rank, said in enumerate(found):
            if said is not None:
                of_disk, text = said
                raise OSError(text) if of_disk else AadslError(f"rank {rank}: {text}")

    def placed(self, start: Start) -> Start:
        """Return ``start`` with the place where rank 0 begins."""
        found = [start.place]
        with _heard():
            distributed.broadcast_object_list(found, group_src=0, group=self._group)
        return start._replace(**found[0])

    def require_plain(self) -> None:
        """Raise AadslError where gradients are not simply averaged."""
        require_plain(self._replicas)

    def together(
        self, step: int, used: Sequence[MicroBatch], metadata: dict[str, Any], mode: Mode
    ) -> tuple[list[MicroBatch], dict[str, Any]]:
        """Return the micro-batches that all processes used in a step, the first one's first, and its metadata.

        Only the first process gets to know them; another one gets back what it gives.

        Raises:
            AadslError: one stopped recording, or its model was in another mode.
        """
        mine = [_sent(batch) for batch in used], {name: number(value) for name, value in metadata.items()}, mode
        found: list[Any] | None = None if self.number else [None] * self.count
        with _heard():
            distributed.gather_object(mine, found, group_dst=0, group=self._group)
        if found is None:
            return list(used), metadata
        for rank, (_, _, other) in enumerate(found):
            if other != mode:
                raise AadslError(
                    f"the model is in another mode in rank {rank} ({_in_words(other)}) than here ({_in_words(mode)})"
                )
        batches = [_arrived(sent, rank, self.count) for rank, (all_sent, _, _) in enumerate(found) for sent in all_sent]
        return batches, self._joined(step, [told for _, told, _ in found])

    def _joined(self, step: int, told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the metadata of a step: the mean of the losses, else what the first process was told."""
        losses = [one["loss"] for one in told if "loss" in one]
        loss = {"loss": sum(losses) / len(losses)} if len(losses) == self.count else {}
        for name in dict.fromkeys(name for one in told for name in one if name != "loss"):
            other = next((rank for rank, one in enumerate(told) if repr(one.get(name)) != repr(told[0].get(name))), 0)
            if other and name not in self._told:
                self._told.add(name)
                warnings.warn(
                    f"{name} of step {step} is {told[0].get(name)!r} here and {told[other].get(name)!r} in rank "
                    f"{other}: what is told here is kept; what belongs to examples can be a list as long as the batch",
                    stacklevel=5,
                )
        return {name: value for name, value in told[0].items() if name != "loss"} | loss

    def leave(self) -> None:
        """Take part no more; the others hear of it when they have something to say."""
        group, self._group = self._group, None
        if group is not None and distributed.is_initialized():
            with suppress(ValueError):  # the program has ended all groups, and begun others
                distributed.destroy_process_group(group)


@contextmanager
def _heard() -> Iterator[None]:
    """Raise AadslError where another process has closed its connections."""
    try:
        yield
    except RuntimeError as error:
        hint = "what it says tells why"
        raise AadslError(f"another process stopped recording: {_first_line(error)}", hint=hint) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _in_words(mode: Mode) -> str:
    parts = ["train" if mode.training else "eval", mode.off_mode and f"but {mode.off_mode}", mode.autocast]
    return ", ".join(filter(None, parts))


def _sent(batch: MicroBatch) -> tuple[Any, ...]:
    """Return a micro-batch as it travels; the loss that a GPU still computes is waited for."""
    tensors = {name: _bits(tensor) for name, tensor in batch.tensors.items()}
    rng = {name: _bits(state) for name, state in batch.rng.items()}
    loss = None if batch.loss is None else (number(batch.loss), number(batch.factor))
    return batch.size, batch.indices, tensors, batch.structure, dict(batch.examples), rng, batch.weight, loss


def _arrived(sent: tuple[Any, ...], rank: int, count: int) -> MicroBatch:
    """Return a micro-batch that was sent, its loss as it counts: the gradient is the mean over the processes."""
    size, indices, tensors, structure, examples, rng, weight, measured = sent
    loss, factor = (None, 1.0) if measured is None else (value / count for value in measured)
    tensors, rng = ({name: _tensor(*bits) for name, bits in some.items()} for some in (tensors, rng))
    weight = None if weight is None else weight / count
    return MicroBatch(size, indices, tensors, structure, examples, rng, weight, loss, factor, rank)


def _bits(tensor: Tensor) -> tuple[Any, str, tuple[int, ...]]:
    return to_array(tensor.cpu().reshape(-1)), dtype_name(tensor.dtype), tuple(tensor.shape)


def _tensor(values: Any, dtype: str, shape: tuple[int, ...]) -> Tensor:
    return from_array(values, dtype).view(shape)
