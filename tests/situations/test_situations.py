"""Every situation is answered rightly, or refused with its cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.situations.adversarial import ADVERSARIAL
from tests.situations.harness import Verdict, tried
from tests.situations.loops import LOOPS
from tests.situations.plants import Plant, plants
from tests.situations.sound import NOT_SOUND, SOUND

SITUATIONS = LOOPS | ADVERSARIAL | NOT_SOUND | SOUND


@pytest.mark.filterwarnings("ignore:.*left out:UserWarning")
@pytest.mark.parametrize("name", SITUATIONS)
def test_situation(name: str, tmp_path: Path) -> None:
    situation = SITUATIONS[name]
    found = tried(situation, tmp_path / "run")
    assert found.word == situation.expected, found
    assert situation.because in found.said
    assert found.word != "right" or found.trust == "high"


@pytest.mark.parametrize(
    "plant", plants(18, seed=1, lengths=(40, 120)), ids=lambda plant: f"{plant.kind}-{plant.length}"
)
def test_a_change_at_one_step_leads_to_no_wrong_number(plant: Plant, tmp_path: Path) -> None:
    found = tried(plant.situation, tmp_path / "run")
    assert not found.wrong, found


def test_a_wrong_answer_would_be_seen() -> None:
    assert Verdict(0.1, 0.103, "high").word == "WRONG"
    assert Verdict(0.1, 0.103, "low").word == "marked"
    assert Verdict(0.1, 0.1000005, "high").word == "right"
