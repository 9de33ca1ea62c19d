"""An OpenID Connect provider: `oidc-provider` for Node.js, with some people who log in."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx

from tests.servers.process import Missing, Server, greeting

CALLBACK: Final = "http://127.0.0.1:19999/login/oidc/callback"
CLIENT_ID: Final = "playhead"
CLIENT_SECRET: Final = "secret:with+characters/that need encoding"
_SCRIPT: Final = Path(__file__).parent / "oidc_provider" / "provider.mjs"
_FOLDER: Final = Path(sys.prefix) / "oidc-provider"
"""Into which `make` installs its packages."""


class Oidc(Server):
    """A provider that sends browsers to `callback`. Each start makes new keys."""

    name: ClassVar[str] = "oidc"

    def __init__(self, callback: str = CALLBACK) -> None:
        super().__init__()
        self._callback = callback

    @property
    def url(self) -> str:
        """Its issuer."""
        return f"http://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        if shutil.which("node") is None:
            raise Missing("oidc", "Node.js is not installed", "apt-get install nodejs npm")
        if not (_FOLDER / "node_modules").is_dir():
            remedy = "install npm (apt-get install npm), then remove .venv/.setup-servers and run make test"
            raise Missing("oidc", "the package oidc-provider is not installed", remedy)

    def command(self) -> Sequence[str]:
        return ["node", str(_SCRIPT), str(self.port), str(_FOLDER), self._callback]

    def answers(self) -> bool:
        head = b"GET /.well-known/openid-configuration HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"
        return b" 200 " in greeting(self.port, head)


def log_in_at(url: str, user: str | None) -> Mapping[str, str]:
    """Log in as a person would, and return the parameters with which the provider sends the browser back.

    Args:
        url: at which the login begins.
        user: None: the person goes back instead of logging in.
    """
    with httpx.Client(timeout=30) as browser:
        for _ in range(20):
            response = browser.get(url)
            while response.is_redirect:
                url = urljoin(str(response.url), response.headers["location"])
                if url.startswith(CALLBACK):
                    return dict(parse_qsl(urlsplit(url).query))
                response = browser.get(url)
            assert response.status_code == 200, response.text
            if user is None:
                url = f"{response.url}/abort"
                continue
            prompt = re.findall(r'name="prompt" value="(\w+)"', response.text)[0]
            form = {"prompt": prompt, "login": user, "password": "any"}
            response = browser.post(str(response.url), data=form)
            url = urljoin(str(response.url), response.headers["location"])
    raise AssertionError(f"the login did not end; last page: {url}")
