"""The trace of each span, the settings that turn traces on, and no spans when they are off."""

from __future__ import annotations

import json
import logging

import pytest

from playhead.backends.tracer_otel import OtelTracer
from playhead.logformat import JsonFormatter
from playhead.ports.tracer import OFF, nearest, trace_of
from playhead.settings.traces import trace_protocol, wants_traces
from tests.acceptance.collector import open_collector

TRACE = "0af7651916cd43dd8448eb211c80319c"
ROW = f"00-{TRACE}-b7ad6b7169203331-01"
ATTEMPT = f"00-{TRACE}-00f067aa0ba902b7-01"
STRANGER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
GARBAGE = (
    *("", "x", TRACE, ROW.upper(), ROW + "\n", ROW[:-1], "ff" + ROW[2:]),
    *(f"00-{'0' * 32}-b7ad6b7169203331-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-b7ad6b7169203331"),
)


@pytest.mark.parametrize("said", GARBAGE)
def test_a_malformed_header_names_no_trace(said: str):
    assert trace_of(said) is None
    assert nearest(ROW, said) == ROW
    assert nearest(None, said) is None


def test_a_span_is_a_child_of_the_attempt_in_its_header():
    assert trace_of(ATTEMPT) == TRACE
    assert nearest(ROW, ATTEMPT) == ATTEMPT


def test_the_row_overrides_a_header_of_another_trace():
    assert nearest(ROW, STRANGER) == ROW


def test_without_a_trace_in_the_row_the_header_is_used():
    assert nearest(None, ATTEMPT) == ATTEMPT
    assert nearest(None, None) is None
    assert nearest(ROW, None) == ROW


def test_without_traces_a_span_can_be_used_and_has_no_id():
    with OFF.start("work", ROW, {"playhead.attempt": 1}) as span, span.current():
        span.set({"playhead.outcome": "completed"})
        span.rename("other")
        span.fail("why")
        assert span.traceparent is None
        assert OFF.current() is None
    assert not OFF.on


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("ENDPOINT", "TRACES_ENDPOINT", "PROTOCOL", "TRACES_PROTOCOL"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
    monkeypatch.delenv("OTEL_SDK_DISABLED", raising=False)
    monkeypatch.delenv("OTEL_TRACES_EXPORTER", raising=False)
    return monkeypatch


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_an_endpoint_turns_traces_on(name: str, variables: pytest.MonkeyPatch):
    assert not wants_traces()
    variables.setenv(name, "")
    assert not wants_traces()
    variables.setenv(name, "http://collector:4318")
    assert wants_traces()


@pytest.mark.parametrize(("name", "value"), [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")])
def test_traces_can_be_turned_off_regardless_of_other_variables(
    name: str, value: str, variables: pytest.MonkeyPatch
):
    variables.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    variables.setenv(name, value)
    assert not wants_traces()


def test_variables_for_traces_override_variables_for_all_signals(variables: pytest.MonkeyPatch):
    assert trace_protocol() == "http/protobuf"
    variables.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    assert trace_protocol() == "grpc"
    variables.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
    assert trace_protocol() == "http/protobuf"


def test_a_log_line_has_a_trace_id_only_within_a_trace():
    record = logging.LogRecord("playhead", logging.INFO, __file__, 1, "said", (), None)
    assert "trace_id" not in json.loads(JsonFormatter().format(record))
    record.trace_id = TRACE
    assert json.loads(JsonFormatter().format(record))["trace_id"] == TRACE


async def test_an_error_text_that_is_not_unicode_is_exported_and_does_not_affect_other_spans(
    variables: pytest.MonkeyPatch,
):
    with open_collector() as collector:
        for name, value in collector.settings.items():
            variables.setenv(name, value)
        tracer = OtelTracer(version="1", process="p")
        with tracer.start("good"):
            pass
        with tracer.start("bad") as bad:
            bad.fail("there is no file p\udcfcge.html")
        await tracer.close()

    assert {s.name: s.failed for s in collector.spans} == {
        "good": None,
        "bad": "there is no file p\\udcfcge.html",
    }
