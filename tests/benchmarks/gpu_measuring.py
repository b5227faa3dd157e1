"""How ``tests.benchmarks.gpu`` measures: each piece of work alone, with a limit of time, its peak memory beside it."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import aadsl
from aadsl.behaviors import BEHAVIORS
from aadsl.data.examples import Examples as Probes
from aadsl.errors import AadslError
from aadsl.estimators import ESTIMATORS
from aadsl.estimators.base import Behavior, Query
from aadsl.interventions import INTERVENTIONS, counterfactual, first_change
from aadsl.propagation import CURVATURES, NotFiniteError, ensemble, reruns
from aadsl.replayed.execution import Execution
from aadsl.replayed.history import History
from aadsl.verification.verify import verify_history
from tests.benchmarks.cost import loss_fn, scratch
from tests.benchmarks.gpu_cases import Case, Examples

Found = dict[str, Any]

WARM = 3  # steps of a run that warms up
PROBES = 100  # examples that the behavior is evaluated on
VERIFYING, SWEEPING = 15, 60  # seconds that each may take
SWEEPS = {"default": None, "central": "central_difference", "one-sided": "one_sided_difference"}


class TooLongError(BaseException):
    """The limit of time was reached. Like an interruption, nothing that goes on after errors goes on after it."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TooLongError in here after so many seconds; signals reach the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: object) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True)
class Bench:
    """A device, and what is measured on it; ``warm``: whether each case is run for a few steps before that."""

    device: torch.device
    warm: bool = True

    def clock(self) -> float:
        """Return the time in seconds, when all that was asked of the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def attempt(self, act: Callable[[], Found], limit: float) -> Found:
        """Return what ``act`` found, the seconds it took and its peak memory in bytes; or why there is none."""
        if self.device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        begun = self.clock()
        try:
            with limited(limit):
                found = {"seconds": 0.0, **act()}
                found["seconds"] = found["seconds"] or self.clock() - begun
        except torch.OutOfMemoryError:
            return {"failed": "out of memory"}
        except NotFiniteError:
            return {"failed": "not finite"}
        except TooLongError:
            return {"failed": f"over {limit:.0f} s"}
        except (AadslError, RuntimeError) as error:
            return {"failed": str(error).splitlines()[0][:80]}
        if self.device.type == "cuda":
            found["peak"] = torch.cuda.max_memory_allocated(self.device)
        return found

    def train(self, case: Case, data: Examples, folder: Path | None = None) -> tuple[nn.Module, Found]:
        """Train, recorded into ``folder`` if there is one; tell the seconds of the steps, and of closing, apart."""
        net = case.network(self.device)
        begun = self.clock()
        trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(trained, lr=case.rate, momentum=0.9, weight_decay=1e-5)
        recorder = None if folder is None else aadsl.Recorder(folder, net, optimizer, data=data)
        for step in range(case.steps):
            rows = torch.arange(case.batch * step, case.batch * (step + 1)) % len(data[0])
            batch = [part[rows].to(self.device) for part in data]
            optimizer.zero_grad()
            loss = loss_fn(net, batch)
            loss.backward()
            if recorder is not None:
                recorder.batch(indices=rows)
            optimizer.step()
        ended = self.clock()
        if recorder is None:
            return net, {"seconds": ended - begun}
        recorder.close()
        states = len(list(recorder.path.glob("state-*.nc")))
        return net, {"seconds": ended - begun, "closing": self.clock() - ended, "states": states}

    def opened(self, case: Case, data: Examples, folder: Path) -> History:
        trajectory = aadsl.open_trajectory(folder)
        model = case.network(self.device)
        return History(trajectory, model=model, loss=loss_fn, data=data, device=self.device)

    def run(self, case: Case) -> Found:
        """Return what recording, verification and sweeps cost beside plain training."""
        if self.warm:
            self._measured(replace(case, steps=min(WARM, case.steps)))
        return {"steps": case.steps, **self._measured(case)}

    def _measured(self, case: Case) -> Found:
        data = case.data()
        with scratch() as root:

            def training(folder: Path | None = None) -> Found:
                return self.attempt(lambda: self.train(case, data, folder)[1], SWEEPING)

            found: Found = {"plain": training(), "recorded": training(root / "run"), "again": training()}
            if "failed" in found["recorded"]:
                return found
            history = self.opened(case, data, root / "run")
            found["spot check"] = self.attempt(lambda: _verified(history, None), VERIFYING)
            if not case.brief:
                found["verification"] = self.attempt(lambda: _verified(history, 8), VERIFYING)
            for name in list(SWEEPS)[: 1 if case.brief else None]:
                found[f"sweep, {name}"] = self.attempt(lambda n=name: swept(history, data, SWEEPS[n]), SWEEPING)
        return found

    def ensemble(self, case: Case, runs: int, alone: int) -> Found:
        """Return what ``runs`` exact answers cost together, and as many one after the other, seen on ``alone`` ones."""
        data = case.data()
        with scratch() as root:
            self.train(case, data, root / "run")
            history = self.opened(case, data, root / "run")
            members = np.zeros((runs, case.steps), dtype=bool)
            members[np.arange(runs), np.arange(runs) * case.steps // (2 * runs)] = True
            varied = [counterfactual(INTERVENTIONS["skip"](), member) for member in members]
            firsts = [first_change(member) for member in members]
            every = slice(None, None, max(1, runs // alone))
            warm = slice(-1, None)  # the shortest one
            work = history, history.step_map

            def one_by_one(part: slice) -> Found:
                return {"runs": sum(1 for _ in reruns(*work, varied[part], firsts[part]))}

            def together(part: slice, size: int) -> Found:
                return {"runs": sum(1 for _ in ensemble(*work, varied[part], firsts[part], size=size))}

            self.attempt(lambda: one_by_one(warm), VERIFYING)
            found = {"one after the other": self.attempt(lambda: one_by_one(every), SWEEPING)}
            self.attempt(lambda: together(warm, runs), VERIFYING)
            return found | {"together": self.attempt(lambda: together(slice(None), runs), SWEEPING)}

    def twice(self, case: Case) -> Found:
        """Return how far the same training ends from itself, ‖a − b‖ / ‖change‖, by the kernels used."""
        data, found, before = case.data(), {}, torch.are_deterministic_algorithms_enabled()
        start = _flat(case.network(self.device))
        for name, strict in (("default kernels", False), ("deterministic kernels", True)):
            torch.use_deterministic_algorithms(strict, warn_only=True)

            def both() -> Found:
                self.train(replace(case, steps=min(WARM, case.steps)), data)
                (one, taken), (other, _) = self.train(case, data), self.train(case, data)
                apart = (_flat(one) - _flat(other)).norm() / (_flat(one) - start).norm()
                return {"apart": float(apart), **taken}

            try:
                found[name] = self.attempt(both, SWEEPING)
            finally:
                torch.use_deterministic_algorithms(before)
        return found


def swept(history: History, data: Examples, curvature: str | None) -> Found:
    """Sweep for one behavior; say which curvature that was done with, where it was chosen."""
    probes = Probes.of(tuple(part[:PROBES] for part in data))
    behavior = Behavior("probes", BEHAVIORS["log_likelihood"](), probes)
    first = np.arange(history.length)[None] == 0
    method = ESTIMATORS["first_order"](curvature=None if curvature is None else CURVATURES[curvature]())
    effects = method.answer(history, Query(first, (behavior,), INTERVENTIONS["skip"]()), Execution())
    if not np.isfinite(effects.step_effect).all():
        return {"failed": "not finite"}
    return {"curvature": "" if curvature else effects.curvature}


def _verified(history: History, samples: int | None) -> Found:
    return {"passed": verify_history(history, samples).ok}


def _flat(net: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters() if parameter.requires_grad])
