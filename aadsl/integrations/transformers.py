"""Record what a Hugging Face ``Trainer`` does: ``Trainer(…, callbacks=[RecorderCallback("runs/name")])``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from aadsl.trajectory import Recorder

ITEMS = "num_items_in_batch"


def model_loss(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the loss that the model computes itself, over the items that the Trainer counted."""
    inputs = {name: value for name, value in batch.items() if name != ITEMS}
    items = {ITEMS: batch[ITEMS][0]} if ITEMS in batch else {}
    loss: Tensor = model(**inputs, **items).loss
    return loss


class RecorderCallback(TrainerCallback):  # type: ignore[misc]  # the library is optional, and not looked into
    """Records a Trainer's run into ``path``; PEFT models record their adapters only.

    Each forward pass of a training step is a micro-batch; its tensors are stored, so no data set is needed later. The
    Trainer's gradient clipping is declared, its epoch and loss are metadata. To replay, give :func:`model_loss` as the
    loss.

    Args:
        path: folder to record into.
        metadata: what is told of every step.
        options: of :class:`aadsl.trajectory.Recorder`.
    """

    def __init__(self, path: str | os.PathLike[str], metadata: dict[str, Any] | None = None, **options: Any) -> None:
        self.path = path
        self.recorder: Recorder | None = None
        self._metadata = metadata or {}
        self._options = options
        self._state: Any = None
        self._accumulated = 1
        self._hook: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to record: the optimizer exists now."""
        options = {"clip": args.max_grad_norm or None, **self._options}
        model = kwargs["model"]
        self.recorder = Recorder(self.path, model, kwargs["optimizer"], **options)
        self._state, self._accumulated = state, args.gradient_accumulation_steps
        self._hook = model.register_forward_hook(self._on_forward, with_kwargs=True)

    def _on_forward(self, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        if self.recorder is None or not torch.is_grad_enabled():
            return
        told = {"epoch": self._state.epoch, **self._metadata}
        tensors = {name: value for name, value in kwargs.items() if isinstance(value, Tensor) and value.ndim}
        items, parts = kwargs.get("num_items_in_batch"), 1
        if items is not None:
            # The losses of micro-batches are shares of the whole step's items: here they add up, a trajectory means.
            parts = self._accumulated
            tensors[ITEMS] = torch.as_tensor(items / parts).expand(len(next(iter(tensors.values()))))
        loss = output.get("loss") if hasattr(output, "get") else None
        if loss is not None:
            told["loss"] = loss.detach() * parts
        self.recorder.batch(tensors, **told)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Commit everything."""
        if self._hook is not None:
            self._hook.remove()
        if self.recorder is not None:
            self.recorder.close()
