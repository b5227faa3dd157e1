"""dattri-llm: AdamW-influence and DVEmb, from the gradients that hooks keep along the training."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, TensorDataset

from tests.peers.method import Method, main
from tests.peers.task import Task, loss


def adamw_influence(task: Task, folder: Path) -> Tensor:
    model = task.model()
    # user code
    import dattri_llm as d

    def summed(model: nn.Module, batch: list[Tensor]) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="sum")

    optimizer = task.optimizer_of(model)
    store, queries = (d.GradientStorageManager(str(folder / name)) for name in ("train", "queries"))
    moments = d.OptimizerStateCallback(model, optimizer)
    keeping = d.OffloadCallback(offload_interval=1, file_manager=store, recording_type="per_sample")
    chosen = d.HookManagerConfig(linear_io=d.REGISTER_ALL)
    hooks = d.HookManager(model, config=chosen, callbacks=[keeping, moments])
    with hooks.collect():
        for step in range(len(task.batches)):
            optimizer.zero_grad()
            loss(model, task.batch(step)).backward()
            optimizer.step()
            moments.record_post(step)
    hooks.remove()
    args = d.AttributionArguments(str(folder), per_device_eval_batch_size=100, use_cpu=True)
    attributor = d.AdamWInfluenceAttributor(args, task=d.AttributionTask(loss, model, target_func=summed))
    asked = ConcatDataset([TensorDataset(*on) for on in task.behaviors.values()])
    attributor.collect_gradients(attributor.generate_test_rep(asked, hook_config=chosen), queries)
    found = attributor.attribute_from_cache(store, queries, dynamics=moments.dynamics(), propagation="test")
    steps = torch.stack([found.step_matrix(step)[1].sum(dim=0) for step in range(len(task.batches))])
    # a score is what an example did to the loss, so the other sign
    scores = [-each.mean(dim=1) for each in steps.split([len(on[1]) for on in task.behaviors.values()], dim=1)]
    # end of user code
    return torch.stack(scores)


def dvemb(task: Task, folder: Path) -> Tensor:
    model = task.model()
    # user code
    import dattri_llm as d

    def summed(model: nn.Module, batch: list[Tensor]) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="sum")

    optimizer = task.optimizer_of(model)
    store, queries = (d.GradientStorageManager(str(folder / name)) for name in ("train", "queries"))
    keeping = d.OffloadCallback(offload_interval=1, file_manager=store, recording_type="per_sample")
    chosen = d.HookManagerConfig(linear_io=d.REGISTER_ALL)
    hooks = d.HookManager(model, config=chosen, callbacks=[keeping])
    with hooks.collect():
        for step in range(len(task.batches)):
            optimizer.zero_grad()
            loss(model, task.batch(step)).backward()
            optimizer.step()
    hooks.remove()
    args = d.AttributionArguments(str(folder), per_device_eval_batch_size=100, use_cpu=True)
    attributor = d.DVEmbAttributor(args, task=d.AttributionTask(loss, model, target_func=summed))
    asked = ConcatDataset([TensorDataset(*on) for on in task.behaviors.values()])
    attributor.collect_gradients(attributor.generate_test_rep(asked, hook_config=chosen), queries)
    found = attributor.attribute_from_cache(store, queries, learning_rate=task.lr, propagation="test")
    steps = torch.stack([found.step_matrix(step)[1].sum(dim=0) for step in range(len(task.batches))])
    scores = [each.mean(dim=1) for each in steps.split([len(on[1]) for on in task.behaviors.values()], dim=1)]
    # end of user code
    return torch.stack(scores)


METHODS = {
    "AdamW-influence": Method(
        adamw_influence, "zero_gradient", "along the training, all layers that hooks reach", trains=True
    ),
    "DVEmb": Method(dvemb, "zero_gradient", "along the training, all layers that hooks reach", trains=True),
}

if __name__ == "__main__":
    main(METHODS)
