"""Configs: from YAML to `model.Config`, with every fault found in one pass.

tree          text to values that know their line: syntax, limits, YAML 1.2 (E0)
fields        typed reading of one value (E1)
steps         adapters, their own configs, conditions (E2, E308)
secrets       secrets in the configs of adapters (E206, E207, W105)
graph         what holds between routes (E3, W101, W104)
declared      every key, its bounds and its default
document      the whole: reads what is declared, in the order of the above
diagnostics   the codes, and the list of what was found
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from playhead.config.diagnostics import CODES, Diagnostics
from playhead.config.document import read_config
from playhead.config.fields import Spot
from playhead.config.steps import Adapters
from playhead.config.tree import read_source
from playhead.model import Config
from playhead.ports.adapter import AdapterSpec
from playhead.ports.config import Parsed
from playhead.secrets import Resolve, no_secrets

__all__ = ["CODES", "digest_of", "parse"]


def parse(
    source: bytes | str,
    *,
    adapters: Mapping[str, AdapterSpec],
    allowed: Collection[str] | None = None,
    resolve: Resolve = no_secrets,
    check_webhook: Callable[[str], None] = lambda url: None,
    taken: Mapping[str, tuple[str, str]] | None = None,
    previous: Config | None = None,
) -> Parsed:
    """Read a config, or find all its faults. Never raises for the content of the source.

    Args:
        source: YAML, UTF-8, at most 1 MiB.
        adapters: the adapters loaded, by name; each step's config is checked by its adapter's model.
        allowed: names that the operator allows; None: all loaded.
        resolve: returns the secrets that configs may reference (W105). Their values are not used.
        check_webhook: raises `BadRequest` for the URL of a webhook that the operator does not allow.
        taken: (config, route) by queue, of active configs; entries of this config are ignored.
        previous: the previous version, to find what the new one drops (W104).
    """
    found = Diagnostics()
    text, root = read_source(source, found)
    if root is None:
        return Parsed(None, None, text, found.in_order())
    digest = None if found.failed else digest_of(_as_processed(root.value))
    known = Adapters(adapters, allowed, resolve)
    config = read_config(Spot(root, "", root.at, found), known, check_webhook, taken or {}, previous)
    return Parsed(None if found.failed else config, digest, text, found.in_order())


def _as_processed(document: Any) -> Any:
    """Return a document without the keys that do not change what its routes produce."""
    if not isinstance(document, dict):
        return document
    document = {key: value for key, value in document.items() if key != "datasets"}
    routes = document.get("routes")
    if not isinstance(routes, dict):
        return document
    kept = {
        name: {key: value for key, value in route.items() if key != "on_replay"}
        if isinstance(route, dict)
        else route
        for name, route in routes.items()
    }
    return {**document, "routes": kept}


def digest_of(document: Any) -> str:
    """`sha256:` and the hash of a document as JSON, keys in order, without spaces, in UTF-8."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
