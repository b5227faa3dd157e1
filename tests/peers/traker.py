"""traker: TRAK, from the last checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from tests.peers.method import Method, main
from tests.peers.task import Task


def trak(task: Task, folder: Path) -> Tensor:
    model, state = task.model(-1).eval(), task.states[-1]
    # user code
    from trak import TRAKer

    train, scores = TensorDataset(task.inputs, task.targets), []
    options = {"device": "cpu", "proj_dim": 512, "use_half_precision": False, "logging_level": logging.ERROR}
    traker = TRAKer(model, "image_classification", len(train), save_dir=str(folder), **options)
    traker.load_checkpoint(state, model_id=0)
    for batch in DataLoader(train, batch_size=1000):
        traker.featurize(batch, num_samples=len(batch[1]))
    traker.finalize_features()
    for name, on in task.behaviors.items():
        traker.start_scoring_checkpoint(name, state, model_id=0, num_targets=len(on[1]))
        traker.score(on, num_samples=len(on[1]))
        scores.append(torch.as_tensor(traker.finalize_scores(name)).mean(dim=1))
    # end of user code
    return torch.stack(scores)


METHODS = {"TRAK": Method(trak, "zero_gradient", "the last checkpoint, 512 numbers", nats=False)}

if __name__ == "__main__":
    main(METHODS)
