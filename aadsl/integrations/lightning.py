"""Record what a Lightning ``Trainer`` does: ``Trainer(…, callbacks=[RecorderCallback("runs/name")])``."""

from __future__ import annotations

import os
from typing import Any

from lightning.pytorch.callbacks import Callback

from aadsl.core.errors import AadslError
from aadsl.trajectory import Clip, Recorder


class RecorderCallback(Callback):  # type: ignore[misc]  # the library is optional, and not looked into
    """Records a Trainer's run into ``path``, with one optimizer.

    Each training batch is stored (a tensor, tuple or dict of tensors); accumulated ones are micro-batches of a step.
    The Trainer's gradient clipping is declared, its epoch is metadata. To replay, the loss is
    ``lambda module, batch: module.training_step(batch, 0)``.

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
        if len(trainer.optimizers) != 1:
            raise AadslError(
                f"the module has {len(trainer.optimizers)} optimizers, a trajectory has one",
                hint="let configure_optimizers return a single optimizer with parameter groups",
            )
        limit = trainer.gradient_clip_val
        by_value = str(trainer.gradient_clip_algorithm).lower().endswith("value")
        clip = Clip("value" if by_value else "norm", float(limit)) if limit else None
        options = {"clip": clip, **self._options}
        self.recorder = Recorder(self.path, pl_module, trainer.optimizers[0], **options)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Announce the batch; its forward pass comes next."""
        if self.recorder is not None:
            self.recorder.batch(batch, epoch=trainer.current_epoch, **self._metadata)
            self.recorder.forward_begins()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Keep what was recorded."""
        self._close()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Commit everything."""
        self._close()

    def _close(self) -> None:
        if self.recorder is not None:
            self.recorder.close()
