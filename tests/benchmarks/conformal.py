"""Split-conformal intervals around estimates of windows: which scale of their errors makes them hold and narrow.

For each network and behavior n random windows calibrate, all others are tested. With scores
s_i = |exact_i − estimate_i| / scale_i the interval is estimate ± q·scale, q the ⌈0.9 (n + 1)⌉-th smallest of the s_i:
for n = 9 to 18 their largest. An effect is *high* where its interval lies within 15 % of the estimate, else *medium*
where it excludes zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Run = dict[str, Floats]

LEVEL, NEAR, DRAWS = 0.9, 0.15, 40
MEASURES = "| coverage | worst tenth of runs | width / rms exact | high | medium | high, off by 15 % | wrong sign |"

ESTIMATES: dict[str, Callable[[Run], Floats]] = {
    "first_order": lambda run: run["first_order"],
    "linear": lambda run: run["linear"],
    "quadratic": lambda run: run["linear"] - 0.5 * run["bends"].sum(axis=-1),
}


def _bends(run: Run) -> Floats:
    return np.abs(run["bends"]).sum(axis=-1)


def _half(run: Run) -> Floats:
    return 0.5 * np.abs(run["bends"].sum(axis=-1))


def _sizes(run: Run) -> Floats:
    return np.broadcast_to(run["sizes"][:, None], run["exact"].shape)


def _lengths(run: Run) -> Floats:
    """Return ‖u_b‖ ‖E_b‖, with ‖u_{T−1}‖ for the window at the end."""
    width = run["steps"].shape[-1] - run["exact"].shape[-1] + 1
    ends = np.minimum(np.arange(run["exact"].shape[-1]) + width, run["steps"].shape[-1] - 1)
    return run["lengths"][..., ends] * _sizes(run)


def _with_median(values: Floats) -> Floats:
    return values + np.median(values, axis=-1, keepdims=True)


# Every scale may look at the estimates of all windows, which cost nothing; none may look at exact effects.
SCALES: dict[str, Callable[[Run, Floats], Floats]] = {
    "1": lambda run, estimate: np.ones_like(estimate),
    "|estimate|": lambda run, estimate: np.abs(estimate),
    "|estimate| + median": lambda run, estimate: _with_median(np.abs(estimate)),
    "|linear − quadratic|": lambda run, estimate: _half(run),
    "|linear − quadratic| + median": lambda run, estimate: _with_median(_half(run)),
    "Σ|λ⟨u_j,E⟩²|": lambda run, estimate: _bends(run),
    "Σ|λ⟨u_j,E⟩²| + median": lambda run, estimate: _with_median(_bends(run)),
    "‖E‖": lambda run, estimate: _sizes(run),
    "‖E‖²": lambda run, estimate: _sizes(run) ** 2,
    "‖u‖·‖E‖": lambda run, estimate: _lengths(run),
    "|estimate| + Σ|λ⟨u_j,E⟩²|": lambda run, estimate: np.abs(estimate) + _bends(run),
    "that + median": lambda run, estimate: _with_median(np.abs(estimate) + _bends(run)),
    "√(estimate² + median²)": lambda run, estimate: np.hypot(
        estimate, np.median(np.abs(estimate), axis=-1, keepdims=True)
    ),
    "|first_order − estimate| + median": lambda run, estimate: _with_median(np.abs(run["first_order"] - estimate)),
}


def relative_error(estimate: Floats, exact: Floats) -> Floats:
    """Return ‖estimate − exact‖ / ‖exact‖ over the last axis, at every fifth window."""
    off = np.linalg.norm((estimate - exact)[..., ::5], axis=-1) / np.linalg.norm(exact[..., ::5], axis=-1)
    return np.round(off, 3)


def report(runs: list[Run]) -> Iterator[str]:
    """Yield the tables; a run holds the arrays of all networks with one seed."""
    run = joined(runs)
    yield f"{len(runs)} seeds, {len(run['exact'])} runs of two behaviors"
    yield "\n| estimate | digits: median error (quartiles) | backdoor |\n| --- | --- | --- |"
    for name, estimate in ESTIMATES.items():
        errors = relative_error(estimate(run), run["exact"])
        cells = ["{1:.0%} ({0:.0%} to {2:.0%})".format(*np.quantile(own, (0.25, 0.5, 0.75))) for own in errors.T]
        yield f"| {name} | {' | '.join(cells)} |"
    for pooled, count in ((False, 15), (False, 9), (True, 9)):
        yield f"\n{count} windows calibrate{', both behaviors together' if pooled else ''}\n"
        yield "| estimate | scale " + MEASURES + "\n" + "| --- " * 9 + "|"
        for (name, estimate), (scale, of) in product(ESTIMATES.items(), SCALES.items()):
            if name == "quadratic" or scale in ("|estimate| + median", "‖E‖"):
                found = judged(run, estimate(run), of(run, estimate(run)), count, pooled)
                yield f"| {name} | {scale} | {' | '.join(found)} |"
    yield "\nquadratic, scale ‖E‖: *high* within less\n"
    yield "| calibrating | within " + MEASURES + "\n" + "| --- " * 9 + "|"
    estimate = ESTIMATES["quadratic"](run)
    for count, near in product((9, 12, 15, 18), (0.15, 0.125, 0.1)):
        yield f"| {count} | {near:.1%} | {' | '.join(judged(run, estimate, _sizes(run), count, False, near))} |"


def joined(runs: list[Run]) -> Run:
    """Return the arrays of all seeds, one after the other along the networks."""
    return {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}


def judged(run: Run, estimate: Floats, scale: Floats, count: int, pooled: bool, near: float = NEAR) -> list[str]:
    """Return how the intervals do: coverage, widths, and the shares of levels and of their mistakes."""
    tested, half = intervals(run["exact"], estimate, scale, count, pooled)
    exact, estimate = np.broadcast_to(run["exact"], half.shape), np.broadcast_to(estimate, half.shape)
    off = np.abs(exact - estimate)
    held = off <= half
    each = np.ma.masked_array(held, ~tested).mean(axis=(0, -1))
    rms = np.sqrt((run["exact"] ** 2).mean(axis=-1, keepdims=True))
    width = np.median(np.ma.masked_array(half / rms, ~tested).compressed())
    high = tested & (half <= near * np.abs(estimate))
    sure = tested & (half < np.abs(estimate))
    wrong = sure & (np.sign(exact) != np.sign(estimate))
    numbers = [
        held[tested].mean(),
        np.quantile(np.ma.compressed(each), 0.1),
        width,
        high.sum() / tested.sum(),
        (sure & ~high).sum() / tested.sum(),
        (high & (off > NEAR * np.abs(exact))).sum() / max(1, high.sum()),
        wrong.sum() / max(1, sure.sum()),
    ]
    return [f"{number:.1%}" for number in numbers]


def intervals(
    exact: Floats, estimate: Floats, scale: Floats, count: int, pooled: bool
) -> tuple[NDArray[np.bool_], Floats]:
    """Return (draws, runs, K, W) which windows are tested, and half the width of the interval around each estimate.

    Args:
        exact: (runs, K, W) effects.
        estimate: what was estimated.
        scale: of its errors.
        count: how many windows calibrate.
        pooled: whether the K behaviors share one quantile, the scale of each in units of its estimates.
    """
    generator = np.random.default_rng(0)
    if pooled:
        scale = scale * np.median(np.abs(estimate), axis=-1, keepdims=True) / np.median(scale, axis=-1, keepdims=True)
    scores = np.abs(exact - estimate) / np.maximum(scale, 1e-300)
    windows = exact.shape[-1]
    tested = np.ones((DRAWS, *exact.shape), dtype=bool)
    half = np.zeros(tested.shape)
    for draw, r in product(range(DRAWS), range(len(exact))):
        chosen = generator.permutation(windows)[:count]
        own = scores[r][:, chosen]
        if pooled:
            rank = int(np.ceil(LEVEL * (own.size + 1)))
            quantiles = np.full(len(own), np.sort(own.ravel())[min(rank, own.size) - 1])
        else:
            rank = int(np.ceil(LEVEL * (count + 1)))
            quantiles = np.sort(own, axis=1)[:, min(rank, count) - 1]
        tested[draw, r][:, chosen] = False
        half[draw, r] = quantiles[:, None] * scale[r]
    return tested, half
