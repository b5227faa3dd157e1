"""Effects are computed once, and never served where anything they depend on has changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import aadsl
import aadsl.study.identity
from aadsl.core.progress import silent
from aadsl.data.examples import Examples
from aadsl.estimators import ESTIMATORS, Behavior, FirstOrder, Query
from aadsl.interventions import INTERVENTIONS
from aadsl.propagation import CURVATURES
from aadsl.replayed.execution import Execution
from aadsl.replayed.history import History
from aadsl.study.cache import EffectCache
from aadsl.study.entries import EntryStore
from aadsl.study.identity import Identifier, Identity

STEPS = 12


class Net(nn.Module):
    """A recorded layer after a frozen one."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frozen, self.layer, self.scale = nn.Linear(3, 4), nn.Linear(4, 3), scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(torch.tanh(self.frozen(x))) * self.scale


def loss_with(weight: float) -> Callable[[Any, Any], torch.Tensor]:
    return lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]) * weight


def first_logit(model: nn.Module, examples: Any) -> torch.Tensor:
    return model(examples[0])[:, 0]


def second_logit(model: nn.Module, examples: Any) -> torch.Tensor:
    return model(examples[0])[:, 1]


@dataclass
class Setting:
    """All that an effect depends on."""

    path: Path
    net: nn.Module
    loss: Any
    data: tuple[torch.Tensor, torch.Tensor]
    metric: Any
    probe: tuple[torch.Tensor, torch.Tensor]
    estimator: Any
    intervention: Any
    members: np.ndarray[Any, Any]

    def query(self) -> Query:
        behavior = Behavior("b", self.metric, Examples.of(self.probe))
        return Query(self.members, (behavior,), self.intervention)

    def cache(self) -> tuple[EffectCache, Identity]:
        """A cache of a new session, and the identity of the run as it is."""
        trajectory = aadsl.open_trajectory(self.path)
        history = History(trajectory, model=self.net, loss=self.loss, data=self.data, device="cpu")
        cache = EffectCache(history, EntryStore(self.path.parent / "effects"))
        return cache, Identifier(history, cache.digests).now()

    def knows(self) -> bool:
        cache, identity = self.cache()
        return cache.knows(identity, self.estimator, self.query())


def record(path: Path, net: nn.Module, data: tuple[torch.Tensor, torch.Tensor], lr: float = 0.2) -> None:
    optimizer = torch.optim.SGD(net.layer.parameters(), lr=lr, momentum=0.5)  # type: ignore[union-attr]
    with aadsl.Recorder(path, net, optimizer) as recorder:
        for step in range(STEPS):
            chosen = torch.arange(step, step + 4) % 16
            recorder.batch(indices=chosen)
            optimizer.zero_grad()
            loss_with(1.0)(net, (data[0][chosen], data[1][chosen])).backward()
            optimizer.step()


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    torch.manual_seed(1)
    data = (torch.randn(20, 3), torch.randint(3, (20,)))  # the last four are in no batch
    net = Net()
    record(tmp_path / "run", net, data)
    members = np.zeros((2, STEPS), dtype=bool)
    members[0, 2:5] = members[1, 6] = True
    probe = (torch.randn(5, 3), torch.randint(3, (5,)))
    return Setting(
        tmp_path / "run", net, loss_with(1.0), data, first_logit, probe, FirstOrder(), INTERVENTIONS["skip"](), members
    )


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of stages (or behaviors) of each computation that was really done."""
    counts: list[int] = []
    sweep, retrain = FirstOrder.step_effects, ESTIMATORS["retraining"].answer

    def swept(self: Any, history: Any, behaviors: Any, *rest: Any) -> Any:
        counts.append(len(behaviors))
        return sweep(self, history, behaviors, *rest)

    def retrained(self: Any, history: Any, query: Any, execution: Any) -> Any:
        counts.append(len(query.members))
        return retrain(self, history, query, execution)

    monkeypatch.setattr(FirstOrder, "step_effects", swept)
    monkeypatch.setattr(ESTIMATORS["retraining"], "answer", retrained)
    return counts


def ask(setting: Setting) -> np.ndarray[Any, Any]:
    """Ask in a new session."""
    query, (cache, identity) = setting.query(), setting.cache()
    if isinstance(setting.estimator, FirstOrder):
        asked = query.behaviors, query.intervention
        return cache.step_effects(identity, setting.estimator, *asked, silent)[0].per_step
    return cache.effects(identity, setting.estimator, query, silent)[0].effect


@pytest.mark.parametrize("estimator", ["first_order", "retraining"])
def test_asking_again_computes_nothing_and_gives_the_same(
    estimator: str, setting: Setting, computed: list[int]
) -> None:
    setting.estimator = ESTIMATORS[estimator]()
    assert not setting.knows()
    first = ask(setting)
    assert np.abs(first).max() > 0
    done = len(computed)
    assert done > 0
    np.testing.assert_array_equal(ask(setting), first)
    assert len(computed) == done
    assert setting.knows()


def other_data(setting: Setting) -> None:
    setting.data[0][3, 0] += 1e-3  # in place, in a batch


def other_run(setting: Setting) -> None:
    path = setting.path.parent / "other"
    record(path, Net(), setting.data, lr=0.21)
    setting.path = path


def other_model_code(setting: Setting) -> None:
    class Changed(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + 1

    setting.net = Changed()


def other_frozen_weight(setting: Setting) -> None:
    with torch.no_grad():
        setting.net.frozen.weight[0, 0] += 1e-3  # type: ignore[union-attr, operator, index]


CHANGES: dict[str, Callable[[Setting], Any]] = {
    "data": other_data,
    "run": other_run,
    "model code": other_model_code,
    "model setting": lambda s: setattr(s, "net", Net(scale=2.0)),
    "frozen weight": other_frozen_weight,
    "loss": lambda s: setattr(s, "loss", loss_with(2.0)),
    "metric": lambda s: setattr(s, "metric", second_logit),
    "probe": lambda s: s.probe[0].add_(1),
    "estimator setting": lambda s: setattr(s, "estimator", FirstOrder(curvature=CURVATURES["zero"]())),
    "intervention": lambda s: setattr(s, "intervention", INTERVENTIONS["scale_lr"](factor=0.5)),
    "intervention setting": lambda s: setattr(s, "intervention", INTERVENTIONS["scale_lr"](factor=0.25)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_ingredient_is_computed_anew(change: str, setting: Setting, computed: list[int]) -> None:
    if change == "intervention setting":
        CHANGES["intervention"](setting)
    ask(setting)
    done = len(computed)
    CHANGES[change](setting)
    ask(setting)
    assert len(computed) == done + 1


def test_what_does_not_matter_changes_nothing(setting: Setting, computed: list[int]) -> None:
    ask(setting)
    done = len(computed)
    setting.data[0][19] += 1  # in no batch
    with torch.no_grad():
        setting.net.layer.weight.zero_()  # type: ignore[union-attr, operator]  # recorded: the states say what it was
    setting.net.eval()
    setting.loss = loss_with(1.0)
    ask(setting)
    assert len(computed) == done


def test_examples_and_notes_come_back_as_they_were(setting: Setting) -> None:
    behavior = Behavior("b", first_logit, Examples.of(setting.probe), per_example=True)
    query = Query(setting.members, (behavior, setting.query().behaviors[0]), setting.intervention)
    for method in (ESTIMATORS["linearized"](), ESTIMATORS["retraining"]()):
        cache, identity = setting.cache()
        fresh = method.answer(cache.history, query, Execution())
        cache.effects(identity, method, query, silent)
        kept, _ = setting.cache()[0].effects(identity, method, query, silent)
        np.testing.assert_allclose(kept.effect, fresh.effect, rtol=1e-12)
        assert kept.example_effects.keys() == fresh.example_effects.keys() == {0}
        np.testing.assert_allclose(kept.example_effects[0], fresh.example_effects[0], rtol=1e-12)
        assert (kept.disagreement is None) == (fresh.disagreement is None)


def test_a_damaged_file_is_computed_again(setting: Setting, computed: list[int]) -> None:
    first = ask(setting)
    (file,) = (setting.path.parent / "effects").glob("*.nc")
    content = bytearray(file.read_bytes())
    for damage in (lambda: content[:-100], lambda: bytes([content[0] ^ 1]) + content[1:], lambda: b""):
        file.write_bytes(damage())
        done = len(computed)
        np.testing.assert_array_equal(ask(setting), first)
        assert len(computed) == done + 1
    ask(setting)
    assert len(computed) == done + 1  # and mended


def test_a_killed_write_leaves_nothing_that_is_read(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(self: Any, target: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        ask(setting)
    monkeypatch.undo()
    assert list((setting.path.parent / "effects").glob("*.nc")) == []
    assert np.abs(ask(setting)).max() > 0


def test_a_folder_that_cannot_be_written_loses_no_answer(setting: Setting) -> None:
    (setting.path.parent / "effects").write_text("in the way")
    assert np.abs(ask(setting)).max() > 0


def test_what_has_no_fingerprint_is_answered_and_not_kept(setting: Setting, computed: list[int]) -> None:
    opaque = object()
    setting.metric = lambda model, examples: model(examples[0])[:, 0] * (opaque is not None)
    first = ask(setting)
    np.testing.assert_array_equal(ask(setting), first)
    assert len(computed) == 2


def test_another_engine_is_another_key(setting: Setting, computed: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    ask(setting)
    monkeypatch.setattr(aadsl.study.identity, "engine_digest", lambda: "another")
    ask(setting)
    assert len(computed) == 2


def test_two_processes_may_write_at_once(tmp_path: Path) -> None:
    one, other = EntryStore(tmp_path / "e"), EntryStore(tmp_path / "e")
    one.keep({"a": {"effect": np.array(1.0)}})
    other.keep({"b": {"effect": np.array([1.0, 2.0])}})
    for store in (one, other, EntryStore(tmp_path / "e")):
        np.testing.assert_array_equal(store.find("a")["effect"], 1.0)  # type: ignore[index]
        np.testing.assert_array_equal(store.find("b")["effect"], [1.0, 2.0])  # type: ignore[index]
        assert store.find("c") is None


def test_what_is_missed_is_looked_for_in_new_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files there are: each is opened once, and only names are listed after that."""
    other, opened = EntryStore(tmp_path / "e"), []
    honest = aadsl.study.entries.opened
    monkeypatch.setattr(aadsl.study.entries, "opened", lambda path: opened.append(path) or honest(path))
    store = EntryStore(tmp_path / "e")
    for number in range(5):
        assert store.find(f"b{number}") is None
        other.keep({f"b{number}": {"effect": np.array(float(number))}})
        assert store.find(f"b{number}") == {"effect": number}
        assert store.find("missing") is None
    assert len(opened) == len(set(opened)) == 5
