"""What a recorder says of a run as a whole: the header of a new one."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer

from aadsl.core.clip import Clip
from aadsl.core.generators import OwnGenerator, kind_of_generator
from aadsl.core.kernels import kernels_now, tell_of_nondeterminism
from aadsl.dynamics import DYNAMICS, kind_of, options_of
from aadsl.trajectory.record.compiled import OWN_NUMBERS
from aadsl.trajectory.record.subject import Subject
from aadsl.trajectory.store.fingerprints import data_fingerprint, tensor_digest
from aadsl.trajectory.store.header import Header


def describe(
    subject: Subject, data: object, clip: Clip | None, accumulation: int | None, generators: Sequence[OwnGenerator] = ()
) -> Header:
    """Return the header of a new run. Raises AadslError where one of the generators is none."""
    device = next(iter(subject.parameters.values())).device
    tell_of_nondeterminism(device)
    return Header(
        optimizers=tuple(kind_of(one) for one in subject.optimizers for _ in one.param_groups),
        options=tuple(options for one in subject.optimizers for options in _options(one)),
        parameters=subject.specs,
        buffers=subject.buffer_specs,
        clip=clip,
        accumulation=accumulation,
        fingerprints={
            "data": data_fingerprint(data),
            "frozen": {name: tensor_digest(parameter) for name, parameter in subject.frozen.items()},
        },
        kernels=kernels_now(device),
        average={} if subject.average is None else subject.average.rule,
        provenance={
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": _qualified(subject.model),
            "optimizer_class": ", ".join(dict.fromkeys(map(_qualified, subject.optimizers))),
            "data": "" if data is None else _qualified(data),
            **({"compiled": OWN_NUMBERS} if subject.draws_own_numbers else {}),
            **({"generators": ", ".join(map(kind_of_generator, generators))} if generators else {}),
            "device": str(device) if device.type == "cpu" else torch.cuda.get_device_name(device),
            "threads": str(torch.get_num_threads()),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
        },
    )


def _options(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return the options of each parameter group, which are needed where nothing else takes the steps again."""
    return [{} for _ in optimizer.param_groups] if kind_of(optimizer) in DYNAMICS else options_of(optimizer)


def _qualified(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
