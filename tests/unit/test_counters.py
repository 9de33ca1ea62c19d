"""Counters of a process, and their encoding for the catalog."""

from __future__ import annotations

from playhead.counters import AGE_BOUNDS, Counters, Histogram, Numbers, decode, encode, total

CONVERT = ("docs", "convert")


def test_a_value_equal_to_an_upper_bound_belongs_to_that_bucket():
    histogram = Histogram((0.1, 1.0))
    for value in (0.0, 0.1, 0.5, 1.0, 7.0):
        histogram.add(value)
    assert (histogram.counts, histogram.sum) == ([2, 2, 1], 8.6)


def test_zero_counts_are_not_reported():
    counters = Counters()
    counters.of("docs", "split")
    counters.of(*CONVERT).completed += 2
    counters.of(*CONVERT).age_seconds.add(0.07)
    counts = [0, 1] + [0] * (len(AGE_BOUNDS) - 1)
    assert counters.numbers() == {CONVERT: {"completed": [2], "age_seconds": [0.07, *counts]}}


def test_encoded_counts_are_decoded_unchanged():
    counts: dict[str, list[float]] = {"completed": [2], "attempt_seconds": [0.5, 1, 0]}
    numbers: Numbers = {CONVERT: counts, ("a", "b"): {"dead": [1]}}
    assert decode(encode(numbers)) == numbers
    assert decode(None) == {}


def test_counts_are_added_by_name_without_changing_the_summands():
    one, two = {CONVERT: {"completed": [2]}}, {CONVERT: {"completed": [3], "dead": [1]}}
    assert total([one, two]) == {CONVERT: {"completed": [5], "dead": [1]}}
    assert one == {CONVERT: {"completed": [2]}}


def test_counts_that_the_catalog_has_kept_are_not_reported_again():
    counters = Counters()
    counters.of(*CONVERT).completed += 3
    counters.kept(counters.numbers())
    counters.of(*CONVERT).completed += 2
    assert counters.numbers() == {CONVERT: {"completed": [2]}}
    counters.kept(counters.numbers())
    assert counters.numbers() == {CONVERT: {"completed": [0]}}
