"""The benchmark of a card runs everywhere in small, and says what it could not measure."""

import json
import time

import pytest
import torch

from tests.benchmarks import gpu, gpu_measuring
from tests.benchmarks.gpu_cases import PAPER, cases, pythia, table_cases
from tests.benchmarks.gpu_measuring import Bench, limited

KNOWN = gpu.parts(True)


def test_every_part_is_measured_once_and_both_tables_follow(tmp_path, capsys):
    out = tmp_path / "found.jsonl"
    gpu.main(["--toy", "--out", str(out)])
    kept = [json.loads(text) for text in out.read_text().splitlines()]
    printed = capsys.readouterr().out
    assert [one["part"] for one in kept] == list(KNOWN)
    assert "failed" not in json.dumps(kept).replace('"passed"', "")
    for one in kept:
        if "plain" in one:
            assert min(one[name]["seconds"] for name in ("plain", "recorded", "again", "sweep, default")) > 0
    for title in (case.title for case in cases().values()):
        assert f"\n| {title}, 2 steps | " in printed
    for length in (2, 4, 8):
        assert printed.count(f"| {length}K | ") == len(PAPER)
    assert "| ResNet18 | 2K | 288 / " in printed and " | 3.14 / " in printed and " | 3.1 / – | 3 of 1000 |" in printed

    gpu.main(["--toy", "--out", str(out), "--minutes", "0"])
    again = capsys.readouterr().out
    assert len(out.read_text().splitlines()) == len(kept), "nothing is measured again"
    assert printed.split("\n\n")[1:3] == again.split("\n\n")[1:3]


def test_a_part_that_breaks_is_told_and_the_others_go_on(tmp_path, capsys, monkeypatch):
    out = tmp_path / "found.jsonl"

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def broken(*_: object, **__: object) -> None:
        raise ValueError("no such kernel")

    monkeypatch.setattr(gpu_measuring, "swept", full)
    monkeypatch.setattr(Bench, "twice", broken)
    gpu.main(["--toy", "--out", str(out), "mlp", "twice", "ensemble-mlp"])
    mlp, twice, together, *_ = capsys.readouterr().out.splitlines()[1:]
    assert "sweep, default out of memory" in mlp and "recorded" in mlp
    assert twice.endswith("batch 2: ValueError: no such kernel")
    assert "together" in together
    assert [json.loads(text)["part"] for text in out.read_text().splitlines()] == ["mlp", "ensemble-mlp"]


def test_what_no_time_is_left_for_is_left_out(capsys, monkeypatch):
    monkeypatch.setattr(gpu, "parts", lambda toy: {"mlp": KNOWN["mlp"]._replace(guess=61.0)})
    gpu.main(["--toy", "--minutes", "1"])
    assert "left out, it takes about 61 s and 60 s are left" in capsys.readouterr().out


def test_work_that_takes_too_long_ends():
    with limited(60):
        found = Bench(torch.device("cpu")).attempt(lambda: {"slept": time.sleep(30)}, 0.01)
    assert found == {"failed": "over 0 s"}


@pytest.mark.parametrize(("size", "trained"), [("70m", 99_328), ("160m", 296_448), ("410m", 788_480)])
def test_low_rank_corrections_have_the_papers_numbers_of_parameters(size, trained):
    """99K, 296K and 788K in its Table 4."""
    with torch.device("meta"):
        model = pythia(size)
    assert sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) == trained


def test_networks_are_those_of_the_tables():
    own = cases()
    for key, convolutions in {"resnet18": 17 + 3, "resnet34": 33 + 3}.items():
        kinds = [type(module) for module in own[key].model().modules()]
        assert kinds.count(torch.nn.Conv2d) == convolutions
    assert {key: case.steps for key, case in table_cases().items()}["resnet34-8k"] == 4000
    assert "pythia-70m-2k" not in table_cases(), "40 steps are measured anyway"
