"""Conditions on the code that made a result."""

from __future__ import annotations

import pytest

from playhead.model import AdapterCode, CodeCondition


def met(condition: str, *versions: str) -> bool:
    """Whether a result of the adapters `other 0` and `chunk` in these versions meets a condition."""
    adapters = [AdapterCode("chunk", version, "sha256:aa") for version in versions]
    return CodeCondition.of(condition).is_met([AdapterCode("other", "0", ""), *adapters])


@pytest.mark.parametrize(("version", "limit"), [("1", "2"), ("9", "10"), ("1.9", "1.10"), ("1.0", "1.0.1")])
def test_versions_of_numbers_are_compared_as_numbers(version: str, limit: str):
    assert met(f"chunk<{limit}", version)
    assert not met(f"chunk<{version}", limit)
    assert not met(f"chunk<{limit}", limit)


def test_versions_with_zeros_at_the_end_are_not_older():
    assert not met("chunk<1.0", "1")
    assert not met("chunk<1", "1.0")


def test_other_versions_are_never_older_and_compared_as_texts():
    assert not met("chunk<2", "1-beta")
    assert met("chunk=1-beta", "1-beta")
    assert not met("chunk=1", "1.0")


def test_one_adapter_of_the_type_is_enough():
    assert met("chunk<2", "3", "1")
    assert not met("chunk<2")
