"""Loops that do something between the steps which a recorder might miss."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.situations.harness import (
    INPUTS,
    STEPS,
    Loop,
    Situation,
    Try,
    batch,
    cross_entropy,
    dropout,
    mlp,
    normalized,
    rows,
)

Change = Callable[[int, nn.Module, torch.optim.Optimizer], None]
"""What a loop does at a step: ``change(step, model, optimizer)``."""


def nothing(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Do nothing."""


def sgd(model: nn.Module, lr: float = 0.1) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


def plain(
    before: Change = nothing,
    between: Change = nothing,
    after: Change = nothing,
    at_end: Change = nothing,
    model: Callable[[], nn.Module] = mlp,
    loss: Callable[[int], Callable[..., Tensor]] = lambda step: cross_entropy,
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] = sgd,
    **options: object,
) -> Loop:
    """Return a usual loop that does something ``before`` a forward pass, before a step (``between``), ``after`` it."""

    def loop(run: Try) -> nn.Module:
        net = model()
        torch.manual_seed(5)
        random.seed(5)
        np.random.seed(5)
        own = optimizer(net)
        recorder = run.recorder(net, own, **options)
        has_buffers = bool(list(net.buffers()))
        for step in range(STEPS):
            before(step, net, own)
            if not (has_buffers and run.leaves_out):  # a step that is left out leaves statistics as they are
                own.zero_grad()
                loss(step)(net, batch(step)).backward()
                recorder.batch(indices=rows(step))
                between(step, net, own)
            run.step(own)
            after(step, net, own)
        at_end(STEPS, net, own)
        recorder.close()
        return net

    return loop


def at(*steps: int) -> Callable[[Change], Change]:
    """Return a decorator: do it at these steps alone."""

    def only(change: Change) -> Change:
        return lambda step, model, optimizer: change(step, model, optimizer) if step in steps else None

    return only


@at(20)
def clear_state(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.state.clear()


@at(20)
def halve_momentum(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for slots in optimizer.state.values():
        slots["momentum_buffer"].mul_(0.5)


@at(20)
def reload_own_state(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def restore_rows(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    with torch.no_grad():
        model[0].weight[:3] = mlp()[0].weight[:3]


def clamp(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for parameter in model.parameters():
        parameter.data.clamp_(-0.4, 0.4)


def reload_best() -> Loop:
    """On a plateau the best weights so far are loaded again."""
    best: dict[str, Tensor] = {}

    def change(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if step == 12:
            best.update(copy.deepcopy(model.state_dict()))
        if step == 30:
            model.load_state_dict(best)

    return plain(before=change)


def smoothed(model: nn.Module, given: tuple[Tensor, Tensor]) -> Tensor:
    return functional.cross_entropy(model(given[0]), given[1], label_smoothing=0.4)


def penalized(model: nn.Module, given: tuple[Tensor, Tensor]) -> Tensor:
    return cross_entropy(model, given) + model(given[0]).pow(2).mean()


def clip(limit: Callable[[int], float]) -> Change:
    def change(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        nn.utils.clip_grad_norm_(model.parameters(), limit(step))

    return change


def warm_up(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.param_groups[0]["lr"] = 0.1 * min(1.0, step / 10)


def numpy_draw() -> float:
    return float(np.random.rand())  # a method would be copied with the model, and its generator with it


class LayerDrop(nn.Module):
    """Leaves out a layer by Python's, or NumPy's, random numbers."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.draw = draw

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(inputs))
        if not self.training or self.draw() > 0.5:
            hidden = torch.tanh(self.middle(hidden))
        return self.last(hidden)


def layer_drop(draw: Callable[[], float]) -> Callable[[], nn.Module]:
    def model() -> nn.Module:
        torch.manual_seed(0)
        return LayerDrop(draw)

    return model


def validate(mode: bool, every: int = 5, *, gradients: bool = True) -> Change:
    """Evaluate in train or eval mode, with gradients or without."""

    def change(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if step % every == every - 1:
            with torch.set_grad_enabled(gradients):
                model.train(mode)(INPUTS * 3 + 1).sum().item()
            model.train()

    return change


def stay_in_eval_mode(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    if step == 13:
        model.eval()


def announced_first(run: Try) -> nn.Module:
    """Announced, then validated with gradients, then differentiated."""
    net = dropout()
    torch.manual_seed(5)
    optimizer = sgd(net)
    recorder = run.recorder(net, optimizer)
    for step in range(STEPS):
        optimizer.zero_grad()
        output = net(batch(step)[0])
        recorder.batch(indices=rows(step))
        net.eval()(INPUTS).sum().item()
        net.train()
        functional.cross_entropy(output, batch(step)[1]).backward()
        run.step(optimizer)
    recorder.close()
    return net


def skipped_before_backward(run: Try) -> nn.Module:
    """Batches whose loss is "not finite" are left out after they were announced."""
    net = mlp()
    optimizer = sgd(net)
    recorder = run.recorder(net, optimizer)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = cross_entropy(net, batch(step))
        recorder.batch(indices=rows(step), loss=loss)
        if step in (7, 8, 21, 33):
            continue
        loss.backward()
        run.step(optimizer)
    recorder.close()
    return net


def broken_off(set_to_none: bool) -> Loop:
    """What was accumulated is dropped: gradients are set to None, or to zero."""

    def loop(run: Try) -> nn.Module:
        net = mlp()
        optimizer = sgd(net)
        recorder = run.recorder(net, optimizer)
        for step in range(STEPS):
            optimizer.zero_grad(set_to_none)
            recorder.batch(indices=rows(step))
            cross_entropy(net, batch(step)).backward()
            if step in (3, 9, 10):
                continue
            run.step(optimizer)
        recorder.close()
        return net

    return loop


def new_optimizer(make: Callable[[nn.Module], torch.optim.Optimizer]) -> Loop:
    """In the middle the loop makes itself another optimizer."""

    def loop(run: Try) -> nn.Module:
        net = mlp()
        optimizer: torch.optim.Optimizer = sgd(net)
        recorder = run.recorder(net, optimizer)
        for step in range(STEPS):
            if step == 20:
                optimizer = make(net)
            optimizer.zero_grad()
            cross_entropy(net, batch(step)).backward()
            recorder.batch(indices=rows(step))
            run.step(optimizer)
        recorder.close()
        return net

    return loop


def second_optimizer(run: Try) -> nn.Module:
    """One of two optimizers is recorded."""
    net = mlp()
    body, head = torch.optim.SGD(net[0].parameters(), lr=0.1), torch.optim.SGD(net[2].parameters(), lr=0.5)
    recorder = run.recorder(net, body)
    for step in range(STEPS):
        body.zero_grad()
        head.zero_grad()
        cross_entropy(net, batch(step)).backward()
        recorder.batch(indices=rows(step))
        run.step(body)
        if step % 10 == 9:
            head.step()
    recorder.close()
    return net


def loaded_after_the_recorder(run: Try) -> nn.Module:
    """The weights to begin with are loaded after the recorder was made."""
    net = mlp()
    optimizer = sgd(net)
    recorder = run.recorder(net, optimizer)
    net.load_state_dict({name: 0.5 * value for name, value in net.state_dict().items()})
    for step in range(STEPS):
        optimizer.zero_grad()
        cross_entropy(net, batch(step)).backward()
        recorder.batch(indices=rows(step))
        run.step(optimizer)
    recorder.close()
    return net


LOOPS: dict[str, Situation] = {
    "nothing unusual": Situation(plain()),
    "the optimizer's state is cleared midway": Situation(plain(before=clear_state)),
    "the momentum is halved midway": Situation(plain(before=halve_momentum), "refused", "what the optimizer keeps"),
    "the optimizer's own state is loaded again": Situation(plain(before=reload_own_state)),
    "rows are restored after each step": Situation(plain(after=restore_rows), "refused", "wrote to the weights"),
    "weights are clamped after each step": Situation(plain(after=clamp), "refused"),
    "the best weights are loaded midway": Situation(reload_best(), "refused", "wrote to the weights"),
    "the loss changes midway": Situation(
        plain(loss=lambda t: cross_entropy if t < 20 else smoothed), "refused", "until step 20 the losses are those"
    ),
    "every fourth loss has a penalty": Situation(
        plain(loss=lambda t: penalized if t % 4 == 3 else cross_entropy), "refused"
    ),
    "the limit of clipping changes midway": Situation(
        plain(between=clip(lambda t: 0.5 if t < 10 else 0.05), clip=0.5), "refused"
    ),
    "a warm-up from zero hides a wrong loss": Situation(
        plain(before=warm_up, loss=lambda t: smoothed), "refused", skipped=range(20, 24)
    ),
    "a layer is dropped by Python's random numbers": Situation(
        plain(model=layer_drop(random.random)), model=layer_drop(random.random)
    ),
    "a layer is dropped by NumPy's random numbers": Situation(
        plain(model=layer_drop(numpy_draw)), model=layer_drop(numpy_draw)
    ),
    "validated in train mode, with batch normalization": Situation(
        plain(after=validate(True, gradients=False), model=normalized),
        "refused",
        "the model was called in train mode outside of its training steps",
        model=normalized,
    ),
    "validated in eval mode with gradients": Situation(plain(before=validate(False), model=dropout), model=dropout),
    "validated in train mode with gradients": Situation(plain(before=validate(True), model=dropout), model=dropout),
    "validated before the step in eval mode": Situation(plain(between=validate(False), model=dropout), model=dropout),
    "validated before the step in train mode": Situation(plain(between=validate(True), model=dropout), model=dropout),
    "eval mode is not left again": Situation(plain(before=stay_in_eval_mode, model=dropout), model=dropout),
    "announced, then validated with gradients": Situation(announced_first, model=dropout),
    "batches are left out before their backward pass": Situation(skipped_before_backward),
    "accumulated gradients are set to None": Situation(broken_off(True)),
    "accumulated gradients are set to zero": Situation(broken_off(False)),
    "a new optimizer of the same kind": Situation(new_optimizer(lambda net: sgd(net, 0.05))),
    "a new optimizer of another kind": Situation(
        new_optimizer(lambda net: torch.optim.Adam(net.parameters())), "refused", "another optimizer (Adam)"
    ),
    "a second optimizer that is not recorded": Situation(
        second_optimizer, "refused", '"2.weight", and is not recorded'
    ),
    "weights are loaded after the recorder was made": Situation(loaded_after_the_recorder),
}
"""Situations by name."""
