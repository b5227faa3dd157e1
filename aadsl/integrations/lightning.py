"""Record what a Lightning ``Trainer`` does: ``Trainer(…, callbacks=[RecorderCallback("runs/name")])``."""

from __future__ import annotations

import os
from typing import Any

from lightning.pytorch.callbacks import Callback
from torch.optim.swa_utils import AveragedModel

from aadsl.core.errors import AadslError
from aadsl.integrations.resumption import GLOBAL_STEP, as_trained, recorder_of
from aadsl.trajectory import Clip, Recorder


class RecorderCallback(Callback):  # type: ignore[misc]  # the library is optional, and not looked into
    """Records a Trainer's run into ``path``.

    Each training batch is stored; accumulated ones are micro-batches of a step, with the weight that the Trainer gives
    their losses. The Trainer's gradient clipping is declared; its step and epoch are metadata. A Trainer that resumes
    from a checkpoint goes on with the recording. The average of a ``WeightAveraging`` callback is followed.
    To replay, the loss is ``lambda module, batch: module.training_step(batch, 0)``.

    Of a module that steps several optimizers itself a step is what they do after one batch, each once at most; all have
    the gradient of one loss, which is what ``training_step`` differentiates, written as a function.

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

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to record: the optimizer exists now."""
        if not trainer.optimizers:
            hint = "let configure_optimizers return what trains the module"
            raise AadslError("the module has no optimizer, so there is no step to record", hint=hint)
        limit = trainer.gradient_clip_val
        by_value = str(trainer.gradient_clip_algorithm).lower().endswith("value")
        clip = Clip("value" if by_value else "norm", float(limit)) if limit else None
        averages = (getattr(one, "_average_model", None) for one in trainer.callbacks)  # of WeightAveraging
        averaged = next((one for one in averages if isinstance(one, AveragedModel)), None)
        options = {"clip": clip, "averaged": averaged, **self._options}
        model = as_trained(pl_module, trainer.strategy.model)
        self.recorder = recorder_of(self.path, model, trainer.optimizers, options, trainer.global_step, self.recorder)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Announce the batch; its forward pass comes next."""
        if self.recorder is not None:
            # Lightning divides by this number also where an epoch ends with fewer batches.
            count = trainer.accumulate_grad_batches
            weight = 1 / count if count > 1 and pl_module.automatic_optimization else None
            told = {"epoch": trainer.current_epoch, GLOBAL_STEP: trainer.global_step, **self._metadata}
            self.recorder.batch(batch, weight=weight, **told)
            self.recorder.forward_begins()

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Commit the steps so far, and the state: a Trainer may resume from here, or this may be what is shipped."""
        if self.recorder is not None:
            self.recorder.flush(state=True)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Keep what was recorded."""
        self._close()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Commit everything."""
        self._close()

    def _close(self) -> None:
        if self.recorder is not None:
            self.recorder.close()
            self.recorder = None
