"""Models as people keep them, and the wrappers around them."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint


class Net(nn.Module):
    """A network that the others are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)  # type: ignore[no-any-return]


class WithHooks(Net):
    """An attribute that is called as PyTorch's own are."""

    def __init__(self) -> None:
        super().__init__()
        self.hooks = [self.net[0].register_forward_hook(lambda module, inputs, output: output * 2)]


class Owned(Net):
    """Knows itself in every way: by name, weakly, by a bound method and a wrapped forward."""

    def __init__(self) -> None:
        super().__init__()
        self.__dict__["owner"], self.itself = self, weakref.ref(self)
        self.__dict__["proxy"] = weakref.proxy(self)
        self.scores, forward = partial(self.head, factor=2.0), self.forward

        def wrapped(x: Tensor) -> Tensor:
            return forward(x) + self.itself().net[2].bias + self.proxy.net[2].bias  # type: ignore[union-attr]

        self.forward = wrapped  # type: ignore[method-assign]

    def head(self, x: Tensor, factor: float) -> Tensor:
        return self.owner.net(x) * factor  # type: ignore[no-any-return,union-attr,operator]

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(x)


class Calling:
    """Calls a function, as wrappers of libraries do; like some of these, it is not to be copied as it is."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)

    def __copy__(self) -> None:
        raise RuntimeError("a prepared model is not copied")


class Head:
    """Holds a layer of a model, what calls another one, and a lock."""

    def __init__(self, model: Net) -> None:
        self.layer, self.lock = model.net[2], threading.Lock()
        self.before = Calling(lambda x: model.net[1](model.net[0](x)))

    def scores(self, x: Tensor) -> Tensor:
        with self.lock:
            return self.layer(self.before(x))  # type: ignore[no-any-return]


class Prepared(Net):
    """Its forward was put into an object that is called, and in eval mode other objects and a list lead to it."""

    def __init__(self) -> None:
        super().__init__()
        self.parts, calling = Head(self), Calling(self.forward)
        methods = {"forward": [calling]}
        self.forward = lambda x: methods["forward"][0](x)  # type: ignore[method-assign]

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) if self.training else self.parts.scores(x)  # type: ignore[no-any-return]


class Features(Net):
    """Reads in its forward pass what a hook, a function defined in ``__init__``, puts on it."""

    def __init__(self) -> None:
        super().__init__()
        self.features: dict[str, Any] = {}

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            self.features["hidden"] = output

        self.net[1].register_forward_hook(keep)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) + self.features["hidden"][:, :3]  # type: ignore[no-any-return]


class Activation(Net):
    """Keeps its last activation, alone and in a list."""

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.net(x)
        self.all = [self.last]
        return self.last


class Machinery(Net):
    """Holds a lock, an open file and both in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.lock, self.file = threading.Lock(), Path(os.devnull).open()  # noqa: SIM115
        self.both = {"lock": self.lock, "last": self.net[0].weight * 2}

    def forward(self, x: Tensor) -> Tensor:
        with self.lock, self.both["lock"] if self.both["lock"] is not self.lock else threading.Lock():
            return self.net(x)  # type: ignore[no-any-return]


class Statistics(Net):
    """Puts new tensors in the place of its buffers."""

    mean: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
            self.count = self.count + 1
        return self.net(x - self.mean) / (1 + 0.01 * self.count)  # type: ignore[no-any-return]


class Checkpointed(Net):
    """Computes its activations again in the backward pass."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net[2](checkpoint(self.net[:2], x, use_reentrant=False))  # type: ignore[no-any-return]


class Autocast(Net):
    """Computes in bfloat16."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.net(x).float()  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    """Holds its weights also in lists, and weakly."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x.view(-1, 3, 2))[0][:, -1])  # type: ignore[no-any-return]


def changed(change: Callable[[nn.Linear], object]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        model = Net()
        change(model.net[0])  # type: ignore[arg-type]
        return model

    return make


def lazy() -> nn.Module:
    model = nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(3))
    model(torch.zeros(1, 6))
    return model


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")  # type: ignore[return-value]


def compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="eager")
    return model


def compiled_in_part(model: nn.Module) -> nn.Module:
    model.net[0] = compiled(model.net[0])  # type: ignore[index,operator]
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "hooks": WithHooks, "itself": Owned, "prepared": Prepared, "features": Features, "activation": Activation,
    "machinery": Machinery, "statistics": Statistics, "checkpointing": Checkpointed, "autocast": Autocast,
    "LSTM": Recurrent, "lazy": lazy,
    "pruned": changed(lambda layer: prune.l1_unstructured(layer, "weight", 0.3)),
    "weight norm": changed(parametrizations.weight_norm), "old weight norm": changed(weight_norm),
    "spectral norm": changed(parametrizations.spectral_norm), "old spectral norm": changed(spectral_norm),
    "gradient hook": changed(lambda layer: layer.weight.register_hook(lambda gradient: gradient.clamp(-0.01, 0.01))),
}  # fmt: skip


def parallel(model: nn.Module) -> nn.Module:
    """Wrap as on a machine without GPUs, where the wrapper calls the model as it is."""
    wrapped = nn.DataParallel(model).cpu()
    wrapped.device_ids = []
    return wrapped


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "compiled": compiled, "compiled in place": compiled_in_place, "compiled in part": compiled_in_part,
    "parallel": parallel, "compiled, parallel": lambda model: parallel(compiled(model)),
}  # fmt: skip


def made(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make()
