"""``--explain`` and ``--device`` on a real run."""

import pytest

import aadsl


@pytest.fixture
def notebook(shell, recorded):
    from tests.digits import loss_fn

    shell.user_ns.update(net=recorded.net, loss_fn=loss_fn, digits=recorded.data, test=recorded.data)
    return shell


def program(recorded, options="--device cpu"):
    return (
        f'%%aascore --out r {options}\nload "{recorded.path}" with model=net, loss=loss_fn, data=digits\n'
        "stage b = steps where tag == 'b'\nbehavior seven = probability(target=7) on test where label == 7\n"
        "score b on seven\nplot bars\n"
    )


def test_explain_computes_nothing_and_says_the_cost(notebook, recorded, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("computed")

    monkeypatch.setattr(aadsl.Study, "score", refuse)
    assert notebook.run_cell(program(recorded, "--explain --device cpu")).success
    result = notebook.user_ns["r"]
    assert result.dataset is None
    assert not result.charts
    assert "gradients" in result.plan


def test_device_is_that_of_the_run(notebook, recorded):
    assert notebook.run_cell(program(recorded, "--device cpu --quiet")).success
    assert str(notebook.user_ns["r"].session.study.history.device) == "cpu"


def test_an_impossible_device_is_said(notebook, recorded, capsys):
    assert not notebook.run_cell(program(recorded, "--device tpu")).success
    shown = capsys.readouterr().out
    assert 'PyTorch cannot compute on "tpu" here' in shown
    assert "Traceback" not in shown


def test_single_examples_are_plotted_with_their_pictures(notebook, recorded):
    text = program(recorded).replace("where label == 7", "where label == 7 per example").replace("bars", "examples")
    text = text.replace("on test", "on few")
    notebook.user_ns["few"] = tuple(part[:60] for part in recorded.data)
    assert notebook.run_cell(text).success
    assert "data:image/png;base64" in str(notebook.user_ns["r"].charts[0].to_dict())
