"""One invocation: its flags, its settings, and its exit code, also after any error."""

from __future__ import annotations

import errno
import inspect
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from playhead import ids
from playhead.cli import exits, output
from playhead.errors import BadRequest, ConfigInvalid, PlanChanged, PlayheadError, ReplayContinues
from playhead.ports.tracer import OFF, Tracer

if TYPE_CHECKING:
    from playhead.cli.deployment import Deployment
    from playhead.clientkeys import ClientKey
    from playhead.remote import RemoteServices
    from playhead.settings import Settings

BACKENDS: Final = ("home", "store", "broker", "catalog")
"""The settings that name backends of this process."""
_MOST_DIFFERENCES: Final = 10
"""Objects of a changed plan that are shown; with `--json`, all that the error has."""


@asynccontextmanager
async def _spanned(tracer: Tracer, kind: str | None) -> AsyncIterator[None]:
    """The span of a command, current while it runs."""
    with tracer.start(f"playhead {kind}") as span, span.current():
        yield


class Usage(BadRequest):
    """The command line is wrong in a way that only the command itself detects."""

    def __init__(self, detail: str) -> None:
        super().__init__("usage", detail)


@contextmanager
def limits_of(**options: str) -> Iterator[None]:
    """Name the option in the error of a value that breaks a limit of the request.

    Args:
        options: the option of a field, if it has another name.
    """
    from playhead.limits import InvalidValue

    try:
        yield
    except InvalidValue as exc:
        option = options.get(exc.field, f"--{exc.field.replace('_', '-')}")
        raise Usage(f"{option}: {exc.why}") from None


@dataclass
class Session:
    """What a command works with.

    Attributes:
        flags: settings given on the command line, by name; None where not given.
        json: only JSON on stdout.
        interrupted: what Ctrl-C reports: the state left, and how to continue; the command updates it.
        file: the config file to which the diagnostics of an error belong.
        reason: why something is changed, for the audit.
        key_file: file with the key for the server.
        insecure_http: the key may be sent over `http` to another machine.
    """

    flags: dict[str, Any] = field(default_factory=dict)
    json: bool = False
    interrupted: str = "stopped by Ctrl-C"
    file: str = ""
    reason: str | None = None
    key_file: str | None = None
    insecure_http: bool = False

    @cached_property
    def settings(self) -> Settings:
        from playhead.settings import load_settings

        return load_settings(**{name: value for name, value in self.flags.items() if value is not None})

    @cached_property
    def server(self) -> str | None:
        """The server to use; None: the backends. A flag overrides other settings.

        Raises:
            Usage: flags name both.
        """
        named = [name for name in BACKENDS if self.flags.get(name) is not None]
        if named and self.flags.get("server") is not None:
            raise Usage(f"--server and --{named[0]} cannot be combined: the server has its own backends")
        return None if named else self.settings.server

    @asynccontextmanager
    async def open(
        self, kind: str | None = None, *, checks_configs: bool = False, creates_home: bool = False
    ) -> AsyncIterator[Deployment]:
        """Open the backends that the settings name, or the services of the server that they name.

        Args:
            kind: `run`, `replay` or `plan` for a command that works for some time; None for one that only
                reads.
            checks_configs: whether the operator's adapters are imported, to check the configs of steps.
            creates_home: whether a missing home is created; otherwise it is an error.
        """
        from playhead.cli.deployment import Deployment

        if self.server is not None:
            async with (
                self._tracer(kind) as tracer,
                self.open_server(self.server, tracer) as services,
                _spanned(tracer, kind),
            ):
                yield Deployment(services, None)
            return
        from playhead.bootstrap import open_runtime
        from playhead.bootstrap.process import watchdog_of
        from playhead.cli import logs

        self.tell_of_settings()
        logs.set_up(self.settings)
        watchdog = watchdog_of(self.settings) if kind == "run" else None
        async with (
            open_runtime(
                self.settings,
                kind=kind,
                checks_configs=checks_configs,
                creates_home=creates_home,
                watchdog=watchdog,
            ) as here,
            _spanned(here.environment.tracer, kind),
        ):
            yield Deployment(here.services, here)

    @asynccontextmanager
    async def _tracer(self, kind: str | None) -> AsyncIterator[Tracer]:
        """Open what starts the span of a command that uses a server."""
        from playhead.settings.traces import wants_traces

        if kind is None or not wants_traces():
            yield OFF
            return
        from playhead.bootstrap.tracing import open_tracer

        async with open_tracer(f"cli-{ids.uuid7()}") as tracer:
            yield tracer

    def open_server(self, url: str, tracer: Tracer = OFF) -> AbstractAsyncContextManager[RemoteServices]:
        """Return the services of a server; no request is sent before one is used."""
        from playhead.cli import logs
        from playhead.remote import open_server

        self.tell_of_settings()
        logs.set_up(self.settings)
        key = self.key_for(url)
        return open_server(url, tracer, key=key and key.text, warn=output.note)

    def key_for(self, url: str) -> ClientKey | None:
        """Return the key for a server; None: there is none."""
        from playhead.clientkeys import is_server_of_environment, key_for

        is_chosen = self.flags.get("server") is not None or is_server_of_environment()
        return key_for(url, is_chosen=is_chosen, file=self.key_file, allows_http=self.insecure_http)

    def tell_of_settings(self) -> None:
        """Report on stderr a home that was found in a parent folder, and ignored variables and files."""
        from playhead.settings.hints import home_of_parent, ignored

        for warning in ignored():
            output.note(warning)
        is_default = self.server is None and self.flags.get("home") is None
        if is_default and (found := home_of_parent(self.settings)):
            output.note(found)

    def again(self, command: str) -> str:
        """Return a command to try next, ready to be pasted: on the same server, if a flag named one.

        A user name and a password in the address are removed.
        """
        from playhead.settings import without_password

        given = self.flags.get("server")
        return f"{command} --server {without_password(given)}" if given else command

    def call(self, function: Callable[..., Any], given: Mapping[str, Any]) -> int:
        """Run a command and return its exit code. All errors are reported here, without a traceback."""
        try:
            code = self._call(function, given)
            # Flush here, because an error when the interpreter exits could not be reported.
            with output.stdout() as stdout:
                stdout.flush()
        except output.Unwritable as exc:
            # Discard the rest of the output, which Python would flush again when it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if exc.errno == errno.EPIPE:  # the reader (`| head`) has exited
                return exits.PIPE_CLOSED
            output.note(f"Error: cannot write to stdout: {exc.strerror}")
            return exits.FAILED
        return code

    def _call(self, function: Callable[..., Any], given: Mapping[str, Any]) -> int:
        """Run a command and return its exit code. Raises `Unwritable` for stdout, and no other error."""
        from playhead import acting
        from playhead.user import local_user

        with acting.acting(acting.local(local_user(), "cli", self.reason)):
            return self._act(function, given)

    def _act(self, function: Callable[..., Any], given: Mapping[str, Any]) -> int:
        """Run a command for the local user."""
        from playhead import acting

        try:
            if len(self.reason or "") > acting.REASON_LENGTH:
                raise Usage(f"--reason has more than {acting.REASON_LENGTH:,} characters")
            if inspect.iscoroutinefunction(function):
                import asyncio

                code = asyncio.run(function(self, **given))
            else:
                code = function(self, **given)
        except KeyboardInterrupt:
            self.fail("interrupted", self.interrupted)
            return exits.INTERRUPTED
        except PlayheadError as exc:
            diagnostics = exc.diagnostics if isinstance(exc, ConfigInvalid) else ()
            difference = exc.difference if isinstance(exc, PlanChanged) else None
            self.fail(exc.code, exc.detail, diagnostics, exc.correlation_id, difference)
            if isinstance(exc, ReplayContinues):
                watch = f"playhead replays watch {exc.replay_batch_id}"
                output.note(f"To watch it: {self.again(watch)}")
            return exits.exit_code(exc)
        except output.Unwritable:
            raise
        except Exception as exc:
            # A bug in Playhead. One setting adds its traceback.
            self._unexpected(exc)
            return exits.FAILED
        return int(code or exits.OK)

    def fail(
        self,
        code: str,
        detail: str,
        diagnostics: Sequence[object] = (),
        correlation_id: str | None = None,
        difference: object = None,
    ) -> None:
        """Write an error: text on stderr, and with `--json` the API's ErrorResponse on stdout."""
        # Each fault is listed below, so a detail that quotes the first one ends before it.
        quoted = any(getattr(fault, "message", detail) in detail for fault in diagnostics)
        output.note(f"Error ({code}): {detail.partition(': ')[0] if quoted else detail}")
        for diagnostic in diagnostics:
            output.note("  " + output.diagnostic(diagnostic, self.file))
        for one in getattr(difference, "first", ())[:_MOST_DIFFERENCES]:
            output.note(f"  {one.what:<8} {one.key}")
        self.report(code, detail, diagnostics, correlation_id, difference)

    def report(
        self,
        code: str,
        detail: str,
        diagnostics: Sequence[object] = (),
        correlation_id: str | None = None,
        difference: object = None,
    ) -> None:
        """Write an error as the API's ErrorResponse, with `--json` only."""
        if not self.json:
            return
        body: dict[str, object] = {
            "detail": detail,
            "error_code": code,
            "correlation_id": correlation_id or str(ids.uuid7()),
            "timestamp": ids.moment(time.time()),
        }
        if diagnostics:
            body["diagnostics"] = diagnostics
        if difference is not None:
            body["difference"] = difference
        output.emit(body)

    def _unexpected(self, exc: Exception) -> None:
        settings = self.__dict__.get("settings")
        if settings is not None and str(settings.log_level).lower() == "debug":
            import traceback

            traceback.print_exception(exc)
            hint = ""
        else:
            hint = "; PLAYHEAD_LOG_LEVEL=debug prints a traceback"
        self.fail("internal", f"{type(exc).__name__}: {exc} (a bug, please report it{hint})")
