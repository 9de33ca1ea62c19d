"""Every method of a port of the catalog that publications use is called in the contract suite."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from playhead.ports.catalog import Drafts, Publications, Results, Sinks


@pytest.mark.parametrize("port", [Publications, Drafts, Results, Sinks], ids=lambda port: port.__name__)
def test_every_method_is_called(port: type) -> None:
    text = "\n".join(path.read_text() for path in Path(__file__).parent.glob("*.py"))
    methods = {name for name in vars(port) if not name.startswith("_")}
    assert methods
    assert sorted(name for name in methods if not re.search(rf"\.{name}\(", text)) == []
