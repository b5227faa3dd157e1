"""Loops that do nothing wrong, each in a way that might be taken for something wrong: none may be refused."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tests.situations.harness import (
    INPUTS,
    STEPS,
    TARGETS,
    Loop,
    Situation,
    Try,
    batch,
    cross_entropy,
    dropout,
    log_likelihood,
    mlp,
    normalized,
    rows,
)
from tests.situations.loops import Change, plain, sgd


def validate(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    if step % 5 == 4:
        log_likelihood(model)
        model.train()


def save(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    if step % 10 == 9:
        file = io.BytesIO()
        torch.save({"model": model.state_dict(), "whole": model, "optimizer": optimizer.state_dict()}, file)
        copy.deepcopy(model)


def log(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    with torch.no_grad():
        [float(p.grad.norm()) for p in model.parameters()]
        torch.histc(model(INPUTS[:10]), 5)
        torch.rand(3)


def averaged() -> Change:
    """An average of the weights, put into the model to validate it, and out again."""
    average: list[AveragedModel] = []

    def change(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if step == 0:
            average[:] = [AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))]
        average[0].update_parameters(model)
        if step % 10 == 9:
            own = copy.deepcopy(model.state_dict())
            model.load_state_dict(average[0].module.state_dict())
            log_likelihood(model)
            model.train()
            model.load_state_dict(own)

    return change


def scheduled(make: Callable[[torch.optim.Optimizer], Any]) -> Change:
    schedule: list[Any] = []

    def change(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if step == 0:
            schedule[:] = [make(optimizer)]
        schedule[0].step()

    return change


def accumulated(run: Try) -> nn.Module:
    """Four micro-batches a step, three in the last of each ten, each counted as the loop counts them."""
    net = dropout()
    torch.manual_seed(5)
    optimizer = sgd(net)
    recorder = run.recorder(net, optimizer)
    for step in range(STEPS):
        parts = 3 if step % 10 == 9 else 4
        optimizer.zero_grad()
        for part in range(parts):
            number = 4 * step + part
            (cross_entropy(net, batch(number)) / 4).backward()
            recorder.batch(indices=rows(number), weight=0.25)
        run.step(optimizer)
    recorder.close()
    return net


def by_tokens(told: bool) -> Loop:
    """Two micro-batches of 24 and 8 examples, each example counted alike."""

    def loop(run: Try) -> nn.Module:
        net = mlp()
        optimizer = sgd(net)
        recorder = run.recorder(net, optimizer)
        for step in range(STEPS):
            optimizer.zero_grad()
            for first, last in ((0, 24), (24, 32)):
                chosen = torch.arange(first, last).add(7 * step) % 200
                loss = functional.cross_entropy(net(INPUTS[chosen]), TARGETS[chosen], reduction="sum") / 32
                loss.backward()
                recorder.batch(indices=chosen, **({"weight": (last - first) / 32} if told else {}))
            run.step(optimizer)
        recorder.close()
        return net

    return loop


def resumed(run: Try) -> nn.Module:
    """Closed after half of the steps, and gone on with from a checkpoint by a second recorder."""
    net = mlp()
    optimizer = sgd(net)
    recorder = run.recorder(net, optimizer)
    for step in range(STEPS):
        if step == STEPS // 2:
            recorder.close()
            kept = copy.deepcopy((net.state_dict(), optimizer.state_dict()))
            net = mlp()
            optimizer = sgd(net)
            net.load_state_dict(kept[0])
            optimizer.load_state_dict(kept[1])
            recorder = run.recorder(net, optimizer)
        optimizer.zero_grad()
        cross_entropy(net, batch(step)).backward()
        recorder.batch(indices=rows(step))
        run.step(optimizer)
    recorder.close()
    return net


def in_half_precision(model: nn.Module, given: tuple[Tensor, Tensor]) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return functional.cross_entropy(model(given[0]), given[1])


def two_models(run: Try) -> nn.Module:
    """Another model trains in the same loop, with another optimizer, which nobody records."""
    other = dropout()
    its = sgd(other)

    def train_other(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        its.zero_grad()
        cross_entropy(other, batch(step + 100)).backward()
        its.step()

    return plain(before=train_other)(run)


def interrupted(run: Try) -> nn.Module:
    """The cell is interrupted, and run again."""
    net = mlp()
    optimizer = sgd(net)
    if run.folder is not None:
        recorder = run.recorder(net, optimizer, overwrite=True)
        for step in range(7):
            optimizer.zero_grad()
            cross_entropy(net, batch(step)).backward()
            recorder.batch(indices=rows(step))
            optimizer.step()
    return plain(overwrite=True)(run)


def two_optimizers(run: Try) -> nn.Module:
    """Two optimizers of one model, recorded together; one of them steps every tenth time."""
    net = mlp()
    body, head = torch.optim.SGD(net[0].parameters(), lr=0.1), torch.optim.AdamW(net[2].parameters(), lr=0.05)
    recorder = run.recorder(net, [body, head])
    for step in range(STEPS):
        body.zero_grad()
        head.zero_grad()
        cross_entropy(net, batch(step)).backward()
        recorder.batch(indices=rows(step))
        run.step(*([body, head] if step % 10 == 6 else [body]))
    recorder.close()
    return net


def mean_teacher(run: Try) -> nn.Module:
    """The loss asks a teacher that follows the model, which no loss function of a study can do."""
    net = mlp()
    teacher = copy.deepcopy(net)
    optimizer = sgd(net)
    recorder = run.recorder(net, optimizer)
    for step in range(STEPS):
        optimizer.zero_grad()
        inputs, targets = batch(step)
        apart = (net(inputs).softmax(1) - teacher(inputs).detach().softmax(1)).pow(2).sum(1).mean()
        (functional.cross_entropy(net(inputs), targets) + apart).backward()
        recorder.batch(indices=rows(step))
        run.step(optimizer)
        with torch.no_grad():
            for own, followed in zip(teacher.parameters(), net.parameters(), strict=True):
                own.lerp_(followed, 0.1)
    recorder.close()
    return net


def one_cycle(optimizer: torch.optim.Optimizer) -> Any:
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=STEPS + 1)


SOUND: dict[str, Situation] = {
    "validated without gradients": Situation(plain(after=validate, model=normalized), model=normalized),
    "checkpoints are saved": Situation(plain(after=save, model=normalized), model=normalized),
    "an average of the weights is validated": Situation(plain(after=averaged())),
    "gradients and activations are logged": Situation(plain(between=log, model=dropout), model=dropout),
    "the learning rate follows one cycle": Situation(plain(after=scheduled(one_cycle))),
    "gradients are accumulated, the last ones fewer": Situation(accumulated, model=dropout),
    "micro-batches are weighted by their sizes": Situation(by_tokens(told=True)),
    "the weights of micro-batches are not told": Situation(by_tokens(told=False)),
    "a run is resumed from a checkpoint": Situation(resumed),
    "mixed precision": Situation(plain(loss=lambda step: in_half_precision), loss=in_half_precision),
    "another model trains beside": Situation(two_models),
    "a cell is interrupted and run again": Situation(interrupted),
    "two optimizers are recorded together": Situation(two_optimizers),
}
"""Situations by name."""

NOT_SOUND: dict[str, Situation] = {
    "a teacher follows the model": Situation(mean_teacher, "refused"),
}
"""Their relatives that cannot be right."""
