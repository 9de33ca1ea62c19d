"""What the caller of a page may do. Forms and links that it may not use are not drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import unquote

from starlette.routing import compile_path

from playhead.model.access import Caller, Need, Scope
from playhead.web.page import Action, Page, Raw

Needs = Callable[[str, str], Need | None]
"""Returns what a request needs, by method and path; None: the path is not of the web UI."""
_ANY_CONFIG: Final = object()


class Allowed:
    """What a caller may do. One is made for each drawing of a page.

    Args:
        caller: None: the request has no valid caller.
    """

    def __init__(self, caller: Caller | None, needs: Needs) -> None:
        self._caller = caller
        self._needs = needs
        self._named: set[str] = set()

    @property
    def who(self) -> Caller | None:
        """Who is shown in the header; None: everyone who can reach the server is the same caller."""
        return None if self._caller is None or self._caller.kind == "local" else self._caller

    @property
    def has_session(self) -> bool:
        """Whether the caller can log out."""
        return self._caller is not None and self._caller.kind in ("session", "oidc")

    @property
    def is_read_only(self) -> bool:
        return self._caller is not None and self._caller.is_read_only

    @property
    def scopes(self) -> Sequence[str]:
        return sorted(self._caller.scopes) if self._caller else ()

    def lack(self, scope: Scope) -> str:
        """Return that the caller lacks a scope; empty: it has it."""
        has = self._caller is not None and scope in self._caller.scopes
        return "" if has else f"needs the scope {scope}"

    def send(self, action: str, config: object = _ANY_CONFIG) -> bool:
        """Whether the caller may send a form to a URL.

        Args:
            config: of the object that it changes; None: it belongs to no config.
        """
        return not self._missing("POST", action, config)

    def open(self, href: str, config: object = _ANY_CONFIG) -> bool:
        """Whether the caller may open a page."""
        return not self._missing("GET", href, config)

    def lacking(self, method: str, target: str, config: object = _ANY_CONFIG) -> str:
        """Return what the caller lacks, once for each page: where the first button of its kind would be."""
        missing = self._missing(method, target, config)
        # A server that allows no change draws no button, and says so in its header.
        if missing in self._named or self.is_read_only:
            return ""
        self._named.add(missing)
        return missing

    def _missing(self, method: str, target: str, config: object) -> str:
        need = self._needs(method, unquote(target.partition("?")[0].partition("#")[0]))
        if need is None or need == "any" or need == "public":
            return ""
        lack = self.lack(need)
        if lack or self._caller is None:
            return lack
        if config is _ANY_CONFIG or self._caller.configs is None or config in self._caller.configs:
            return ""
        only = ", ".join(sorted(self._caller.configs))
        return f"{self._caller.name} may only change {only}"


def needs_of(pages: Sequence[Page], actions: Sequence[Action], raws: Sequence[Raw]) -> Needs:
    """Return what finds the scope of a request."""
    routes: list[tuple[str, str, Need]] = [
        *(("POST", one.path, one.scope) for one in actions),
        *(("GET", one.path, one.scope) for one in pages),
        *((one.method, one.path, one.scope) for one in raws),
    ]
    exact = {(method, path): scope for method, path, scope in routes}
    patterns = [(method, compile_path(path)[0], scope) for method, path, scope in routes if "{" in path]

    def needs(method: str, path: str) -> Need | None:
        if found := exact.get((method, path)):
            return found
        return next(
            (scope for verb, pattern, scope in patterns if verb == method and pattern.match(path)), None
        )

    return needs
