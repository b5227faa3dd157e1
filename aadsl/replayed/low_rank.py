"""Finds low-rank adapters (LoRA) in a model: their factors, the weights that they are added to, and their scales."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from torch import Tensor, nn

from aadsl.core.errors import AadslError
from aadsl.core.wrappers import named_modules, named_parameters
from aadsl.trajectory import Merge, without_peft

PAIRS = (("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B"), ("lora_a", "lora_b"), ("lora_down", "lora_up"))
SCALES = ("scaling", "scale")  # of a layer: a number, or one for each of its adapters, by name


@dataclass(frozen=True)
class LoraMerged:
    """A run begins with the adapters merged that the one before it trained; as :func:`aadsl.lora_merged` has it."""

    a: str = ""
    b: str = ""
    weight: str = ""
    into: str = ""
    scale: float | None = None


class Adapter(NamedTuple):
    """The names of A and B, of the layer that holds them, and of the adapter among those of the layer."""

    a: str
    b: str
    layer: str
    name: str


class Adapted:
    """The model of a run that trained adapters.

    Args:
        run: the run's name.
        model: its model.
        trained: the names of what it trained.
    """

    def __init__(self, run: str, model: nn.Module, trained: Iterable[str]) -> None:
        self._run, self._trained = run, list(trained)
        self._layers, self._tensors = dict(named_modules(model)), dict(named_parameters(model))

    def merges(self, said: LoraMerged, later: nn.Module, run: str) -> Iterator[Merge]:
        """Yield how a later ``run`` begins with the adapters that ``said`` means: they are in the weights of ``later``.

        Raises:
            AadslError: there are none; or one has no weight beside it or in the later model, or no scale.
        """
        found, there = [*self._adapters([(said.a, said.b)] if said.a else PAIRS)], dict(named_parameters(later))
        if not found:
            a, b = (said.a, said.b) if said.a else PAIRS[0]
            raise AadslError(
                f'joins: {self._run} trained no "{a}" and "{b}" that could be merged',
                hint=f'say their names: aadsl.lora_merged(a="down", b="up"); it trained {_some(self._trained)}',
            )
        for one in found:
            weight = self._weight(one, said)
            swapped, transposed = self._placed(one, weight) or (False, False)
            a, b = (one.b, one.a) if swapped else (one.a, one.b)
            names = [_join(one.layer, said.into)] if said.into else [weight, _join(one.layer, weight.split(".")[-1])]
            names += [without_peft(name) for name in names]
            into = next((n for n in names if n in there and there[n].shape == self._tensors[weight].shape), None)
            if into is None:
                raise AadslError(
                    f"joins: the model of {run} has no weight of the shape {tuple(self._tensors[weight].shape)} into "
                    f'which the adapters of "{weight}" were merged; looked for {_some(dict.fromkeys(names))}',
                    hint='say what it is called in its layer there: aadsl.lora_merged(into="weight")',
                )
            yield Merge(a, b, weight, into, self._scale(one, said), transposed)

    def rest(self, merges: Iterable[Merge]) -> list[str]:
        """Return what it trained of adapters besides, which no merging accounts for: magnitudes, biases."""
        known = {name for one in merges for name in (one.a, one.b)}
        return [name for name in self._trained if "lora" in name.lower() and name not in known]

    def _adapters(self, pairs: Iterable[tuple[str, str]]) -> Iterator[Adapter]:
        for name, (a, b) in product(self._trained, pairs):
            parts = name.split(".")
            if a in parts:
                place = parts.index(a)
                other = ".".join([*parts[:place], b, *parts[place + 1 :]])
                if other in self._trained:
                    yield Adapter(name, other, ".".join(parts[:place]), ".".join(parts[place + 1 : place + 2]))

    def _weight(self, one: Adapter, said: LoraMerged) -> str:
        """Return the name of W: what has the shape of BA in the layer."""
        known = {part for pair in (*PAIRS, (said.a, said.b)) for part in pair}
        inside = [name for name in self._tensors if name.startswith(f"{one.layer}." if one.layer else "")]
        names = [_join(one.layer, said.weight)] if said.weight else [n for n in inside if not known & {*n.split(".")}]
        fitting = [name for name in names if name in self._tensors and self._placed(one, name)]
        if len(fitting) == 1:
            return fitting[0]
        shapes = " and ".join(f'"{name}" {tuple(self._tensors[name].shape)}' for name in (one.a, one.b))
        raise AadslError(
            f"joins: which weight do {shapes} of {self._run} belong to? {_some(fitting) or 'None'} of "
            f"{_some(names) or 'their layer'} fit",
            hint='say what it is called in their layer: aadsl.lora_merged(weight="base.weight")',
        )

    def _placed(self, one: Adapter, weight: str) -> tuple[bool, bool] | None:
        """Return whether A and B change places, as in x·A·B, and their product is transposed; None where none fits."""
        w, a, b = (self._tensors[name] for name in (weight, one.a, one.b))
        if min(w.dim(), a.dim(), b.dim()) < 2:
            return None
        in_first = getattr(self._layers.get(one.layer), "fan_in_fan_out", False) is True or "embedding" in one.a
        for swapped in (False, True):
            left, right = (a, b) if swapped else (b, a)
            shape = len(left), right[0].numel()
            if left[0].numel() == len(right):
                # Where the weight is square, both would do: x·A·B is x·Wᵀ with Wᵀ = AB.
                for transposed in sorted((False, True), reverse=swapped != in_first):
                    if (w.shape[::-1] if transposed else (len(w), w[0].numel())) == shape:
                        return swapped, transposed
        return None

    def _scale(self, one: Adapter, said: LoraMerged) -> float:
        if said.scale is not None:
            return said.scale
        layer = self._layers.get(one.layer)
        for value in (getattr(layer, name, None) for name in SCALES):
            value = value.get(one.name) if isinstance(value, dict) else value
            if isinstance(value, int | float):
                return float(value)
            if isinstance(value, Tensor) and value.numel() == 1 and not isinstance(value, nn.Parameter):
                return float(value)
        raise AadslError(
            f'joins: by what the product of "{one.a}" and "{one.b}" is multiplied cannot be read off their layer, a '
            f"{type(layer).__name__}",
            hint="say it: aadsl.lora_merged(scale=2.0); of PEFT it is alpha / r",
        )


def _join(layer: str, name: str) -> str:
    return f"{layer}.{name}" if layer else name


def _some(names: Iterable[str]) -> str:
    found = [*names]
    return ", ".join(found[:6]) + (" …" if len(found) > 6 else "")
