"""A study without a model: the contract's interface over coordinates alone, effects that can be told by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import xarray as xr

from aadsl.study.names import Names
from aadsl.study.ranking import ranked
from aadsl.study.results import with_steps
from aadsl.study.shapley import shapley

LENGTH = 60


def steps() -> xr.Dataset:
    """Sixty steps in three epochs; steps 30 to 34 are poisoned, the first five have no tag and no score."""
    step = np.arange(LENGTH)
    tag = np.where((step >= 30) & (step < 35), "badnet", "clean").astype(object)
    tag[:5] = ""
    return xr.Dataset(
        {
            "lr": ("step", np.where(step < 40, 0.1, 0.01)),
            "epoch": ("step", step // 20),
            "loss": ("step", 1.0 / (1 + step)),
            "tag": ("step", tag),
            "flipped": ("step", step % 2 == 0),
            "sure": ("step", np.where(step < 5, np.nan, (step < 20) & (step % 2 == 0))),
            "quality": ("step", np.where(step < 5, np.nan, step / 10)),
            "top": ("step", step % 3),
        },
        {"step": step},
    )


def batch(step: int) -> Any:
    """Batches take three of the four examples in turn; step 7 was not announced by indices."""
    return np.full(3, -1) if step == 7 else np.arange(step, step + 3) % 4


class FakeStudy(Names):
    """Effects are the number of a stage's steps; a step's effect is its own index."""

    def __init__(self, known: xr.Dataset | None = None) -> None:
        super().__init__(steps() if known is None else known)
        self.calls: list[tuple[Any, ...]] = []

    notes = ()

    @property
    def trajectory(self) -> Any:
        index = np.concatenate([batch(step) for step in range(LENGTH)])
        examples = xr.Dataset({"step": ("example", np.repeat(np.arange(LENGTH), 3)), "index": ("example", index)})
        return SimpleNamespace(
            path="runs/fake",
            stamp=(LENGTH, "0"),
            digest="0",
            length=LENGTH,
            examples=examples,
            provenance={"torch": "2"},
        )

    @property
    def training_data(self) -> Any:
        """Four examples: the first two are noisy, the third's label is missing."""
        noise = ("example", np.array([True, True, False, False]))
        label = ("example", np.array([4.0, 9.0, np.nan, 4.0]))
        known = xr.Dataset({"label_noise": noise, "label": label})
        whole_run = SimpleNamespace(start=0)
        places = np.zeros(1, dtype=np.int64)
        return SimpleNamespace(jobs=(whole_run,), distinct=(known,), coordinates=lambda: (known, places))

    def step_effects(
        self, behaviors: Any, *, estimator: Any = "first_order", intervention: Any = "skip", progress: Any = None
    ) -> xr.DataArray:
        self.calls.append(("step_effects", tuple(behaviors), estimator))
        effects = np.repeat(np.arange(LENGTH, dtype=float)[:, None] - 40, len(behaviors), axis=1)
        trust = {name: ("behavior", ["low"] * len(behaviors)) for name in ("trust", "trust_reason")}
        coordinates = {"step": np.arange(LENGTH), "behavior": behaviors, **trust}
        return xr.DataArray(effects, coordinates, ("step", "behavior"))

    def with_step_effects(self, answer: xr.Dataset, *, intervention: Any = "skip", progress: Any = None) -> xr.Dataset:
        return with_steps(answer, self.step_effects(answer["behavior"].values.tolist()))

    def rank(
        self,
        behaviors: Any,
        stages: Any = (),
        *,
        top: int = 10,
        estimator: Any = None,
        intervention: Any = "skip",
        within: Any = None,
        progress: Any = None,
    ) -> xr.Dataset:
        if stages:
            return ranked(self.score(stages, behaviors, estimator=estimator), "stage", top)
        return ranked(with_steps(self.steps, self.step_effects(behaviors, estimator=estimator)), "step", top)

    def score(
        self,
        stages: Any,
        behaviors: Any,
        *,
        estimator: Any = "auto",
        intervention: Any = "skip",
        within: Any = None,
        progress: Any = None,
    ) -> xr.Dataset:
        self.calls.append(("score", tuple(stages), tuple(behaviors), estimator, intervention))
        member = np.stack([np.asarray(self.stages[name]) for name in stages])
        effects = np.repeat(member.sum(1, keepdims=True).astype(float), len(behaviors), axis=1)
        answer = self.steps.assign(
            effect=(("stage", "behavior"), effects),
            exact=(("stage", "behavior"), np.full(effects.shape, estimator in ("auto", "retraining"))),
            trust=(("stage", "behavior"), np.full(effects.shape, "high")),
            observed=("behavior", np.zeros(len(behaviors))),
            member=(("stage", "step"), member),
        ).assign_coords(stage=stages, behavior=behaviors)
        additive = estimator == "first_order" or getattr(estimator, "additive", False)
        return with_steps(answer, self.step_effects(behaviors)) if additive else answer

    def verify(
        self,
        stages: Any,
        behaviors: Any,
        *,
        estimator: Any = "first_order",
        intervention: Any = "skip",
        progress: Any = None,
    ) -> xr.Dataset:
        dataset = self.score(stages, behaviors, estimator=estimator, intervention=intervention, progress=progress)
        return dataset.assign(retrained_effect=dataset["effect"] * 1.1)

    def shares(
        self, stages: Any, behaviors: Any, *, intervention: Any = "skip", permutations: Any = None, progress: Any = None
    ) -> xr.Dataset:
        """An effect is the square of how many steps are left out."""
        self.calls.append(("shares", tuple(stages), tuple(behaviors), intervention, permutations))
        member = np.stack([np.asarray(self.stages[name]) for name in stages])

        def worth(coalitions: Any) -> Any:
            sizes = [float(member[coalition].any(axis=0).sum() ** 2) for coalition in coalitions]
            return np.repeat(np.array(sizes)[:, None], len(behaviors), axis=1)

        division, cells = shapley(len(stages), worth, permutations), ("stage", "behavior")
        columns: dict[str, Any] = {"share": division.share, "share_low": division.low, "share_high": division.high}
        columns |= {"effect": division.alone, "exact": np.full_like(division.share, division.exact, dtype=bool)}
        columns |= {"trust": np.full(columns["share"].shape, "high")}
        known: dict[str, Any] = {name: (cells, column) for name, column in columns.items()}
        known |= {"together": ("behavior", division.together), "observed": ("behavior", 0 * division.together)}
        known |= {"without": ("behavior", -division.together), "unit": ("behavior", ["nats"] * len(behaviors))}
        known |= {"member": (("stage", "step"), member)}
        return self.steps.assign(known).assign_coords(stage=stages, behavior=behaviors)

    def examples(
        self,
        stages: Any,
        behaviors: Any,
        *,
        top: Any = 10,
        self_influence: Any = False,
        within: Any = None,
        progress: Any = None,
    ) -> xr.Dataset:
        """Four examples, of which the first two helped and the others hurt; the first was trained without."""
        self.calls.append(("examples", tuple(stages), tuple(behaviors), top, self_influence, within))
        shape, cells = (len(stages), len(behaviors), 4), ("stage", "behavior", "training_example")
        estimate = np.broadcast_to([2.0, 1.0, -1.0, -3.0], shape)
        exact = np.where(np.arange(4) == 0, 1.9, np.nan)
        columns = {"example_estimate": estimate, "example_exact": np.broadcast_to(exact, shape)}
        columns |= {"example_noise": np.zeros(shape), "example_trust": np.full(shape, "low")}
        known: dict[str, Any] = {name: (cells, column) for name, column in columns.items()}
        known["example_trust_reason"] = known["example_trust"]
        known["occurrences"] = (("stage", "training_example"), np.ones((len(stages), 4), dtype=int))
        known |= {"unit": ("behavior", ["nats"] * len(behaviors)), "observed": ("behavior", np.zeros(len(behaviors)))}
        known["higher_is_better"] = ("behavior", [True] * len(behaviors))
        known["member"] = (("stage", "step"), np.stack([np.asarray(self.stages[name]) for name in stages]))
        if self_influence:
            known["self_influence"] = (("stage", "training_example"), np.tile(np.arange(4.0), (len(stages), 1)))
        places = {"first_step": np.arange(4), "first_row": np.zeros(4, dtype=int), "label": np.array([4, 9, 4, 9])}
        of_examples: dict[str, Any] = {name: ("training_example", values) for name, values in places.items()}
        of_examples |= {"stage": list(stages), "behavior": list(behaviors), "training_example": [10, 11, 12, 13]}
        return xr.Dataset(known, of_examples, {"intervention": "left_out()"})

    def plan_examples(self, stages: Any, behaviors: Any, *, top: Any = 10, self_influence: Any = False) -> str:
        return f"plan: {top} examples of {len(stages)} stages"

    def training_input(self, step: int, row: int, *, progress: Any = None) -> Any:
        return (f"the text of step {step}",)

    def save_counterfactual(self, path: Any, stages: Any, *, intervention: Any = "skip", progress: Any = None) -> None:
        self.calls.append(("save", str(path), tuple(stages), intervention))

    def check(
        self,
        behaviors: Any,
        *,
        samples: int = 15,
        estimator: Any = None,
        intervention: Any = None,
        progress: Any = None,
    ) -> xr.Dataset:
        """Estimates are 5% off."""
        self.calls.append(("check", tuple(behaviors), samples, estimator, intervention))
        known = {"slope": 1.05, "correlation": 0.99, "relative_error": 0.05, "low": 0.04, "high": 0.06}
        columns = {name: ("behavior", [value] * len(behaviors)) for name, value in known.items()}
        return xr.Dataset(columns, {"behavior": list(behaviors)}, {"steps": list(range(samples))})

    def exact_seconds(self, stages: Any, behaviors: Any, *, intervention: Any = "skip") -> float:
        """Ten seconds a stage."""
        return 10.0 * len(stages)

    def verify_trajectory(self, *, samples: int = 8, progress: Any = None) -> Any:
        raise AssertionError("there is no recording")

    def plan(self, stages: Any, behaviors: Any, estimator: Any = "first_order", intervention: Any = "skip") -> str:
        return f"plan: {len(stages)} stages, {len(behaviors)} behaviors"
