"""Which ways to train one model in several processes are recorded; the others are refused before they begin."""

from __future__ import annotations

import sys
from typing import Any

from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from aadsl.core.errors import AadslError
from aadsl.trajectory.record.subject import Subject

WAY_OUT = "several processes are recorded where each has the whole model: in DistributedDataParallel"
_SHARDED = {"FullyShardedDataParallel": "FSDP", "DeepSpeedEngine": "DeepSpeed"}


def replicas_of(model: nn.Module) -> list[DistributedDataParallel]:
    """Return the parts of a model that several processes train together, all of them the same ones; [] for one process.

    Raises:
        AadslError: each process has only a part of the weights.
    """
    for module in model.modules():
        if kind := _SHARDED.get(type(module).__name__):
            raise AadslError(f"the model is in {kind}, whose shards are not recorded", hint=WAY_OUT)
    if sharded := next((name for name, tensor in model.named_parameters() if _is_sharded(tensor)), None):
        said = f'"{sharded}" is a DTensor (FSDP2, tensor parallelism), of which each process has a shard'
        raise AadslError(f"{said}: that is not recorded", hint=WAY_OUT)
    found = [module for module in model.modules() if isinstance(module, DistributedDataParallel)]
    if not found or distributed.get_world_size() == 1:
        return []
    if any(distributed.get_world_size(one.process_group) != distributed.get_world_size() for one in found):
        raise AadslError(
            "DistributedDataParallel over a part of the processes (process_group=) is not recorded",
            hint="let all processes train the model, or start those that do by themselves",
        )
    return found


def _is_sharded(tensor: Any) -> bool:
    known = sys.modules.get("torch.distributed.tensor")  # who has one has imported it
    return known is not None and isinstance(tensor, known.DTensor)


def require_recordable(replicas: list[DistributedDataParallel], subject: Subject) -> None:
    """Raise AadslError where a replay in one process would not be what several do together."""
    if not replicas:
        return
    require_plain(replicas)
    for module in subject.model.modules():
        if isinstance(module, nn.SyncBatchNorm):
            raise AadslError(
                "SyncBatchNorm normalizes over the examples of all processes, which no process has together: that is "
                "not recorded",
                hint="train with BatchNorm, whose statistics are those of the first process, or GroupNorm",
            )
    for one in subject.optimizers:
        if type(one).__name__ == "ZeroRedundancyOptimizer":
            hint = "train with the optimizer that is inside of it, which each process then has whole"
            raise AadslError("of a ZeroRedundancyOptimizer each process has a part: that is not recorded", hint=hint)
    shared = {
        id(parameter)
        for one in replicas
        for name, parameter in one.module.named_parameters()
        if name not in one.parameters_to_ignore
    }
    for name, parameter in subject.parameters.items():
        if id(parameter) not in shared:
            raise AadslError(
                f'"{name}" is outside of DistributedDataParallel, so that each process trains one of its own',
                hint="wrap all that is trained",
            )


def require_plain(replicas: list[DistributedDataParallel]) -> None:
    """Raise AadslError where gradients are not simply averaged over the processes, all of which have batches."""
    for one in replicas:
        if one._join_config.enable:
            raise AadslError(
                "batches that one process has more of than another (Join) are not recorded",
                hint="let a DistributedSampler share out the data, whose processes have equally many",
            )
        if one._comm_hooks:
            hook = getattr(one._comm_hooks[0][0], "__qualname__", "a communication hook")
            hint = "train without it: DistributedDataParallel then averages them itself"
            raise AadslError(f"{hook} changes how gradients are averaged: that is not recorded", hint=hint)
        if one.mixed_precision is not None:
            hint = "train under torch.autocast, which is recorded"
            raise AadslError("mixed_precision= of DistributedDataParallel is not recorded", hint=hint)
