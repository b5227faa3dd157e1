"""How a copy of a user's own optimizer is made: of its class and what was recorded of it, or as the user says."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import nan
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from aadsl.core.errors import AadslError
from aadsl.dynamics.base import Hyper
from aadsl.dynamics.kinds import class_of, in_words
from aadsl.dynamics.own_modes import has_modes

Make: TypeAlias = Callable[[Any], Optimizer]
"""Returns the optimizer for parameters: a list of them, or of dictionaries where it has several parameter groups."""

GroupOptions: TypeAlias = Mapping[str, Any]
"""What a recording holds of a parameter group besides scalars, as JSON has it: None, text, and lists of those."""


def prospects(optimizer: Optimizer, kind: str, known: Iterable[str]) -> str:
    """Return in a line what can be asked of a run of an optimizer that is none of those ``known``."""
    name, own = in_words(kind), type(optimizer)
    made_again, why = _tried(optimizer, kind)
    if why:
        return f"{name} {why}, which cannot be replayed: the recording can be read and charted, not scored"
    found = made_again and class_of(kind) is own and own.__module__ != "__main__"
    made = "" if found else f"; another process has to be told how {name} is made: Study(…, optimizer=make)"
    return (
        f"of a run with {name} exact answers can be had, using retraining(), but no estimates, as of {', '.join(known)}"
        f"{made}"
    )


def _tried(optimizer: Optimizer, kind: str) -> tuple[bool, str]:
    """Return whether one can be made of what is recorded; and in words, why it takes no step by itself; or ""."""
    own = type(optimizer)
    if _needs_closure(own):
        return True, "calls its loss several times a step (a closure)"
    parameter = nn.Parameter(torch.zeros(2, 2))
    try:
        made = maker(kind, options_of(optimizer), {kind: own})([parameter])
    except Exception:  # whatever a user's own code raises
        return False, ""
    parameter.grad = torch.ones(2, 2)
    try:
        if has_modes(made):
            made.train()  # type: ignore[attr-defined]
        made.step()
    except Exception as error:  # whatever a user's own code raises
        return True, f"takes no step by itself ({type(error).__name__}: {error})"
    return True, ""


def options_of(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return of each parameter group what its constructor was given, where JSON can hold that."""
    known = optimizer.defaults.keys()
    return [
        {name: value for name, value in group.items() if name in known and _is_plain(value)}
        for group in optimizer.param_groups
    ]


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def revived(value: Any, like: Any) -> Any:
    """Return a recorded option: JSON makes a list of a tuple."""
    return tuple(revived(item, None) for item in value) if isinstance(value, list) and type(like) is not list else value


def scalars_of(group: Mapping[str, Any], names: Sequence[str]) -> Hyper:
    """Return scalars of a parameter group as they are recorded; those of tuples are numbered: beta1, beta2.

    A learning rate that the optimizer finds itself, None, is NaN.
    """
    values: Hyper = {}
    for name in names:
        value = group.get(name)
        if type(value) is tuple:
            stem = name.removesuffix("s")
            values.update({f"{stem}{number}": item for number, item in enumerate(value, 1)})
        else:
            value = nan if value is None and name == "lr" else value
            values[name] = value.item() if isinstance(value, Tensor) else value
    return values


def put_scalars(group: dict[str, Any], hyper: Hyper) -> None:
    """Give a parameter group what :func:`scalars_of` returned of it."""
    for name, value in group.items():
        if name in hyper:
            group[name] = hyper[name] if value is not None or hyper[name] == hyper[name] else None
        elif type(value) is tuple:
            stem = name.removesuffix("s")
            group[name] = tuple(hyper.get(f"{stem}{number}", item) for number, item in enumerate(value, 1))


def maker(kind: str, options: Sequence[GroupOptions], classes: Mapping[str, type[Optimizer]]) -> Make:
    """Return what calls the class of a name with what was recorded of its first group.

    Raises:
        AadslError: there is no such class here.
    """
    own = classes.get(kind) or class_of(kind)
    if own is None:
        raise unmade(kind, "its class is not imported here")
    require_no_closure(own)
    taken = arguments_of(own)
    chosen = {name: revived(value, None) for name, value in options[0].items() if name in taken}
    return lambda params: own(params, **chosen)


def arguments_of(own: type[Optimizer]) -> set[str]:
    """Return the names that a constructor takes, and what it hands on those that the class above it takes."""
    names: set[str] = set()
    for above in own.__mro__:
        if "__init__" in vars(above):
            parameters = inspect.signature(vars(above)["__init__"]).parameters.values()
            names |= {p.name for p in parameters}
            if all(p.kind is not p.VAR_KEYWORD for p in parameters):
                break
    return names


def _needs_closure(own: type[Optimizer]) -> bool:
    closure = inspect.signature(inspect.unwrap(own.step)).parameters.get("closure")
    return closure is not None and closure.default is closure.empty


def require_no_closure(own: type[Optimizer]) -> None:
    """Raise AadslError where a step of the class evaluates the loss itself."""
    if _needs_closure(own):
        raise AadslError(
            f"the run was trained with {own.__name__}, which calls its loss several times a step (a closure), and "
            "cannot be replayed",
            hint="the recorded metadata can still be read and charted",
        )


def unmade(kind: str, why: str) -> AadslError:
    """Return what is said where an optimizer cannot be made again, and how the user can make it."""
    name = in_words(kind)
    return AadslError(
        f"the run was trained with {kind}; {why}",
        hint=f"import it, or say how it is made: Study(…, optimizer=lambda params: {name}(params, lr=…)), "
        "in a cell: load … with …, optimizer=make",
    )
