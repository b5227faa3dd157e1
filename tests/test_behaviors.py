"""Behaviors mean what they say on whatever form of outputs and examples they meet, or say why they cannot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import aadsl
from aadsl import Study
from aadsl.behaviors import BEHAVIORS
from aadsl.core.errors import AadslError
from aadsl.data.examples import Examples
from tests.digits import Recorded, record

CLASSIFYING = ["log_likelihood", "margin", "probability", "loss", "accuracy"]
PAD = 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("runs") / "run")


def observed(study: Study, metric: Any, on: Any, **options: Any) -> float:
    study.stage("early", slice(0, 2))
    study.behavior("asked", metric, on=on, **options)
    return float(study.retrain(["early"], ["asked"]).observed[0])


# --- classifiers


@pytest.mark.parametrize("metric", CLASSIFYING)
@pytest.mark.parametrize("ending", [nn.Softmax(1), nn.LogSoftmax(1)], ids=["softmax", "log softmax"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_their_softmax_and_its_logarithm_are_read_alike(metric: str, ending: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net, examples = nn.Linear(6, 3).to(dtype), (3 * torch.randn(40, 6, dtype=dtype), torch.arange(40) % 3)
    values, ended = (BEHAVIORS[metric]()(model, examples) for model in (net, nn.Sequential(net, ending)))
    torch.testing.assert_close(values, ended, rtol=1e-4, atol=1e-5)
    if values.requires_grad:
        one, other = (torch.autograd.grad(v.sum(), net.weight)[0] for v in (values, ended))
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_scores_that_only_look_like_probabilities_stay_scores() -> None:
    examples = (torch.tensor([[0.25, 0.75], [0.5, 0.501]]), torch.tensor([0, 1]))
    values = BEHAVIORS["log_likelihood"]()(nn.Identity(), examples)
    torch.testing.assert_close(values, -cross_entropy(*examples, reduction="none"))


def test_a_class_of_probability_zero_has_no_logarithm() -> None:
    rows = torch.tensor([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]], requires_grad=True)
    values = BEHAVIORS["log_likelihood"]()(nn.Identity(), (rows, torch.tensor([0, 1])))
    torch.testing.assert_close(
        values, torch.tensor([0.0, 0.3]).where(torch.tensor([True, False]), torch.tensor(0.3).log())
    )
    assert torch.isfinite(torch.autograd.grad(values.sum(), rows)[0]).all()
    assert BEHAVIORS["log_likelihood"]()(nn.Identity(), (rows, torch.tensor([1, 1])))[0] == float("-inf")


@pytest.mark.parametrize("metric", CLASSIFYING)
def test_examples_without_a_label_do_not_count(run: Recorded, metric: str) -> None:
    images, labels = run.data[0][:40], run.data[1][:40]
    some = torch.where(torch.arange(40) % 3 == 0, -100, labels)
    kept = some != -100
    study = run.study()
    assert observed(study, metric, (images, some)) == observed(study, metric, (images[kept], labels[kept]))
    assert np.flatnonzero(kept).tolist() == study_positions(run, metric, (images, some))
    with pytest.raises(AadslError, match="no example"):
        study.behavior("none", metric, on=(images, torch.full((40,), -100)))


def study_positions(run: Recorded, metric: str, on: Any) -> list[int]:
    study = run.study()
    study.behavior("asked", metric, on=on)
    return study.behaviors["asked"].examples.positions.tolist()


def test_a_class_that_is_named_is_read_on_all_examples(run: Recorded) -> None:
    images = run.data[0][:10]
    study = run.study()
    study.behavior("sevens", "log_likelihood", on=(images, torch.full((10,), -100)), target=7)
    assert len(study.behaviors["sevens"].examples) == 10


def test_labels_in_a_dataset_of_rows_are_refused_where_there_is_none(run: Recorded) -> None:
    rows = [
        (image, torch.tensor(-100 if k == 3 else int(label)))
        for k, (image, label) in enumerate(zip(*run.data, strict=True))
        if k < 9
    ]
    study = run.study()
    with pytest.raises(AadslError, match=r"class -100 does not exist(.|\n)*where=labels != -100"):
        observed(study, "log_likelihood", rows)


def test_labels_are_whole_numbers() -> None:
    for metric in CLASSIFYING:
        with pytest.raises(AadslError, match="the labels are no whole numbers"):
            BEHAVIORS[metric]()(nn.Identity(), (torch.randn(2, 3), torch.tensor([0.5, 1.0])))


# --- examples


@pytest.mark.parametrize("metric", [*CLASSIFYING, lambda model, examples: model(examples[0])[:, 3]])
def test_examples_of_another_precision_are_read_in_that_of_the_model(run: Recorded, metric: Any) -> None:
    images, labels = run.data[0][:40], run.data[1][:40]
    study = run.study()
    found = observed(study, metric, (images.double().numpy(), labels.numpy()))
    assert found == observed(study, metric, (images, labels))


def test_an_error_that_is_not_of_precision_stays_what_it_is(run: Recorded) -> None:
    study = run.study()
    with pytest.raises(AadslError, match="cannot be multiplied"):
        observed(study, "log_likelihood", (run.data[0][:5, :100].double(), run.data[1][:5]))


@pytest.mark.parametrize(
    ("recast", "said"),
    [
        (lambda x, y: (x.double(), y), "float64 instead of float32"),
        (lambda x, y: (x, y.int()), "int32 instead of int64"),
        (lambda x, y: (x.double(), y.int()), "float64 instead of float32, int32 instead of int64"),
    ],
)
def test_training_data_of_another_dtype_are_called_so(run: Recorded, recast: Any, said: str) -> None:
    report = run.study(data=recast(*run.data)).verify_trajectory()
    assert list(report.causes) == ["data of another dtype"]
    assert f"in another dtype: {said}" in str(report) and "inputs.float()" in str(report)


IMAGES, WRITER = (("n", "f"), np.zeros((20, 4), dtype="float32")), ("n", np.arange(20) % 3)
DIGIT = ("n", np.arange(20) % 10)


@pytest.mark.parametrize("name", ["label", "target", "labels", "targets"])
def test_the_target_of_a_dataset_is_found_by_its_name(name: str) -> None:
    examples = Examples.of(xr.Dataset({"image": IMAGES, "writer": WRITER, name: DIGIT}))
    assert examples.source[1].tolist() == DIGIT[1].tolist() and "writer" in examples.coordinates


def test_the_only_variable_beside_the_input_is_the_target() -> None:
    texts, whole = ("n", np.array(["a"] * 20, dtype=object)), ("k", np.arange(7))
    examples = Examples.of(xr.Dataset({"image": IMAGES, "who": texts, "sizes": whole, "digit": DIGIT}))
    assert examples.source[1].tolist() == DIGIT[1].tolist()
    assert len(Examples.of(xr.Dataset({"image": IMAGES, "who": texts})).source) == 1


def test_of_several_variables_the_target_is_asked_for() -> None:
    data = xr.Dataset({"image": IMAGES, "writer": WRITER, "digit": DIGIT})
    with pytest.raises(AadslError, match=r'target is not clear: writer, digit\nname it "label", data.rename'):
        Examples.of(data)


def test_squared_errors_need_as_many_outputs_as_targets() -> None:
    inputs = torch.randn(5, 3)
    assert BEHAVIORS["squared_error"]()(nn.Linear(3, 1), (inputs, torch.zeros(5))).shape == (5,)
    for targets in (torch.zeros(5), torch.zeros(5, 1)):
        with pytest.raises(AadslError, match=r"gave \(5, 2\), targets are \(5"):
            BEHAVIORS["squared_error"]()(nn.Linear(3, 2), (inputs, targets))


# --- language models


class Reading(nn.Module):
    """Scores of the next token; with a mask, only what it shows is read."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head = nn.Embedding(12, 8), nn.Linear(8, 12)
        self.given: dict[str, Tensor | None] = {}

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Any = None) -> Any:
        self.given = {"attention_mask": attention_mask, "position_ids": position_ids}
        return SimpleNamespace(logits=self.head(self.embedding(input_ids)))


class Plain(nn.Module):
    """The same, of a model that takes no mask."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = Reading()

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.reading(input_ids).logits


def texts() -> tuple[Tensor, Tensor]:
    tokens = torch.randint(1, 12, (6, 10), generator=torch.Generator().manual_seed(1))
    for k in range(6):
        tokens[k, 4 + k :] = PAD
    return tokens, (tokens != PAD).long()


@pytest.mark.parametrize("model", [Reading(), Plain()], ids=["takes a mask", "takes none"])
@pytest.mark.parametrize("labels", ["none", "tokens", "masked"])
def test_padding_does_not_count(model: nn.Module, labels: str) -> None:
    tokens, mask = texts()
    metric = BEHAVIORS["token_log_likelihood"]()
    masked = tokens.masked_fill(mask == 0, -100)
    right = metric(model, {"input_ids": tokens, "labels": masked})
    given = {"none": {}, "tokens": {"labels": tokens}, "masked": {"labels": masked}}[labels]
    found = metric(model, {"input_ids": tokens, "attention_mask": mask, "labels_of": tokens} | given)
    torch.testing.assert_close(found, right)
    unpadded = [metric(model, {"input_ids": row[None, : 4 + k]}) for k, row in enumerate(tokens)]
    torch.testing.assert_close(right, torch.cat(unpadded))


def test_the_model_is_given_the_mask_where_it_takes_it() -> None:
    tokens, mask = texts()
    model, metric = Reading(), BEHAVIORS["token_log_likelihood"]()
    metric(model, {"input_ids": tokens, "attention_mask": mask})
    assert model.given["attention_mask"] is mask and model.given["position_ids"] is None


def test_a_mask_in_a_tuple_is_not_taken_for_labels() -> None:
    tokens, mask = texts()
    metric = BEHAVIORS["token_log_likelihood"]()
    for second in (mask, torch.ones_like(mask), mask.bool()):
        with pytest.raises(AadslError, match="an attention mask is not labels"):
            metric(Plain(), (tokens, second))
    assert metric(Plain(), (tokens, tokens.masked_fill(mask == 0, -100))).shape == (6,)


def test_an_example_without_a_token_that_counts_is_named() -> None:
    tokens, mask = texts()
    mask[2:4] = 0
    with pytest.raises(AadslError, match="2 of 6 examples have no token that counts"):
        BEHAVIORS["token_log_likelihood"]()(Plain(), {"input_ids": tokens, "attention_mask": mask})
    with pytest.raises(AadslError, match="needs input_ids; the examples have text"):
        BEHAVIORS["token_log_likelihood"]()(Plain(), {"text": tokens})


def test_tokens_of_32_bits_and_outputs_that_are_probabilities() -> None:
    tokens, _ = texts()
    metric, model = BEHAVIORS["token_log_likelihood"](), Plain()
    right = metric(model, tokens)
    torch.testing.assert_close(metric(model, (tokens.int(), tokens.int())), right)
    torch.testing.assert_close(metric(nn.Sequential(model, nn.Softmax(-1)), tokens), right, rtol=1e-4, atol=1e-5)


def test_a_family_by_label_has_no_member_for_examples_without_one(run: Recorded) -> None:
    labels = torch.where(torch.arange(40) % 3 == 0, -100, run.data[1][:40])
    names = {"study": run.study(), "D": (run.data[0][:40], labels)}
    result = aadsl.run("load study\nbehavior digits = margin on D by label\nstage early = steps[0:2]", names)
    assert "-100" not in str(result)
    assert "digits[-100]" not in result.study.behaviors and len(result.study.behaviors) == len(set(labels.tolist())) - 1
