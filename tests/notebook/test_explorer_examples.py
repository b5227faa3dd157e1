"""The examples that the explorer shows of selected steps, against a plain loop over the recorded run."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import aadsl
from jupyter_ext.explorer import explore
from jupyter_ext.explorer.examples import WORST, look_of
from tests.charts.test_hostile_texts import HOSTILE
from tests.digits import BATCH, loss_fn
from tests.notebook.lab import LIMIT


@pytest.fixture
def explorer(answered):
    explorer = explore(answered)
    explorer.sent = []
    explorer.send = explorer.sent.append
    return explorer


def asked(explorer, **message):
    """Return what is found of the selection, or of one step."""
    explorer.sent.clear()
    explorer._on_message(None, message, [])
    explorer._examples.wait(LIMIT)
    (sent,) = explorer.sent
    return sent


def select(explorer, start, stop, where=""):
    explorer.view = {**explorer.view, "start": start, "stop": stop, "where": where}


def test_the_worst_examples_are_those_of_the_final_models_loss(explorer, recorded):
    select(explorer, 3, 9, 'tag == "b"')
    sent = asked(explorer, kind="examples")
    assert (sent["kind"], sent["key"]) == ("examples", 'steps[3:9] where tag == "b"')
    found, rows = sent["found"], np.r_[5 * BATCH : 6 * BATCH, 8 * BATCH : 9 * BATCH]  # row k is example k of the data
    model = recorded.retrained([])
    with torch.no_grad():
        losses = [float(loss_fn(model, tuple(part[k : k + 1] for part in recorded.data))) for k in rows]
    order = np.argsort(-np.array(losses))[:WORST]
    assert [example["number"] for example in found["examples"]] == [str(rows[k]) for k in order]
    np.testing.assert_allclose([example["loss"] for example in found["examples"]], np.array(losses)[order], rtol=1e-5)
    assert [example["step"] for example in found["examples"]] == [int(rows[k]) // BATCH for k in order]
    assert [example["label"] for example in found["examples"]] == [str(recorded.data[1][rows[k]].item()) for k in order]
    assert all(example["picture"].startswith("data:image/png;base64,") for example in found["examples"])
    assert found["uses"] == found["looked"] == 2 * BATCH


def test_labels_are_counted_beside_those_of_the_whole_run(explorer, recorded):
    select(explorer, 0, 2)
    labels = asked(explorer, kind="examples")["found"]["labels"]
    here, run = (np.bincount(recorded.data[1][:n], minlength=10) for n in (2 * BATCH, 24 * BATCH))
    assert labels["counts"] == [[str(k), int(here[k]), int(run[k])] for k in range(10)]
    assert (labels["name"], labels["more"], labels["run"]) == ("label", 0, 24 * BATCH)


def test_a_step_shows_a_few_of_its_examples(explorer, recorded):
    sent = asked(explorer, kind="step", step=7)
    assert (sent["kind"], sent["step"], sent["found"]["uses"]) == ("step", 7, BATCH)
    assert [one["number"] for one in sent["found"]["examples"]] == ["70", "71", "72", "73"]


def test_training_goes_on_the_same_after_a_look(explorer):
    """The loss may draw random numbers; what the notebook draws afterwards is what it would have drawn."""
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    explorer._study.history.objective.loss, loss = (
        lambda model, batch: loss_fn(model, batch) + 0 * torch.rand(()),
        explorer._study.history.objective.loss,
    )
    try:
        select(explorer, 0, 2)
        assert asked(explorer, kind="examples")["found"]["why"] == ""
    finally:
        explorer._study.history.objective.loss = loss
    assert torch.rand(1) == expected


def recorded_texts(folder, losses="single"):
    """Record steps on texts whose batches are stored, not looked up; the table names them."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def loss(model, batch):
        if losses == "whole" and len(batch["labels"]) == 1:
            raise ValueError("a batch of one")
        return nn.functional.cross_entropy(model(batch["ids"]), batch["labels"])

    with aadsl.Recorder(folder, net, optimizer) as recorder:
        for t in range(6):
            texts = [HOSTILE[(2 * t + k) % len(HOSTILE)] for k in (0, 1)]
            batch = {"text": texts, "ids": torch.randint(0, 9, (2, 5)), "labels": torch.tensor([0, 1])}
            optimizer.zero_grad()
            value = loss(net, batch)
            value.backward()
            recorder.batch(batch, size=2, loss=value)
            optimizer.step()
    study = aadsl.Study(aadsl.open_trajectory(folder), model=net, loss=loss, device="cpu")
    behavior = lambda model, batch: model(batch[0])[:, 0]  # noqa: E731
    names = {"study": study, "first": behavior, "probes": (torch.randint(0, 9, (3, 5)),)}
    return aadsl.run("load study\nstage early = steps[0:2]\nbehavior b = first on probes\nscore early on b", names)


@pytest.mark.parametrize("losses", ["single", "whole"])
def test_stored_batches_and_texts_are_shown_too(tmp_path, losses):
    explorer = explore(recorded_texts(tmp_path / "texts", losses))
    explorer.sent = []
    explorer.send = explorer.sent.append
    select(explorer, 0, 3)
    found = asked(explorer, kind="examples")["found"]
    assert {one["text"] for one in found["examples"]} == set(HOSTILE[:6])
    assert found["labels"] == {}
    assert ("a batch of one" in found["why"]) == (losses == "whole")
    assert all((one["loss"] is None) == (losses == "whole") for one in found["examples"])


def test_what_cannot_be_shown_says_why(answered, explorer, monkeypatch):
    def broken(*_, **__):
        raise OSError("the disk is gone")

    monkeypatch.setattr("jupyter_ext.explorer.examples.single_examples", broken)
    select(explorer, 0, 2)
    assert asked(explorer, kind="examples")["found"] == {"missing": "OSError: the disk is gone"}


@pytest.mark.parametrize(
    ("example", "kind"),
    [
        ((torch.rand(1, 784), torch.tensor([3])), "picture"),
        ((torch.rand(1, 3, 32, 32).bfloat16(),), "picture"),
        ({"pixel_values": torch.rand(1, 1, 300, 200, requires_grad=True)}, "picture"),
        ((torch.full((1, 8, 8), torch.nan),), "picture"),
        (["a text"], "text"),
        ({"input_ids": torch.tensor([[3, 4]]), "text": ["<b>"]}, "text"),
        ((torch.tensor([[3, 4]]), torch.tensor([1])), None),
        (pd.DataFrame({"a": [1]}), None),
        (torch.rand(1, 9, 9, dtype=torch.complex64), None),
        (5, None),
    ],
)
def test_an_example_is_shown_as_a_picture_or_a_text_where_it_is_one(example, kind):
    assert list(look_of(example)) == ([] if kind is None else [kind])
    assert sum(map(len, look_of(example).values())) < 20_000
