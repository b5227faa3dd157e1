"""Our own answers, asked for as peers' are."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tests.peers.method import Method, main
from tests.peers.task import Task, loss


def asked(task: Task, folder: Path, estimator: str, intervention: str) -> Tensor:
    model, data = task.model(), (task.inputs, task.targets)
    # user code
    import aadsl

    optimizer = task.optimizer_of(model)
    with aadsl.Recorder(folder / "run", model, optimizer, data=data) as recorder:
        for rows in task.batches:
            optimizer.zero_grad()
            loss(model, (data[0][rows], data[1][rows])).backward()
            recorder.batch(indices=rows)
            optimizer.step()
    study = aadsl.Study(aadsl.open_trajectory(folder / "run"), model=model, loss=loss, data=data, device="cpu")
    study.family("step", {t: [t] for t in range(len(task.batches))})
    for name, on in task.behaviors.items():
        study.behavior(name, "log_likelihood", on=on)
    answer = study.score(["step"], list(task.behaviors), estimator=estimator, intervention=intervention)
    # end of user code
    return torch.as_tensor(answer.effect.transpose("behavior", "stage").to_numpy())


def method(estimator: str, intervention: str = "skip", how: str = "one adjoint sweep a behavior") -> Method:
    def act(task: Task, folder: Path) -> Tensor:
        return asked(task, folder, estimator, intervention)

    return Method(act, intervention, how, trains=True, written=asked)


METHODS = {
    "first_order": method("first_order"),
    "first_order, zero_gradient": method("first_order", "zero_gradient"),
    "blocks": method("blocks", how="the estimate of `auto`: nine sweeps a behavior, for its second derivative"),
    "retraining": method("retraining", how="exact: a training for each step"),
}

if __name__ == "__main__":
    main(METHODS)
