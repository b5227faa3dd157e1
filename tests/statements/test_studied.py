"""What statements ask of a study is what a study offers, and what stands in for one in these tests."""

from __future__ import annotations

import inspect
from types import FunctionType

import pytest

import aadsl
from aadsl.statements.studied import Studied
from tests.statements.fakes import FakeStudy

METHODS = {name: value for name, value in vars(Studied).items() if isinstance(value, FunctionType) and name[0] != "_"}


def test_the_fake_is_a_study_to_statements() -> None:
    assert isinstance(FakeStudy(), Studied)


@pytest.mark.parametrize("kind", [aadsl.Study, FakeStudy])
@pytest.mark.parametrize("name", METHODS)
def test_methods_take_what_statements_give(kind: type, name: str) -> None:
    wanted = inspect.signature(METHODS[name]).parameters
    offered = inspect.signature(getattr(kind, name)).parameters
    assert {parameter: value.kind for parameter, value in wanted.items()}.items() <= {
        parameter: value.kind for parameter, value in offered.items()
    }.items()
    extra = [value for parameter, value in offered.items() if parameter not in wanted]
    assert all(value.default is not value.empty or value.kind is value.VAR_KEYWORD for value in extra)
