"""Models whose parameters are renamed by a wrapper, around all or a part: ``torch.compile``, data parallel.

Names are those of the model without wrappers, so a run and a study agree whichever of them was given one.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from aadsl.core.errors import AadslError


def layers(model: nn.Module) -> list[nn.Module]:
    """Return a module's wrappers from the outside to the inside, and last the module itself."""
    found = [model]
    while True:
        parallel = type(found[-1]).__name__ in ("DataParallel", "DistributedDataParallel")
        inner = dict(found[-1].named_children()).get("module" if parallel else "_orig_mod")
        if inner is None:
            return found
        found.append(inner)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside its wrappers; one without any is returned itself."""
    return layers(model)[-1]


def named_modules(model: nn.Module, *, remove_duplicate: bool = True) -> Iterator[tuple[str, nn.Module]]:
    """Yield modules with their names, as the method of that name does, but none of the wrappers."""
    met: set[int] = set()

    def walk(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
        module = unwrapped(module)
        if id(module) in met:
            return
        if remove_duplicate:
            met.add(id(module))
        yield name, module
        for key, child in module._modules.items():
            if child is not None:
                yield from walk(child, _join(name, key))

    return walk(model, "")


def named_parameters(model: nn.Module, *, remove_duplicate: bool = True) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield parameters with their names, as the method of that name does, but through wrappers."""
    met: set[int] = set()
    for prefix, module in named_modules(model, remove_duplicate=remove_duplicate):
        for key, parameter in module._parameters.items():
            if parameter is not None and id(parameter) not in met:
                if remove_duplicate:
                    met.add(id(parameter))
                yield _join(prefix, key), parameter


def named_buffers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield buffers with their names, as the method of that name does, but through wrappers."""
    met: set[int] = set()
    for prefix, module in named_modules(model):
        for key, buffer in module._buffers.items():
            if buffer is not None and id(buffer) not in met:
                met.add(id(buffer))
                yield _join(prefix, key), buffer


def require_initialized(model: nn.Module) -> None:
    """Raise AadslError where a lazy layer (``nn.LazyLinear``) does not know its sizes yet."""
    for name, tensor in [*named_parameters(model), *named_buffers(model)]:
        if is_lazy(tensor):
            raise AadslError(
                f'"{name}" of the model has no shape yet: its layer is lazy, and has seen no input',
                hint="call the model once on a batch before you give it here, and before you make its optimizer",
            )


def require_one_device(model: nn.Module) -> None:
    """Raise AadslError where ``nn.DataParallel`` splits batches over GPUs, and what each part is decides the pass."""
    split = next((len(one.device_ids) for one in layers(model) if isinstance(one, nn.DataParallel)), 0)
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
    if split > 1 and (found := next((one for one in unwrapped(model).modules() if isinstance(one, kinds)), None)):
        raise AadslError(
            f"nn.DataParallel splits each batch over {split} GPUs, on each of which {type(found).__name__} has "
            "statistics or random numbers of its own; no replay has those",
            hint="train on one GPU, nn.DataParallel(model, device_ids=[0]), or with DistributedDataParallel",
        )


def _join(prefix: str, key: str) -> str:
    return f"{prefix}.{key}" if prefix else key
