"""Record what a Hugging Face ``Trainer`` does: ``Trainer(…, callbacks=[RecorderCallback("runs/name")])``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback

from aadsl.core.errors import AadslError
from aadsl.integrations.resumption import GLOBAL_STEP, as_trained, recorder_of
from aadsl.trajectory import Recorder

ITEMS = "num_items_in_batch"


def model_loss(model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    """Return the loss that the model computes itself, over the items that the Trainer counted.

    Raises:
        AadslError: it computes none of what the batch holds.
    """
    items = {ITEMS: batch[ITEMS][0]} if ITEMS in batch else {}
    output = model(**{**batch, **items})
    loss: Tensor | None = output["loss"] if isinstance(output, dict) else output[0]
    if loss is None:
        raise AadslError(
            f"the model computes no loss of what was recorded: {', '.join(batch)}",
            hint="give the loss that was trained with: loss=trainer_loss(trainer), or a function of model and batch",
        )
    return loss


def trainer_loss(trainer: Trainer) -> Callable[[nn.Module, Any], Tensor]:
    """Return the loss as a Trainer computes it: with its label smoothing, or what a subclass of it computes."""

    def loss(model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
        inputs = {name: value for name, value in batch.items() if name != ITEMS}
        items = batch[ITEMS][0] if ITEMS in batch else None
        value: Tensor = trainer.compute_loss(model, inputs, num_items_in_batch=items)
        return value

    return loss


class RecorderCallback(TrainerCallback):  # type: ignore[misc]  # the library is optional, and not looked into
    """Records a Trainer's run into ``path``; PEFT models record their adapters only.

    Each batch that the Trainer trains on is a micro-batch, stored as the data loader gave it, so no data set is needed
    later. The Trainer's gradient clipping is declared; its step and its epoch are metadata. A Trainer that resumes from
    a checkpoint, or begins anew with smaller batches, goes on with the recording.

    To replay, give as the loss :func:`model_loss` where the model computes it, else ``trainer_loss(trainer)``, as with
    TRL's ``SFTTrainer``; and as the model the one that was trained: in lower precision (``bf16=True``, the default of
    TRL) Accelerate has changed it.

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
        self._model: nn.Module | None = None
        self._trainer: Any = None
        self._training_step: Any = None
        self._replaced: dict[str, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to record: the optimizer exists now."""
        trainer = _calling_trainer()
        model = as_trained(kwargs["model"], trainer.model_wrapped)
        self._leave()
        options = {"clip": args.max_grad_norm or None, **self._options}
        broken_off = self.recorder if model is self._model else None
        self.recorder = recorder_of(self.path, model, [kwargs["optimizer"]], options, state.global_step, broken_off)
        self._model, self._trainer, self._training_step = model, trainer, trainer.training_step
        self._replaced = {name: value for name, value in vars(trainer).items() if name == "training_step"}
        trainer.training_step = self._recorded_step

    def _recorded_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None, **kwargs: Any) -> Tensor:
        """Announce the batch as it is before the model takes it; do the Trainer's step, forward and backward."""
        if self.recorder is not None:
            batch = dict(inputs) if isinstance(inputs, Mapping) else inputs
            if num_items_in_batch is not None and isinstance(batch, dict):
                batch[ITEMS] = torch.as_tensor(num_items_in_batch).reshape(1)
            state = self._trainer.state
            self.recorder.batch(batch, **{"epoch": state.epoch, GLOBAL_STEP: state.global_step, **self._metadata})
        loss: Tensor = self._training_step(model, inputs, num_items_in_batch, **kwargs)
        return loss

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Commit the steps before a checkpoint is written, so that none is ahead of the recording after a kill."""
        if self.recorder is not None and control.should_save:
            self.recorder.flush()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the state of a checkpoint that may be shipped: of the best one, and of all where none is deleted."""
        best = (state.best_model_checkpoint or "").endswith(f"-{state.global_step}")
        if self.recorder is not None and (best or args.save_total_limit is None):
            self.recorder.flush(state=True)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Commit everything."""
        self._leave()
        if self.recorder is not None:
            self.recorder.close()
            self.recorder = None

    def _leave(self) -> None:
        """Give the Trainer its own step again."""
        if self._trainer is not None:
            del self._trainer.training_step
            vars(self._trainer).update(self._replaced)
            self._trainer = None


def _calling_trainer() -> Any:
    """Return the Trainer that calls the callback: it hands over all but itself."""
    frame = sys._getframe()
    while frame is not None:
        if isinstance(trainer := frame.f_locals.get("self"), Trainer):
            return trainer
        frame = frame.f_back  # type: ignore[assignment]
    raise AadslError("the callback was called by no Trainer", hint="give it to one: Trainer(…, callbacks=[callback])")
