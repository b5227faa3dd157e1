"""The small records that describe a run: parameters, phases, jobs, and what its writers and readers agree on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

BOUNDARY = {"none": 0, "phase": 1, "optimizer_reset": 2}
"""What begins at a step, by the number that stands for it."""

WEIGHTS_WRITTEN, OPTIMIZER_WRITTEN, BUFFERS_WRITTEN = WRITTEN = (
    "weights_written",
    "optimizer_written",
    "buffers_written",
)
"""Metadata that the recorder gives itself: true where something else than a training step wrote to weights, to the
optimizer's state, to buffers, since the step before."""


STRUCTURE, WEIGHT = "tensor_structure", "micro_batch_weight"
LOSS, FACTOR = "micro_batch_loss", "micro_batch_factor"
"""What is known of some micro-batches only: how their tensors lie in them; the factor of their loss in that of the
step, as told; what ``backward()`` was called on, and by what the training loop had multiplied that last."""

ANNOUNCED = "announced_"
"""What comes before the name of a generator where its state is that at the announcement of a batch."""

RANK = "micro_batch_rank"
"""Where several processes train together: the rank of the one whose micro-batch it was, ascending within a step."""

LOSS_SCALE = "loss_scale"
"""Metadata that the recorder gives itself: by what mixed precision multiplied the loss, and divided the gradient."""

LOADER = "loader_"
"""Before the names of random generators: their states where a loader began to make a batch."""

DECIDED = "decided_by_model"
"""Metadata that the recorder gives itself: what the model decided before the step, in words, "" for nothing."""

PLATEAU = "the learning rate (a plateau schedule)"
SKIPPED = "which steps were skipped"
DECLARED = "what adaptive=True declares"
"""These words; several are separated by commas."""

AVERAGE_COUNT, AVERAGE_WEIGHT = AVERAGE = "average_count", "average_weight"
"""Metadata that the recorder gives itself where an average of the weights is followed: how many models it had taken in
before the step, and with which weight those since the step before, in all."""

MISMATCH = "checkpoint_mismatch"
"""What is known of each step of a run that was trained again between checkpoints: the mismatch of the :class:`Gap` that
it is in, where that is approximate, else 0."""

RESTING_GROUPS, FRESH_GROUPS = "resting_groups", "fresh_groups"
"""Columns of numbers of parameter groups: whose optimizer took no step; which start afresh while others go on."""


@dataclass(frozen=True)
class ParameterSpec:
    """A parameter or buffer as the recorder met it.

    Attributes:
        name: its first name in ``model.named_parameters()`` or ``model.named_buffers()``.
        shape: its shape.
        dtype: PyTorch's name of the dtype, ``"float32"``.
        group: number of the optimizer's parameter group; -1 for a buffer.
        aliases: further names of the same tensor (tied weights).
        memory_format: how its elements lie, of :data:`aadsl.core.formats.FORMATS`; "" for the usual order.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    group: int = -1
    aliases: tuple[str, ...] = ()
    memory_format: str = ""


@dataclass(frozen=True)
class Phase:
    """Steps ``start <= t < stop`` that were announced as one stretch of training.

    ``resets_optimizer``: the optimizer's buffers were empty before step ``start``.
    """

    name: str
    start: int
    stop: int
    resets_optimizer: bool


@dataclass(frozen=True)
class Gap:
    """Steps ``start <= t < stop`` that were trained again between two checkpoints of a run that nobody had recorded.

    Attributes:
        start, stop: the steps.
        mismatch: how far they ended from the checkpoint, relative to how far they moved the state.
        explained: how much of that rounding explains; infinite where it alone decides where they end.
        verdict: ``"exact"`` where every bit is the checkpoint's, ``"agrees"`` where rounding explains what is not, else
            ``"approximate"``.
        remark: what was assumed, or may be wrong; as a rule nothing.
    """

    start: int
    stop: int
    mismatch: float
    explained: float
    verdict: str
    remark: str = ""

    @property
    def steps(self) -> str:
        """Its steps in words."""
        return f"step {self.start}" if self.stop == self.start + 1 else f"steps {self.start} … {self.stop - 1}"


@dataclass(frozen=True)
class Resized:
    """A parameter of another shape than the one before it, and what that had left in the part that both have.

    ``step`` is the first one of ``name``, ``before`` is the name of the other, ``common`` where they have places alike.
    """

    step: int
    before: str
    name: str
    common: tuple[slice, ...]


@dataclass(frozen=True)
class Fresh:
    """What a run begins anew, although the run before had parameters of these names and shapes.

    Attributes:
        patterns: of names, such as ``"head.*"``.
    """

    patterns: tuple[str, ...]


@dataclass(frozen=True)
class Merge:
    """Low-rank adapters that a run trained, merged into a weight that the next one begins with: W' = W + s·BA.

    Attributes:
        a, b, weight: what the model of the one run calls A (r, …), B (…, r) and W.
        into: what that of the next calls W'.
        scale: s.
        transposed: whether (BA)ᵀ is added, to a weight of (in, out).
    """

    a: str
    b: str
    weight: str
    into: str
    scale: float
    transposed: bool = False


@dataclass(frozen=True)
class Beginning:
    """How a run begins, where names and shapes do not tell.

    Attributes:
        anew: what it begins anew, as patterns of names.
        merges: what it begins with of adapters that the run before trained.
        left, begun: what these went into, W, and what came of it, W', where that run, or this one, did not train it, by
            the names that they have there.
    """

    anew: tuple[str, ...] = ()
    merges: tuple[Merge, ...] = ()
    left: Mapping[str, Tensor] = field(default_factory=dict)
    begun: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Merged:
    """A weight that begins with what adapters had learned; as :class:`Merge`, by names that no two tensors share.

    Attributes:
        step: the first one of ``name``, W'.
        before: W.
        pairs: A and B of each adapter, s, and whether (BA)ᵀ is added.
    """

    step: int
    before: str
    name: str
    pairs: tuple[tuple[str, str, float, bool], ...]

    @property
    def adapters(self) -> list[str]:
        """The names of A and B of each."""
        return [name for a, b, *_ in self.pairs for name in (a, b)]


@dataclass(frozen=True)
class Job:
    """Steps ``start <= t < stop`` that one recorder recorded; several of them make a chain.

    ``name`` is that of its first phase: the folder it was recorded into, if nothing else was said, with
    as much of its path as tells it from the folders of other jobs.
    ``fingerprints`` are digests of what is not stored: ``"data"`` by position, ``"frozen"`` weights by name.
    """

    name: str
    path: str
    start: int
    stop: int
    fingerprints: dict[str, dict[str, str]] = field(repr=False)
