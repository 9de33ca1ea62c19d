"""One invocation: its flags, its settings, and how it ends, whatever happens."""

from __future__ import annotations

import inspect
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from playhead import ids
from playhead.cli import exits, output
from playhead.errors import BadRequest, ConfigInvalid, PlayheadError, ReplayContinues

if TYPE_CHECKING:
    from playhead.bootstrap import Runtime
    from playhead.settings import Settings


class Usage(BadRequest):
    """The command line can't be right, in a way that only the command itself can tell."""

    def __init__(self, detail: str) -> None:
        super().__init__("usage", detail)


@dataclass
class Session:
    """What a command works with.

    Attributes:
        flags: settings given on the command line, by name; None where not given.
        json: only JSON on stdout.
        interrupted: what Ctrl-C leaves behind and how to go on, kept up to date by the command.
        file: the config file at hand, which an error's diagnostics are about.
    """

    flags: dict[str, Any] = field(default_factory=dict)
    json: bool = False
    interrupted: str = "stopped by Ctrl-C"
    file: str = ""

    @cached_property
    def settings(self) -> Settings:
        from playhead.settings import load_settings

        return load_settings(**{name: value for name, value in self.flags.items() if value is not None})

    def open(self, kind: str | None = None) -> AbstractAsyncContextManager[Runtime]:
        """Open the backends that the settings name.

        Args:
            kind: `run` or `replay` for a command that works or takes over jobs; None for one that looks.
        """
        from playhead.bootstrap import open_runtime
        from playhead.cli import logs

        logs.set_up(self.settings)
        return open_runtime(self.settings, kind=kind)

    def call(self, function: Callable[..., Any], given: Mapping[str, Any]) -> int:
        """Run a command to its exit code. Whatever it raises is told here; no traceback gets past this."""
        try:
            if inspect.iscoroutinefunction(function):
                import asyncio

                code = asyncio.run(function(self, **given))
            else:
                code = function(self, **given)
            # What is still buffered may meet a closed pipe: better here than when the interpreter ends.
            sys.stdout.flush()
        except KeyboardInterrupt:
            self.fail("interrupted", self.interrupted)
            return exits.INTERRUPTED
        except PlayheadError as exc:
            self.fail(exc.code, exc.detail, exc.diagnostics if isinstance(exc, ConfigInvalid) else ())
            if isinstance(exc, ReplayContinues):
                output.note("Look again with: playhead replays")
            return exits.exit_code(exc)
        except BrokenPipeError:
            # The reader (`| head`) has enough. Nothing more may be written, not even when Python flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return exits.PIPE_CLOSED
        except Exception as exc:
            # The last fence: a bug of ours. It is told, and its traceback is one setting away.
            self._unexpected(exc)
            return exits.FAILED
        return int(code or exits.OK)

    def fail(self, code: str, detail: str, diagnostics: Sequence[object] = ()) -> None:
        """Tell of an error: text on stderr, and with `--json` the API's ErrorResponse on stdout."""
        output.note(f"Error ({code}): {detail}")
        for diagnostic in diagnostics:
            output.note("  " + output.diagnostic(diagnostic, self.file))
        self.report(code, detail, diagnostics)

    def report(self, code: str, detail: str, diagnostics: Sequence[object] = ()) -> None:
        """Write an error as the API's ErrorResponse, with `--json` only."""
        if not self.json:
            return
        body: dict[str, object] = {
            "detail": detail,
            "error_code": code,
            "correlation_id": str(ids.uuid7()),
            "timestamp": ids.moment(time.time()),
        }
        output.emit(body | {"diagnostics": diagnostics} if diagnostics else body)

    def _unexpected(self, exc: Exception) -> None:
        settings = self.__dict__.get("settings")
        if settings is not None and str(settings.log_level).lower() == "debug":
            import traceback

            traceback.print_exception(exc)
            hint = ""
        else:
            hint = "; with PLAYHEAD_LOG_LEVEL=debug it says where"
        self.fail("internal", f"{type(exc).__name__}: {exc} (a bug, please report it{hint})")
