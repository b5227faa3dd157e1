"""bergson: MAGIC, back through its own training of the run, to a weight of each example in the loss."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.peers.method import Method, main
from tests.peers.task import Task


def magic(task: Task, folder: Path) -> Tensor:
    # user code
    import torchopt
    from bergson.magic import BackwardState, Trainer
    from torchopt.pytree import tree_iter

    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = task.model()

        def forward(self, inputs: Tensor, targets: Tensor, weights: Tensor, shift_loss_mask: Tensor) -> Tensor:
            return (weights * nn.functional.cross_entropy(self.network(inputs), targets, reduction="none")).mean()

    class Stream:
        weights = nn.Parameter(torch.ones(len(task.targets)))
        device, requires_grad = torch.device("cpu"), True

        def __len__(self) -> int:
            return len(task.batches)

        def __getitem__(self, step: int) -> dict[str, Tensor]:
            rows = task.batches[step]
            inputs, targets = task.batch(step)
            mask = torch.ones(len(rows))  # what the trainer counts instead of tokens
            return {"inputs": inputs, "targets": targets, "weights": self.weights[rows], "shift_loss_mask": mask}

    if task.optimizer == "SGD":
        optimizer = torchopt.sgd(**task.options)
    else:
        optimizer = torchopt.adamw(**task.options, eps_root=1e-17)  # bergson's default
    model, data, scores = Weighted(), Stream(), []
    with sdpa_kernel(SDPBackend.MATH):
        trainer, state = Trainer.initialize(model, optimizer)
        state = trainer.train(state, data, save_dir=str(folder))
        final = state.to("cpu")
        for inputs, targets in task.behaviors.values():
            state.detach_().copy_(final)
            with state.activate(model) as params:
                value = -nn.functional.cross_entropy(model.network(inputs), targets)
                slopes = dict(zip(params, torch.autograd.grad(value, list(params.values())), strict=True))
            moments = [torch.zeros_like(t) for t in tree_iter(state.opt_state) if torch.is_floating_point(t)]
            begun = BackwardState(slopes, moments, torch.zeros_like(data.weights))
            scores.append(trainer.backward(str(folder), data, begun, state, cleanup=False).weight_grads)
    # end of user code
    return torch.stack(scores)


METHODS = {"MAGIC": Method(magic, "zero_gradient", "with the math kernel of attention", trains=True)}

if __name__ == "__main__":
    main(METHODS)
