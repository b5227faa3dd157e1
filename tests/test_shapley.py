"""Shapley values against the mean over every order, written as loops."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from aadsl.core.errors import AadslError
from aadsl.study.shapley import PERMUTATIONS, coalitions_of, is_exact, shapley, student_quantile


class Game:
    """Random effects of every coalition on two behaviors; it notes what it was asked."""

    def __init__(self, n: int, seed: int = 0, interaction: float = 1.0) -> None:
        rng = np.random.default_rng(seed)
        self.n, self.asked = n, list[Any]()
        self.parts = rng.normal(size=(n, 2))
        self.pairs = interaction * rng.normal(size=(n, n, 2))

    def effect(self, coalition: Any) -> np.ndarray:
        inside = [i for i in range(self.n) if coalition[i]]
        pairs = sum((self.pairs[i, j] for i in inside for j in inside if i < j), np.zeros(2))
        return self.parts[inside].sum(axis=0) + pairs + 0.1 * np.sin(len(inside) * self.parts[inside[0]])

    def worth(self, coalitions: np.ndarray) -> np.ndarray:
        self.asked.extend(map(tuple, coalitions.tolist()))
        return np.array([self.effect(coalition) for coalition in coalitions])

    def by_orders(self) -> np.ndarray:
        """Return the mean over all orders of what each adds to those before it."""
        total, count = np.zeros((self.n, 2)), 0
        for order in permutations(range(self.n)):
            coalition, before = [False] * self.n, np.zeros(2)
            for i in order:
                coalition[i] = True
                after = self.effect(coalition)
                total[i] += after - before
                before = after
            count += 1
        return total / count


@pytest.mark.parametrize("n", [2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(3))
def test_exact_shares_are_the_mean_over_every_order(n: int, seed: int) -> None:
    game = Game(n, seed)
    division = shapley(n, game.worth)
    np.testing.assert_allclose(division.share, game.by_orders(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(division.alone, [game.effect(row) for row in np.eye(n, dtype=bool)])
    np.testing.assert_allclose(division.together, game.effect([True] * n))
    assert division.exact and division.coalitions == 2**n - 1
    np.testing.assert_array_equal(division.low, division.high)


@pytest.mark.parametrize("n", [2, 4, 6, 7, 9, 12])
def test_shares_add_up_whether_exact_or_sampled(n: int) -> None:
    division = shapley(n, Game(n).worth)
    assert division.exact == (n <= 6)
    np.testing.assert_allclose(division.share.sum(axis=0), division.together, rtol=1e-12)


@pytest.mark.parametrize("n", [3, 7, 9])
def test_each_coalition_is_asked_for_once_and_foretold(n: int) -> None:
    game = Game(n)
    division = shapley(n, game.worth)
    assert len(game.asked) == len({*game.asked}) == division.coalitions
    assert {*game.asked} == {*map(tuple, coalitions_of(n).tolist())}
    assert all(map(any, game.asked))


def test_sampled_shares_converge_to_the_exact_ones_and_their_intervals_hold() -> None:
    n = 8
    game = Game(n, seed=5)
    truth = shapley(n, game.worth, permutations=50)
    assert truth.exact  # fifty orders would ask for more than all coalitions
    errors, inside = {}, []
    for count in (8, 32):
        drawn = [shapley(n, game.worth, count, seed) for seed in range(60)]
        assert not any(division.exact for division in drawn)
        errors[count] = np.sqrt(np.mean([(division.share - truth.share) ** 2 for division in drawn]))
        inside += [((division.low <= truth.share) & (truth.share <= division.high)).mean() for division in drawn]
    assert errors[32] == pytest.approx(errors[8] / 2, rel=0.3)
    assert 0.85 < np.mean(inside) < 0.95


def test_a_pair_of_reversed_orders_sees_what_pairs_of_stages_do_together() -> None:
    """Where stages interact in twos only, a stage's mean over an order and its reverse is its share already."""
    game = Game(9)
    game.effect = lambda c: np.outer(c, c).ravel() @ game.pairs.reshape(-1, 2)  # type: ignore[method-assign]
    division = shapley(9, game.worth)
    symmetric = (game.pairs + game.pairs.transpose(1, 0, 2)) / 2
    np.testing.assert_allclose(division.share, symmetric.sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(division.high, division.low, rtol=1e-12)


def test_the_same_question_has_the_same_answer() -> None:
    first, second = (shapley(8, Game(8).worth) for _ in range(2))
    np.testing.assert_array_equal(first.share, second.share)
    assert not np.array_equal(first.share, shapley(8, Game(8).worth, seed=1).share)


def test_the_default_costs_at_most_what_all_coalitions_would() -> None:
    assert is_exact(6) and not is_exact(7)
    assert all(len(coalitions_of(n)) <= 2**n - 1 for n in range(2, 10))
    assert not is_exact(7, PERMUTATIONS) and is_exact(7, PERMUTATIONS + 2)


@pytest.mark.parametrize(("n", "count"), [(1, 20), (9, 6), (9, 9), (9, 0)])
def test_what_cannot_be_divided_is_refused(n: int, count: int) -> None:
    with pytest.raises(AadslError):
        shapley(n, Game(n).worth, count)


@pytest.mark.parametrize(("degrees", "value"), [(3, 2.3534), (4, 2.1318), (9, 1.8331), (30, 1.6973), (10**6, 1.6449)])
def test_quantiles_are_those_of_the_tables(degrees: int, value: float) -> None:
    assert student_quantile(0.95, degrees) == pytest.approx(value, rel=4e-3)
