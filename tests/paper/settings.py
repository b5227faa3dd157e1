"""What a setting of the paper's Tables 2 and 6 is: three jobs of training that follow on each other, a stage each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.paper.runs import Batch, Development, Job, in_order


class NotAtHandError(Exception):
    """Data or a package are missing; the message names what. All that is needed is in ``Setting.needs``."""


class Scale(NamedTuple):
    """How large a setting is, and how it is trained.

    Attributes:
        examples, batch: of each stage, and of each of its steps.
        tests: examples of each test set.
        rate: the learning rate.
        epochs: of each stage.
        pretraining: steps before the first stage, where the setting trains its own start.
        seeds: how often everything is done, each time with another start and other examples.
    """

    examples: int
    batch: int
    tests: int
    rate: float
    epochs: int = 1
    pretraining: int = 0
    seeds: int = 1

    def toy(self) -> Scale:
        """Return the same in small."""
        return self._replace(examples=8, batch=4, tests=8, pretraining=min(self.pretraining, 2), seeds=1)


class Setting(NamedTuple):
    """A row of Table 2.

    Attributes:
        title: of its section.
        said: what is trained, and how that differs from the paper.
        make: returns what is trained, of the folder of the data, a seed and the scale; raises NotAtHandError.
        scale: the paper's where it says one.
        paper: the rows of its Table 2, {method: its three stages}.
        needs: what has to lie in the folder of the data.
    """

    title: str
    said: str
    make: Callable[[Path, int, Scale], Development]
    scale: Scale
    paper: Mapping[str, Sequence[float]] = {}
    needs: str = ""


def staged(
    model: nn.Module, train: Mapping[str, Batch], tests: Mapping[str, Batch], scale: Scale, **more: Any
) -> Development:
    """Return jobs that follow on each other, each a stage, momentum 0.9 and weight decay 1e-5 (appendix E)."""
    batches = in_order(scale.examples, scale.batch, scale.epochs)
    jobs = [Job(name, data, batches, scale.rate) for name, data in train.items()]
    stages = {name: range(k * len(batches), (k + 1) * len(batches)) for k, name in enumerate(train)}
    return Development(model, jobs, stages, tests, **more)


def wanted(package: str) -> Any:
    """Import a package of the extra ``paper``."""
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        raise NotAtHandError(f"the package `{error.name}`") from error
    except (ImportError, OSError, RuntimeError) as error:  # such as one that was built for another PyTorch
        raise NotAtHandError(f"the package `{package}`, which cannot be imported ({error})") from error


def drawn(draw: np.random.Generator, rows: NDArray[np.int64], count: int, what: str) -> NDArray[np.int64]:
    """Return ``count`` of the rows, in random order."""
    if len(rows) < count:
        raise NotAtHandError(f"{count - len(rows)} of {count} {what}")
    return draw.permutation(rows)[:count]


def stacked(dataset: Any, rows: NDArray[np.int64], image: Callable[[Any], Any], labels: Any) -> tuple[Tensor, Tensor]:
    """Return the images of some items, float (n, channels, height, width), and their labels (n,)."""
    images = [torch.as_tensor(image(dataset[int(row)])) for row in rows]
    return torch.stack(images).float(), torch.as_tensor(np.asarray(labels)[rows]).long()
