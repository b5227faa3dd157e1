"""Threads that ask at the same time: each gets the numbers that it would get alone, and waiting can be ended."""

import signal
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

import aadsl
from aadsl.core.exclusive import WAITING, turn
from tests.digits import images_and_labels, loss_fn, record

LIMIT = 600
"""Seconds after which a thread hangs, however slow the machine is."""


def yielding(net, batch):
    """The loss, with pauses in which another thread would change weights and random numbers under it."""
    time.sleep(0.001)
    value = loss_fn(net, batch)
    time.sleep(0.001)
    return value


def together(*questions):
    """Ask all at the same time; return the answers in order."""
    answers = [None] * len(questions)
    start = threading.Barrier(len(questions))

    def ask(k):
        start.wait()
        answers[k] = questions[k]()

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(len(questions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    return answers


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return record(tmp_path_factory.mktemp("turns") / "digits")


def named(study, data):
    study.stage("early", slice(2, 9))
    study.stage("late", slice(14, 20))
    study.behavior("seven", "log_likelihood", (data[0][:20], data[1][:20]), target=7)
    return study


def effect(study, stage, estimator="retraining"):
    return study.score([stage], ["seven"], estimator=estimator).effect.item()


def test_two_threads_on_one_study_get_the_truth(digits):
    study = named(digits.study(loss=yielding), digits.data)
    answers = together(lambda: effect(study, "early"), lambda: effect(study, "late"))

    def seven(skipped):
        return digits.retrained(skipped)(digits.data[0][:20]).log_softmax(-1)[:, 7].mean().item()

    truth = [seven([]) - seven(range(2, 9)), seven([]) - seven(range(14, 20))]
    assert answers == pytest.approx(truth, rel=1e-4)


def test_a_sweep_beside_a_retraining_is_as_good_as_alone(digits):
    study = named(digits.study(loss=yielding), digits.data)
    beside = together(lambda: effect(study, "early", "first_order"), lambda: effect(study, "late", "linearized"))
    alone = named(digits.study(), digits.data)  # another loss to the cache: computed anew
    assert beside == [effect(alone, "early", "first_order"), effect(alone, "late", "linearized")]


def test_two_studies_share_the_random_generator(tmp_path):
    """Dropout draws its masks again in a replay, so even studies with models of their own take turns."""
    torch.manual_seed(0)
    data = images_and_labels()
    net = nn.Sequential(nn.Linear(784, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with aadsl.Recorder(tmp_path / "dropping", net, optimizer, data=data) as recorder:
        for t in range(24):
            rows = np.arange(t * 10, t * 10 + 10)
            optimizer.zero_grad()
            recorder.batch(indices=rows)
            loss_fn(net, (data[0][rows], data[1][rows])).backward()
            optimizer.step()
    trajectory = aadsl.open_trajectory(tmp_path / "dropping")

    def study(loss):
        return named(aadsl.Study(trajectory, model=net, loss=loss, data=data, device="cpu"), data)

    first, second, alone = study(yielding), study(yielding), study(loss_fn)
    beside = together(lambda: effect(first, "early"), lambda: effect(second, "late"))
    assert beside == [effect(alone, "early"), effect(alone, "late")]


class GivenUpError(Exception):
    pass


def held():
    """Return a thread that computes, and what lets it end."""
    computing, enough = threading.Event(), threading.Event()

    def compute():
        with turn(lambda *_: None):
            computing.set()
            enough.wait(LIMIT)

    thread = threading.Thread(target=compute)
    thread.start()
    assert computing.wait(LIMIT)
    return thread, enough


def test_who_waits_is_told_and_may_give_up():
    thread, enough = held()

    def give_up(what, done, total):
        assert (what, done, total) == (WAITING, 0, 1)
        raise GivenUpError

    with pytest.raises(GivenUpError), turn(give_up):
        pytest.fail("two computations at once")
    enough.set()
    thread.join(LIMIT)
    with turn(pytest.fail):  # nobody holds it now: not told to wait
        pass


def test_an_interrupt_ends_waiting():
    thread, enough = held()
    with pytest.raises(KeyboardInterrupt), turn(lambda *_: signal.raise_signal(signal.SIGINT)):
        pytest.fail("two computations at once")
    enough.set()
    thread.join(LIMIT)
    with turn(pytest.fail):
        pass


def test_a_branch_keeps_its_names_to_itself(digits):
    study = named(digits.study(), digits.data)
    branch = study.branch()
    branch.stage("more", slice(0, 3))
    branch.family("half", {"a": slice(0, 12)})
    study.stage("other", slice(0, 3))
    assert list(study.stages) == ["early", "late", "other"]
    assert study.families == {}
    assert list(branch.stages) == ["early", "late", "more", "half[a]"]
    assert branch.history is study.history
