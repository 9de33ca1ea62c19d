"""Reads the secrets that configs reference, if the operator allows it."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from playhead.secrets import Mask, Reference, SecretUnavailable
from playhead.settings.values import PREFIX

_LOG: Final = logging.getLogger(__name__)
_MOST_BYTES: Final = 65_536


class Secrets:
    """The secrets that one process may read.

    Args:
        variables: names of environment variables, or prefixes that end with `*`.
        folders: folders with secrets, one in each file.

    Attributes:
        mask: replaces all values that this process has read.
    """

    def __init__(self, variables: Sequence[str], folders: Sequence[Path]) -> None:
        self._variables = variables
        self._folders = folders
        self.mask = Mask()

    def resolve(self, reference: Reference) -> str:
        """Return the current value of a secret. Blocks while it reads a file.

        Raises:
            SecretUnavailable: the operator does not allow it, or it is missing, empty or not readable.
        """
        value = self._variable(reference) if reference.kind == "env" else self._file(reference)
        self.mask.add(value)
        return value

    def _variable(self, reference: Reference) -> str:
        name = reference.name
        # Playhead's own settings contain passwords of its backends.
        if name.startswith(PREFIX) or not any(_matches(name, one) for one in self._variables):
            raise SecretUnavailable(
                f"{reference} is not allowed: PLAYHEAD_SECRETS_ENV must name the variable"
            )
        value = os.environ.get(name)  # noqa: TID251 - the operator names these variables for configs
        if not value:
            raise SecretUnavailable(
                f"{reference}: the variable is not set in the environment of this process"
            )
        return value

    def _file(self, reference: Reference) -> str:
        written = Path(reference.name)
        # Before the file system is asked: the answer must not depend on files in other folders.
        roots = [folder.resolve() for folder in self._folders]
        named = [*roots, *(Path(os.path.abspath(folder)) for folder in self._folders)]
        if not any(written.is_relative_to(folder) for folder in named):
            raise SecretUnavailable(f"{reference} is not allowed: PLAYHEAD_SECRETS_DIR must name its folder")
        try:
            # Kubernetes mounts each secret as a link to a file in the same folder.
            actual = written.resolve(strict=True)
            if not any(actual.is_relative_to(root) for root in roots):
                raise SecretUnavailable(f"{reference} is a link to a file outside PLAYHEAD_SECRETS_DIR")
            value = _read(actual)
        except UnicodeDecodeError:
            raise SecretUnavailable(f"{reference}: the file is not UTF-8 text") from None
        except (OSError, RuntimeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "its links form a loop"
            raise SecretUnavailable(f"{reference} cannot be read: {reason}") from exc
        if value is None:
            raise SecretUnavailable(f"{reference} is not a file of at most {_MOST_BYTES} bytes")
        value = value.removesuffix("\n").removesuffix("\r")
        if not value:
            raise SecretUnavailable(f"{reference}: the file is empty")
        return value

    @contextlib.contextmanager
    def masked_logs(self) -> Iterator[None]:
        """Replace the secrets in all log lines of this process, also those of libraries, within a block."""
        handlers = list(logging.getLogger().handlers)
        before = [handler.formatter for handler in handlers]
        for handler in handlers:
            handler.setFormatter(_Masking(handler.formatter or logging.Formatter(), self.mask))
        try:
            yield
        finally:
            for handler, formatter in zip(handlers, before, strict=True):
                handler.setFormatter(formatter)

    @contextlib.contextmanager
    def masked_errors(self) -> Iterator[None]:
        """Log the errors of threads and finalizers within a block, and mask warnings.

        A hook that another program has set, such as a test runner, stays.
        """
        hooks = threading.excepthook, sys.unraisablehook
        formatted = warnings.formatwarning
        if threading.excepthook is threading.__excepthook__:
            threading.excepthook = _log_error_of_thread
        if sys.unraisablehook is sys.__unraisablehook__:
            sys.unraisablehook = _log_error_of_finalizer
        warnings.formatwarning = lambda *args, **more: self.mask(formatted(*args, **more))
        try:
            yield
        finally:
            threading.excepthook, sys.unraisablehook = hooks
            warnings.formatwarning = formatted


def _log_error_of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit and args.exc_value:
        name = args.thread.name if args.thread else "?"
        _LOG.error("error in thread %s", name, exc_info=args.exc_value)


def _log_error_of_finalizer(args: sys.UnraisableHookArgs) -> None:
    _LOG.error("%s: %r", args.err_msg or "error ignored in", args.object, exc_info=args.exc_value)


class _Masking(logging.Formatter):
    def __init__(self, inner: logging.Formatter, mask: Mask) -> None:
        super().__init__()
        self._inner = inner
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        return self._mask(self._inner.format(record))


def _matches(name: str, allowed: str) -> bool:
    return name.startswith(allowed[:-1]) if allowed.endswith("*") else name == allowed


def _read(path: Path) -> str | None:
    """Return the text of a file; None if it is not a regular file or too large."""
    # The path has no links any more, unless one was created since. A pipe must not block the process.
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return None
        data = file.read(_MOST_BYTES + 1)
    return data.decode() if len(data) <= _MOST_BYTES else None
