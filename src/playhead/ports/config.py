"""The config loader as the services see it: YAML in, a config or all that is wrong with it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from playhead.model import Config, Diagnostic


@dataclass(frozen=True, slots=True)
class Parsed:
    """What came of one source.

    Attributes:
        config: None when any diagnostic is an error.
        digest: `sha256:` and the hash of the parsed document as JSON, defaults not filled in; None when
            the source is no document (faults of level E0, or values that JSON does not have).
        source: the text as given, without a byte order mark; what is not UTF-8 is replaced.
        diagnostics: every fault, by line and column; warnings among them.
    """

    config: Config | None
    digest: str | None
    source: str
    diagnostics: tuple[Diagnostic, ...]


class ParseConfig(Protocol):
    """Reads a source against the adapters there are. Never raises for anything that is in the source."""

    def __call__(
        self,
        source: bytes | str,
        /,
        *,
        taken: Mapping[str, tuple[str, str]] | None = None,
        previous: Config | None = None,
    ) -> Parsed:
        """Read one source.

        Args:
            taken: (config, route) by queue, of active configs; those of this very config don't count.
            previous: the last version, for what a new one drops (W104).
        """
        ...
