"""Studies of recorded runs, against training again with plain torch.optim: nothing of aadsl computes the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import aadsl
from aadsl.estimators import ESTIMATORS
from aadsl.interventions import INTERVENTIONS
from tests.digits import STEPS, Recorded, record

STAGES = {"single": [7], "scattered": [2, 5, 11, 12, 20], "early": [0, 1, 2, 3], "last": [STEPS - 1]}
DTYPES = {"float32": torch.float32, "float64": torch.float64}
PROBES = slice(1000, 1060)  # digits that the runs never saw

# PyTorch wonders about a schedule that goes on while a step is skipped, which is what is wanted here.
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")


@pytest.fixture(scope="module", params=list(DTYPES))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("runs") / "run", DTYPES[request.param])


@pytest.fixture(scope="module")
def smooth(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("runs") / "smooth", torch.float64)


def asked(run: Recorded, per_example: bool = True) -> aadsl.Study:
    study = run.study()
    for name, steps in STAGES.items():
        study.stage(name, steps)
    study.behavior("digits", "log_likelihood", on=probes(run), per_example=per_example)
    return study


def probes(run: Recorded) -> tuple[Tensor, Tensor]:
    return run.data[0][PROBES], run.data[1][PROBES]


def log_likelihoods(net: nn.Module, examples: tuple[Tensor, Tensor]) -> Tensor:
    with torch.no_grad():
        return torch.log_softmax(net(examples[0]), dim=1)[torch.arange(len(examples[1])), examples[1]]


def true_effects(run: Recorded, steps: list[int], fresh_after: bool = False) -> Tensor:
    """Return the effect on each example (n,), from a second training run in plain PyTorch."""
    other = run.retrained(steps, fresh_after)
    return log_likelihoods(run.net, probes(run)) - log_likelihoods(other, probes(run))


@pytest.mark.parametrize("fresh_after", [False, True], ids=["skip", "restart"])
def test_retraining_equals_plain_pytorch_to_the_bits(run: Recorded, fresh_after: bool) -> None:
    study = asked(run)
    exact = study.retrain(list(STAGES), ["digits"], intervention="restart" if fresh_after else "skip")
    for name, steps in STAGES.items():
        truth = true_effects(run, steps, fresh_after)
        assert (truth != 0).double().mean() > 0.9  # the comparison below would say little about zeros
        found = exact.example_effect.sel(stage=name, behavior="digits").values
        np.testing.assert_array_equal(found, truth.double().numpy())


def test_the_retrained_parameters_equal_those_of_plain_pytorch(run: Recorded) -> None:
    seen: list[list[Tensor]] = []

    def look(model: nn.Module, examples: tuple[Tensor, Tensor]) -> Tensor:
        seen.append([p.detach().clone() for p in model.parameters()])
        return torch.zeros(len(examples[0]))

    study = asked(run)
    study.behavior("look", look, on=probes(run))
    study.retrain(["scattered"], ["look"])
    for wanted in (run.net, run.retrained(STAGES["scattered"])):
        assert any(all(map(torch.equal, weights, wanted.parameters())) for weights in seen)


def test_first_order_is_close_to_the_truth(smooth: Recorded) -> None:
    """Every step left out in turn: 24 training runs against one adjoint sweep."""
    truth = np.array([float(true_effects(smooth, [t]).mean()) for t in range(STEPS)])
    estimate = asked(smooth, per_example=False).step_effects(["digits"]).sel(behavior="digits").values
    assert np.corrcoef(estimate, truth)[0, 1] > 0.98
    assert np.linalg.norm(estimate - truth) < 0.15 * np.linalg.norm(truth)


def test_verify_puts_the_truth_beside_the_estimate(smooth: Recorded) -> None:
    table = asked(smooth, per_example=False).verify(list(STAGES), ["digits"])
    truth = np.array([float(true_effects(smooth, steps).mean()) for steps in STAGES.values()])
    np.testing.assert_allclose(table.retrained_effect.sel(behavior="digits"), truth, rtol=1e-12)
    assert np.corrcoef(table.effect.sel(behavior="digits"), truth)[0, 1] > 0.99


def test_the_estimates_converge_to_the_truth_with_the_size_of_the_intervention(smooth: Recorded) -> None:
    """The error of a first-order estimate is of second order: ten times less change, a hundred times less error."""
    study = asked(smooth, per_example=False)
    for method in ("first_order", "linearized"):
        errors = []
        for factor in (0.9, 0.99):
            gentle = INTERVENTIONS["scale_lr"](factor)
            table = study.verify(list(STAGES), ["digits"], estimator=method, intervention=gentle)
            errors.append(np.abs(table.effect - table.retrained_effect).values[:, 0])
        assert (errors[1] <= errors[0] / 50).all(), method


def test_a_step_effect_is_the_effect_of_the_stage_of_this_step(smooth: Recorded) -> None:
    study = asked(smooth, per_example=False)
    each = study.step_effects(["digits"])
    assert each.dims == ("step", "behavior")
    effects = study.score(list(STAGES), ["digits"], estimator="first_order").effect.sel(behavior="digits")
    for name, steps in STAGES.items():
        assert float(effects.sel(stage=name)) == pytest.approx(float(each.isel(step=steps).sum()), rel=1e-12)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_examples_of_a_behavior_average_to_its_effect(smooth: Recorded, name: str) -> None:
    table = asked(smooth).score(list(STAGES), ["digits"], estimator=name)
    examples = table.example_effect.sel(behavior="digits")
    assert examples.shape == (len(STAGES), 60)
    assert np.ptp(examples.values, axis=1).min() > 0
    np.testing.assert_allclose(examples.mean("example"), table.effect.sel(behavior="digits"), rtol=1e-9, atol=1e-14)


def test_families_partition_what_they_are_made_from(smooth: Recorded) -> None:
    study = smooth.study()
    tags = study.steps.tag
    assert study.family("source", {tag: tags == tag for tag in ("a", "b")}) == ("source[a]", "source[b]")
    study.stage("all", slice(None))
    labels = smooth.data[1][PROBES].numpy()
    digits = study.behavior("digit", "margin", on=probes(smooth), where=np.isin(labels, [4, 9]), by="label")
    assert [behavior.name for behavior in digits] == ["digit[4]", "digit[9]"]
    effect = study.score(["source", "all"], ["digit"], estimator="first_order").effect
    assert effect.stage.values.tolist() == ["source[a]", "source[b]", "all"]
    assert effect.behavior.values.tolist() == ["digit[4]", "digit[9]"]
    np.testing.assert_allclose(effect.sel(stage=["source[a]", "source[b]"]).sum("stage"), effect.sel(stage="all"))


def test_the_observed_behavior_is_that_of_the_trained_model(run: Recorded) -> None:
    fresh = run.study(model=untrained(run))
    fresh.stage("any", [3])
    fresh.behavior("digits", "log_likelihood", on=probes(run))
    observed = float(fresh.retrain(["any"], ["digits"]).observed.sel(behavior="digits"))
    assert observed == pytest.approx(float(log_likelihoods(run.net, probes(run)).mean()), rel=1e-6)


def untrained(run: Recorded) -> nn.Module:
    """Return a model with other weights: those of the run come from the trajectory."""
    return nn.Sequential(nn.Linear(784, 16), nn.Tanh(), nn.Linear(16, 10)).to(run.data[0].dtype)


def test_the_user_s_model_is_left_as_it_was(run: Recorded) -> None:
    before = {name: tensor.clone() for name, tensor in run.net.state_dict().items()}
    study = asked(run)
    study.verify(list(STAGES), ["digits"])
    assert all(torch.equal(before[name], tensor) for name, tensor in run.net.state_dict().items())
    assert all(p.requires_grad for p in run.net.parameters())


def test_an_answer_says_what_it_answers_and_how(run: Recorded) -> None:
    answer = asked(run).score(["early"], ["digits"])
    assert "had the updates of the stage not happened" in answer.attrs["question"]
    assert answer.attrs["estimator"] == 'auto(within="30 s")'
    assert answer.attrs["answered_by"] == "1 stage exact, by retraining"
    assert answer.attrs["intervention"] == "skip()"
    assert answer.attrs["trajectory_digest"] == aadsl.open_trajectory(run.path).digest
    assert answer.tag.values[:3].tolist() == ["a", "a", "b"]


def test_an_answer_survives_netcdf(run: Recorded, tmp_path: Path) -> None:
    import xarray as xr

    answer = asked(run).verify(["early", "single"], ["digits"])
    answer.to_netcdf(tmp_path / "answer.nc")
    with xr.open_dataset(tmp_path / "answer.nc") as stored:
        np.testing.assert_array_equal(stored.effect, answer.effect)
        assert stored.attrs["plan"] == answer.attrs["plan"]
