"""Shapley values: the effect of several stages together, divided into parts that add up to it.

A coalition S is a set of stages, e(S) the effect of training without any of them, e(∅) = 0. The share of stage i is

    φ_i = Σ_{S ⊆ N∖{i}} |S|! (n − |S| − 1)! / n! · [e(S ∪ {i}) − e(S)],        Σ_i φ_i = e(N),

the mean, over all orders of the stages, of what i adds to those before it (Shapley, A value for n-person games, 1953).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import comb, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from aadsl.core.errors import AadslError

Numbers = NDArray[np.float64]
Coalitions = NDArray[np.bool_]
"""(C, n) true where a stage is in a coalition."""
Worth = Callable[[Coalitions], Numbers]
"""Returns (C, K) the effects e(S) of coalitions that are not empty, each of which it is asked for once."""

PERMUTATIONS = 20
"""At seven stages so many orders ask for at most 121 coalitions, and there are 127: with fewer stages all are asked."""
FEWEST_PERMUTATIONS = 8  # four pairs: with fewer the interval says nothing
LEVEL = 0.9


@dataclass(frozen=True)
class Division:
    """What each of n stages has in K effects.

    Attributes:
        share: (n, K) φ; over the stages they add up to ``together``.
        low, high: (n, K) ends of the 90% intervals; ``share`` itself where every coalition was asked for.
        alone: (n, K) e({i}).
        together: (K,) e(N).
        coalitions: how many were asked for.
        exact: whether these were all there are.
    """

    share: Numbers
    low: Numbers
    high: Numbers
    alone: Numbers
    together: Numbers
    coalitions: int
    exact: bool


def shapley(n: int, worth: Worth, permutations: int = PERMUTATIONS, seed: int = 0) -> Division:
    """Divide e(N) among n stages: exactly where that asks for no more coalitions than ``permutations`` orders would.

    Raises:
        AadslError: there are fewer than two stages, or ``permutations`` is no even number from 8 on.
    """
    if n < 2:
        raise AadslError("shares are parts of a whole, and this is one stage", hint="name a family, or several stages")
    check_permutations(permutations)
    if is_exact(n, permutations):
        return _exact(n, worth)
    return _sampled(_orders(n, permutations, seed), worth)


def check_permutations(permutations: int) -> None:
    """Raise where shares cannot be sampled from so many orders.

    Raises:
        AadslError: it is no even number from 8 on.
    """
    if permutations < FEWEST_PERMUTATIONS or permutations % 2:
        hint = "each order goes with its reverse, and the interval follows from how much the pairs differ"
        raise AadslError(f"`permutations` is an even number from {FEWEST_PERMUTATIONS} on", hint=hint)


def is_exact(n: int, permutations: int = PERMUTATIONS) -> bool:
    """Return whether all 2ⁿ − 1 coalitions are no more than ``permutations`` orders of n stages would ask for."""
    return (1 << n) - 1 <= permutations * (n - 1) + 1


def coalitions_of(n: int, permutations: int = PERMUTATIONS, seed: int = 0) -> Coalitions:
    """Return the coalitions that :func:`shapley` asks for."""
    return _all(n)[1:] if is_exact(n, permutations) else _met(_orders(n, permutations, seed))[0]


def unions(members: NDArray[np.bool_], coalitions: Coalitions) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return (U, T) the distinct unions of the stages (n, T) in each coalition, and (C,) which of them is whose.

    Stages that overlap have some unions in common, and equal unions are one run.
    """
    together = np.stack([members[coalition].any(axis=0) for coalition in coalitions])
    distinct, place = np.unique(together, axis=0, return_inverse=True)
    return distinct, place.ravel()


def _all(n: int) -> Coalitions:
    """Return all 2ⁿ coalitions, row c those stages whose bit is set in c."""
    return (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(bool)


def _exact(n: int, worth: Worth) -> Division:
    """Divide by the definition."""
    members = _all(n)
    asked = worth(members[1:])
    effect = np.concatenate([np.zeros((1, asked.shape[1])), asked])
    size, weight = members.sum(axis=1), np.array([1 / (n * comb(n - 1, s)) for s in range(n)])
    share = np.empty((n, asked.shape[1]))
    for i in range(n):
        without = np.flatnonzero(~members[:, i])
        share[i] = weight[size[without]] @ (effect[without | 1 << i] - effect[without])
    alone = effect[1 << np.arange(n)]
    return Division(share, share, share, alone, effect[-1], len(asked), exact=True)


def _sampled(orders: NDArray[np.int64], worth: Worth) -> Division:
    """Divide by the mean over ``orders`` (P, n); each adds up to e(N), and so does their mean.

    An order and its reverse are one draw: what a stage adds first and last lie on both sides of its share.
    """
    count, n = orders.shape
    members, place = _met(orders)
    effect = worth(members)
    before = np.concatenate([np.zeros_like(effect[place[:, :1]]), effect[place]], axis=1)
    added = np.empty((count, n, effect.shape[1]))
    np.put_along_axis(added, orders[:, :, None], np.diff(before, axis=1), axis=1)
    draws = (added[: count // 2] + added[count // 2 :]) / 2
    share, error = draws.mean(axis=0), draws.std(axis=0, ddof=1) / sqrt(len(draws))
    half = student_quantile((1 + LEVEL) / 2, len(draws) - 1) * error
    size = members.sum(axis=1)
    alone = effect[size == 1][np.argsort(members[size == 1].argmax(axis=1))]
    return Division(share, share - half, share + half, alone, effect[size == n][0], len(members), exact=False)


def _orders(n: int, permutations: int, seed: int) -> NDArray[np.int64]:
    """Return (P, n) orders of the stages, the second half the first reversed."""
    drawn = np.random.default_rng(seed).permuted(np.tile(np.arange(n), (permutations // 2, 1)), axis=1)
    return np.concatenate([drawn, drawn[:, ::-1]])


def _met(orders: NDArray[np.int64]) -> tuple[Coalitions, NDArray[np.int64]]:
    """Return the coalitions that begin ``orders`` (P, n) and each stage alone, once each, and (P, n) which begin where.

    Entry [p, j] of the latter is the coalition of the first j + 1 stages of order p.
    """
    count, n = orders.shape
    beginnings = np.logical_or.accumulate(np.eye(n, dtype=bool)[orders], axis=1).reshape(count * n, n)
    members, places = np.unique(np.concatenate([beginnings, np.eye(n, dtype=bool)]), axis=0, return_inverse=True)
    return members, places.ravel()[: count * n].reshape(count, n)


def student_quantile(level: float, degrees: int) -> float:
    """Return the quantile of Student's t distribution by its expansion around the normal one.

    With z that of the normal and ν ``degrees``, z + (z³ + z)/4ν + (5z⁵ + 16z³ + 3z)/96ν² + … (Fisher and Cornish,
    1960): off by less than 0.3% from three degrees on, at the 95% that a 90% interval needs.

    >>> round(student_quantile(0.95, 9), 3)
    1.833
    """
    z: float = NormalDist().inv_cdf(level)
    terms: list[float] = [
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    ]
    return z + sum(term / float(degrees) ** power for power, term in enumerate(terms, start=1))
