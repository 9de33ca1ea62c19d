"""The path that is shown after a login: always one of this server."""

from __future__ import annotations

import pytest

from playhead.addresses import own_path


@pytest.mark.parametrize("path", ["/", "/executions?state=failed&limit=5", "/find?text=a%20b#c", "/-/x"])
def test_a_path_of_this_server_is_kept(path: str):
    assert own_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "executions",
        "https://evil.example/",
        "javascript:alert(1)",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/a\\b",
        "/a\nb",
        "/\t/evil.example",
        " /executions",
        "/ä",
        "/login?next=/login",
        "/logout",
    ],
)
def test_any_other_target_becomes_the_first_page(path: str):
    assert own_path(path) == "/"
