"""Violations of accessibility rules, found by axe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.servers import Missing, absent

if TYPE_CHECKING:
    from playwright.sync_api import Page


def violations(page: Page, *, only: str | None = None) -> list[str]:
    """Return the violations of a page: rule, help and elements. Includes the rules of WCAG 2.2 AA.

    Args:
        only: the rule to check; without it, all rules.
    """
    try:
        from axe_playwright_python.sync_playwright import Axe
    except ModuleNotFoundError:
        absent(Missing("browser", "axe is not installed", "pip install axe-playwright-python"))
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    # This rule is part of WCAG, but off by default in axe.
    options |= {"runOnly": [only]} if only else {"rules": {"label-content-name-mismatch": {"enabled": True}}}
    found = Axe().run(page, options=options).response["violations"]
    return [f"{one['id']}: {one['help']}: {[node['html'] for node in one['nodes']]}" for one in found]
