"""A collector of traces: OTLP over HTTP, as a real one speaks it, that keeps what it is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue


@dataclass(frozen=True, slots=True)
class Seen:
    """A span that was sent. Ids are hexadecimal; `parent` is empty at the root of a trace."""

    trace: str
    id: str
    parent: str
    name: str
    about: Mapping[str, str | int]
    failed: str | None
    process: Mapping[str, str | int]
    seconds: float

    def __getitem__(self, name: str) -> str | int:
        """Return an attribute of Playhead."""
        return self.about[f"playhead.{name}"]


@dataclass
class Collector:
    """What came so far, and where it is to be sent."""

    url: str = ""
    spans: list[Seen] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, str]:
        """Variables of a process that sends its spans here, soon after they end."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}

    def of(self, trace: str) -> list[Seen]:
        return [span for span in self.spans if span.trace == trace]

    def named(self, name: str, **about: str | int) -> list[Seen]:
        """Return the spans of a name with these attributes of Playhead."""
        wanted = {f"playhead.{key}": value for key, value in about.items()}
        return [s for s in self.spans if s.name == name and wanted.items() <= s.about.items()]


@contextmanager
def open_collector() -> Iterator[Collector]:
    """A collector on a free port."""
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path != "/v1/traces":
                self.send_error(404)
                return
            found.spans += _spans(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *said: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _spans(request: ExportTraceServiceRequest) -> Iterator[Seen]:
    for of_process in request.resource_spans:
        process = _about(of_process.resource.attributes)
        for of_scope in of_process.scope_spans:
            for span in of_scope.spans:
                yield Seen(
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    name=span.name,
                    about=_about(span.attributes),
                    failed=span.status.message if span.status.code == span.status.STATUS_CODE_ERROR else None,
                    process=process,
                    seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                )


def _about(pairs: Iterable[KeyValue]) -> dict[str, str | int]:
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in pairs}
