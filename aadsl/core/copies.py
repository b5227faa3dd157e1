"""Copies of models as people keep them: with activations, locks, hooks and references to themselves.

``copy.deepcopy`` refuses a model that holds an activation, a lock or an open file, and lets the weak references and the
functions of a copy (a hook defined inside ``__init__``, a wrapped ``forward``) lead back to the original; so does an
object that holds such a function, or that it cannot copy (Accelerate's wrapper of ``forward`` is both).
"""

from __future__ import annotations

import copy
import weakref
from collections import ChainMap, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from aadsl.core.errors import AadslError
from aadsl.core.wrappers import layers

# What every module has: its parts, weights and hooks. It is copied first, for handles of hooks refer to it.
_INTERNAL = vars(nn.Module()).keys()
_COMPILED = "_compiled_call_impl"  # of model.compile(): it calls the original


def copied(model: nn.Module, shared: Iterable[Any] = ()) -> nn.Module:
    """Return a copy of a model, itself and its parts without their wrappers (``torch.compile``, data parallel).

    Its tensors are its own; activations come without their graph. What leads to the model leads to the copy. What
    cannot be copied (a lock, an open file, an object that holds one and does not lead to the model) is shared, and what
    is in ``shared``.

    Raises:
        AadslError: a module copies itself (``__deepcopy__``), and fails.
    """
    copier = _Copier()
    copier.memo.update({id(one): one for one in shared})
    found: nn.Module = copier.copy(model)
    return found


class _Copier:
    """Copies values of all kinds, each object once: ``memo`` knows the copies by the id of the original."""

    def __init__(self) -> None:
        self.memo: dict[int, Any] = {}
        self._alive: list[Any] = []  # what would otherwise be gone, and its id given to something else

    def copy(self, value: Any) -> Any:
        """Return the copy of a value; the value itself where it cannot be copied, or need not."""
        kind = type(value)
        if kind in (type(None), bool, int, float, str):
            return value
        if id(value) not in self.memo:
            make = next((make for known, make in _KINDS if issubclass(kind, known)), _Copier._object)
            self.memo[id(value)] = _CONTAINERS.get(kind, make)(self, value)
        return self.memo[id(value)]

    def _module(self, module: nn.Module) -> nn.Module:
        shells = list(self._shells(module))
        for internal in (True, False):
            for original, shell in shells:
                names = [n for n in vars(original) if n != _COMPILED and (n in _INTERNAL) is internal]
                vars(shell).update({name: self.copy(vars(original)[name]) for name in names})
        found: nn.Module = self.memo[id(module)]
        return found

    def _shells(self, module: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
        """Yield each module of a tree with an empty one of its class; ``memo`` has that for its wrappers, too."""
        *wrappers, inner = layers(module)
        if id(inner) not in self.memo:
            if hasattr(inner, "__deepcopy__") and not is_parametrized(inner):
                self.memo[id(inner)] = self._by_itself(inner)
            else:
                self.memo[id(inner)] = type(inner).__new__(type(inner))
                yield inner, self.memo[id(inner)]
                for child in inner._modules.values():
                    if child is not None:
                        yield from self._shells(child)
        self.memo.update({id(wrapper): self.memo[id(inner)] for wrapper in wrappers})

    def _by_itself(self, module: nn.Module) -> nn.Module:
        try:
            return copy.deepcopy(module, self.memo)
        except Exception as error:  # whatever a user's own __deepcopy__ raises
            raise AadslError(
                f"the model's {type(module).__name__} cannot be copied: {type(error).__name__}: {error}",
                hint="it has a __deepcopy__ of its own: make copy.deepcopy(model) work, or leave that method out",
            ) from error

    def _tensor(self, value: Tensor) -> Any:
        if not value.is_leaf:
            return value.detach().clone()
        made = self._object(value)
        if hooks := value._backward_hooks:  # those that change its gradient; copy.deepcopy forgets them
            made._backward_hooks = self.copy(hooks)
        return made

    def _object(self, value: Any) -> Any:
        if _is_plain(value) and self._leads_home(value):
            return self._attributes(value)
        trial: ChainMap[int, Any] = ChainMap({}, self.memo)  # a copy that fails halfway leaves nothing behind
        try:
            made = copy.deepcopy(value, trial)  # type: ignore[arg-type]
        except Exception:  # of locks, files, generators: each says it in its own way
            return value
        (new, _) = trial.maps
        self._alive.append(new.pop(id(trial), None))
        self.memo.update(new)
        return made

    def _attributes(self, value: Any) -> Any:
        """Return an object whose attributes lead to the copy where those of this one lead to the model."""
        try:
            made = self.memo[id(value)] = object.__new__(type(value))
        except TypeError:  # it is a dict, say, with attributes
            return value
        vars(made).update({name: self.copy(held) for name, held in vars(value).items()})
        return made

    def _mapping(self, value: dict[Any, Any]) -> dict[Any, Any]:
        made = self.memo[id(value)] = type(value)()
        made.update({self.copy(key): self.copy(item) for key, item in value.items()})
        return made

    def _list(self, value: list[Any]) -> list[Any]:
        made: list[Any] = []
        self.memo[id(value)] = made
        made += [self.copy(item) for item in value]
        return made

    def _several(self, value: Any) -> Any:
        return type(value)([self.copy(item) for item in value])

    def _method(self, value: MethodType) -> MethodType:
        return MethodType(self.copy(value.__func__), self.copy(value.__self__))

    def _partial(self, value: partial[Any]) -> partial[Any]:
        made = partial(self.copy(value.func), *self.copy(value.args), **self.copy(value.keywords))
        vars(made).update(vars(value))
        return made

    def _reference(self, value: Any) -> Any:
        target = _target(value)
        if id(target) not in self.memo:
            return value
        return (weakref.ref if isinstance(value, weakref.ref) else weakref.proxy)(self.memo[id(target)])

    def _function(self, value: FunctionType) -> FunctionType:
        """Return a function that reads the copy where this one reads the model; one that does not may be shared."""
        old = value.__closure__ or ()
        if not any(self._leads_home(held) for held in _held(value)):
            return value
        cells = tuple(CellType() if self._leads_home(_content(cell)) else cell for cell in old)
        made = FunctionType(value.__code__, value.__globals__, value.__name__, None, cells)
        self.memo[id(value)] = made  # it may refer to itself
        for cell, original in zip(cells, old, strict=True):
            if cell is not original:
                cell.cell_contents = self.copy(original.cell_contents)
        defaults = value.__defaults__
        made.__defaults__ = defaults and tuple(self.copy(d) if self._leads_home(d) else d for d in defaults)
        made.__kwdefaults__ = value.__kwdefaults__
        vars(made).update(vars(value))
        return made

    def _leads_home(self, value: Any) -> bool:
        """Return whether a value, or what it holds, leads to a module that is being copied."""
        met, waiting = set[int](), [value]
        while waiting:
            one = waiting.pop()
            if id(one) in met:
                continue
            met.add(id(one))
            if issubclass(type(one), nn.Module) or type(one) in _WEAK:  # to a proxy isinstance() says what it is of
                if id(_target(one) if type(one) in _WEAK else one) in self.memo:
                    return True
            else:
                waiting += _held(one)
        return False


def _held(value: Any) -> list[Any]:
    """Return what a function, a bound method, a partial function, a container or an object holds."""
    if isinstance(value, FunctionType):
        return [*map(_content, value.__closure__ or ()), *(value.__defaults__ or ())]
    if isinstance(value, MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, partial):
        return [value.func, *value.args, *value.keywords.values()]
    if type(value) in _CONTAINERS:
        return [*value.values()] if isinstance(value, dict) else [*value]
    return [*vars(value).values()] if _is_plain(value) else []


def _is_plain(value: Any) -> bool:
    """Return whether a value is an object of somebody's class that has attributes, and does not copy itself."""
    special = isinstance(value, type | ModuleType) or hasattr(value, "__deepcopy__")
    return not special and hasattr(value, "__dict__")


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty yet
        return None


def _target(value: Any) -> Any:
    """Return what a weak reference or proxy refers to; None where that is gone."""
    if isinstance(value, weakref.ref):
        return value()
    try:
        return value.__repr__.__self__
    except ReferenceError:
        return None


_WEAK = (weakref.ref, weakref.ProxyType, weakref.CallableProxyType)
_CONTAINERS: dict[type, Callable[[_Copier, Any], Any]] = {
    dict: _Copier._mapping,
    OrderedDict: _Copier._mapping,
    list: _Copier._list,
    tuple: _Copier._several,
    set: _Copier._several,
}
_KINDS: tuple[tuple[Any, Callable[[_Copier, Any], Any]], ...] = (
    (Tensor, _Copier._tensor),
    (nn.Module, _Copier._module),
    (MethodType, _Copier._method),
    (FunctionType, _Copier._function),
    (partial, _Copier._partial),
    (_WEAK, _Copier._reference),
)
"""How a value is copied: those of exactly these types, or else of these kinds; all others by ``copy.deepcopy``."""
