"""Fake answers of the shape that ``Study.score`` and ``Study.verify`` give: with evidence, or older ones without it."""

import numpy as np
import xarray as xr


def answer(
    steps=60,
    behaviors=("backdoor", "digits"),
    verified=False,
    examples=0,
    trust=False,
    shares=False,
    phases=2,
    seed=0,
    exact=None,
) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    t = np.arange(steps)
    tag = np.where((t >= steps // 2) & (t < steps * 2 // 3), "badnet", "clean")
    effect = rng.normal(0, 0.01, (steps, len(behaviors))) + 0.05 * (tag == "badnet")[:, None] * np.array(
        [1 if i % 2 == 0 else -1 for i in range(len(behaviors))]
    )
    stages = ["poisoned", "warmup", "source[badnet]", "source[clean]"]
    member = np.array([tag == "badnet", t < steps // 6, tag == "badnet", tag == "clean"])
    names = np.array([f"part {i}" for i in range(phases)])
    data = xr.Dataset(
        {
            "step_effect": (("step", "behavior"), effect),
            "effect": (("stage", "behavior"), member @ effect),
            "observed": ("behavior", np.linspace(-1, 1, len(behaviors))),
            "unit": ("behavior", ["nats"] * len(behaviors)),
            "member": (("stage", "step"), member),
        },
        coords={
            "step": t,
            "behavior": list(behaviors),
            "stage": stages,
            "phase": ("step", names[t * phases // steps]),
            "tag": ("step", tag),
            "epoch": ("step", t * 4 // steps),
            "lr": ("step", 0.1 * 0.5 ** (t * 4 // steps)),
            "momentum": ("step", np.full(steps, 0.9)),
            "loss": ("step", 2.3 * np.exp(-t / steps * 3) + rng.normal(0, 0.03, steps)),
        },
        attrs={
            "estimator": "first_order()",
            "intervention": "skip()",
        },
    )
    shape = (len(stages), len(behaviors))
    if verified:
        data["retrained_effect"] = data["effect"] * 0.9 + rng.normal(0, 0.02, shape)
    if shares:
        share = data["effect"] * 0.8
        data["share"], data["share_low"], data["share_high"] = share, share - 0.02, share + 0.03
        data["together"] = share.sum("stage")
        data["without"] = data["observed"] - data["together"]
    if examples:
        spread = rng.normal(0, 0.2, (*shape, examples))
        spread += (data["effect"].values - spread.mean(-1))[..., None]
        data["example_effect"] = (("stage", "behavior", "example"), spread)
    if trust:
        data["trust"] = (("stage", "behavior"), np.resize(["high", "medium", "low"], shape))
        data["trust_reason"] = (("stage", "behavior"), np.resize(["curvatures agree", "", "curvatures differ"], shape))
        data["step_trust"] = ("behavior", np.resize(["low", "medium"], len(behaviors)))
        data["step_trust_reason"] = ("behavior", np.resize(["steps differ", ""], len(behaviors)))
    return data if exact is None else with_evidence(data, exact)


def with_evidence(data: xr.Dataset, exact: int) -> xr.Dataset:
    """The answer as it is kept now: the first ``exact`` stages exact, without noise, and intervals for the others."""
    stages, cells = data.sizes["stage"], ("stage", "behavior")
    trained = np.broadcast_to(np.arange(stages)[:, None] < exact, data["effect"].shape)
    wide = np.where(trained, 0.0, 0.3)
    others = "estimated by blocks(rank=8)"
    by = f"{exact} of {stages} stages exact, by retraining, the others {others}" if exact else others
    return data.assign(
        exact=(cells, trained),
        noise=(cells, np.zeros(trained.shape)),
        effect_low=data["effect"] - wide,
        effect_high=data["effect"] + wide,
    ).assign_attrs(answered_by=f"{stages} stages exact, by retraining" if exact == stages else by)


def many_stages(stages, behaviors=("backdoor", "digits"), steps=None, outside=False) -> xr.Dataset:
    """An answer about so many neighboring stages of one run; with ``outside`` a tenth of the steps belong to none."""
    steps = steps or 10 * stages
    base = answer(steps=steps, behaviors=behaviors, phases=1)
    inside = steps - steps // 10 if outside else steps
    numbers = np.where(np.arange(steps) < inside, np.arange(steps) * stages // inside, -1)
    member = np.arange(stages)[:, None] == numbers
    effect = member @ base["step_effect"].values
    data = (
        base.drop_dims("stage")
        .assign(
            member=(("stage", "step"), member),
            effect=(("stage", "behavior"), effect),
            retrained_effect=(("stage", "behavior"), effect * 0.9),
        )
        .assign_coords(stage=[f"window {k}" for k in range(stages)])
    )
    share = data["effect"] * 0.8
    data = data.assign(
        share=share,
        together=share.sum("stage"),
        example_effect=data["effect"].expand_dims(example=5, axis=-1) * np.linspace(0.5, 1.5, 5),
    )
    return data.assign(without=data["observed"] - data["together"])


def heavy() -> xr.Dataset:
    """A long run with much evidence about many stages and behaviors, whose names are long."""
    data = many_stages(40, tuple(f"how well it reads number {k}" for k in range(12)), steps=20_000)
    reason = "this estimate was compared with nothing: ask for an exact answer, or for a check"
    word = data["effect"].astype(str)
    data = with_evidence(data, 3).assign(
        trust=word.copy(data=np.full(word.shape, "low")),
        trust_reason=word.copy(data=np.full(word.shape, reason)),
        step_trust=("behavior", ["low"] * 12),
        step_trust_reason=("behavior", [reason] * 12),
        share_low=data["share"] - 0.1,
        share_high=data["share"] + 0.1,
    )
    rng = np.random.default_rng(0)
    metadata = {f"metadata {k}": ("step", rng.random(20_000)) for k in range(8)}
    return data.assign_coords(stage=[f"part {k} of the long training" for k in range(40)], **metadata)
