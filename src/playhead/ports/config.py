"""The config loader as the services use it: from YAML to a config, or to all its errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from playhead.model import Config, Diagnostic


@dataclass(frozen=True, slots=True)
class Parsed:
    """The result of parsing one source.

    Attributes:
        config: None if any diagnostic is an error.
        digest: `sha256:` and the hash of the parsed document as JSON, without defaults, `datasets`
            and `on_replay`. None if the source cannot be represented as JSON (errors E0xx, or YAML values
            without a JSON equivalent).
        source: the text of the source, without a byte order mark. Bytes that are not UTF-8 are replaced.
        diagnostics: all errors and warnings, ordered by line and column.
    """

    config: Config | None
    digest: str | None
    source: str
    diagnostics: tuple[Diagnostic, ...]


class ParseConfig(Protocol):
    """Parses a source, and checks its steps against the loaded adapters."""

    def __call__(
        self,
        source: bytes | str,
        /,
        *,
        taken: Mapping[str, tuple[str, str]] | None = None,
        previous: Config | None = None,
    ) -> Parsed:
        """Parse one source. Errors in the source are returned as diagnostics, not raised.

        Args:
            taken: by queue, the (config, route) of the active config that uses the queue. Entries of the
                config that is parsed are ignored.
            previous: the last version of this config, to warn about what the new version removes (W104).
        """
        ...
