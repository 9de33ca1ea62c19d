"""Reverse proxies with the configs of the documentation, in front of a server.

They get ports, paths of files, a password, and for Caddy its own certificate.
"""

from __future__ import annotations

import os
import re
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import httpx

from tests.acceptance.processes import DEADLINE_SECONDS
from tests.deploy.checks import ROOT, program
from tests.servers.process import Server

NAME: Final = "playhead.example.com"
USER: Final = ("alice", "PASSWORD")
#: The bcrypt hash of that password, with the lowest cost.
BCRYPT: Final = "$2a$04$bGgscU65XGb0l1fL5NYSAOEBbhMN5NQMwDyC8YOOFalCeZ5Bsk2w2"


def snippet(page: str, language: str, put_in: Mapping[str, str]) -> str:
    """Return the first block of a language from a page, with some strings replaced."""
    content = (ROOT / "docs" / "howto" / page).read_text(encoding="utf-8")
    text, *_ = re.findall(rf"^```{language}\n(.*?)^```$", content, re.MULTILINE | re.DOTALL)
    for shown, meant in put_in.items():
        assert shown in text, shown
        text = text.replace(shown, meant)
    return str(text)


class ByName(httpx.HTTPTransport):
    """Connects to an address and requests the certificate of another name (SNI)."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["sni_hostname"] = NAME
        return super().handle_request(request)


class Proxy(Server):
    """A running proxy in front of a server.

    Attributes:
        page: page with its config.
        put_in: texts of that config that are replaced.
    """

    page: ClassVar[str] = "security.md"
    put_in: ClassVar[Mapping[str, str]] = {}

    def __init__(self, server: str) -> None:
        super().__init__()
        self.server = server

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def trusted(self) -> Path:
        """The CA certificate that verifies the proxy."""
        raise NotImplementedError

    def client(self, user: tuple[str, str] | None = USER) -> httpx.Client:
        verify = ssl.create_default_context(cafile=str(self.trusted))
        return httpx.Client(
            base_url=self.url,
            headers={"Host": NAME},
            auth=user,
            transport=ByName(verify=verify),
            timeout=DEADLINE_SECONDS,
        )

    def answers(self) -> bool:
        with suppress(httpx.TransportError), self.client() as http:
            return http.get("/healthz").status_code == 200
        return False


def nginx_config(folder: Path, servers: str) -> Path:
    """Write the config of an nginx that has all of its files in a folder; return its path.

    Args:
        servers: the content of the block `http`.
    """
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    made = folder / "nginx.conf"
    made.write_text(
        f"{'user root;' if os.geteuid() == 0 else ''}\n"
        f"daemon off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{servers}}}\n",
        encoding="utf-8",
    )
    return made


class Nginx(Proxy):
    name: ClassVar[str] = "nginx"

    @property
    def trusted(self) -> Path:
        return self.folder / "playhead.pem"

    def prepare(self) -> None:
        self._program, openssl = program("nginx", "nginx-light"), program("openssl", "openssl")
        make = partial(subprocess.run, cwd=self.folder, check=True, capture_output=True, text=True)
        certificate = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2"
        make(
            [
                *(
                    openssl,
                    *certificate.split(),
                    "-subj",
                    f"/CN={NAME}",
                    "-addext",
                    f"subjectAltName=DNS:{NAME}",
                ),
                *("-keyout", "playhead.key", "-out", "playhead.pem"),
            ]
        )
        kept = make([openssl, "passwd", "-6", USER[1]]).stdout
        (self.folder / "playhead.htpasswd").write_text(f"{USER[0]}:{kept}", encoding="ascii")
        deployment = snippet(
            self.page,
            "nginx",
            {
                **self.put_in,
                "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
                "http://127.0.0.1:8080": self.server,
                "/etc/ssl/": f"{self.folder}/",
                "/etc/nginx/": f"{self.folder}/",
            },
        )
        self._config = nginx_config(self.folder, deployment)

    def command(self) -> Sequence[str]:
        return [self._program, "-e", "stderr", "-c", str(self._config)]


class Caddy(Proxy):
    name: ClassVar[str] = "caddy"

    @property
    def trusted(self) -> Path:
        return self.folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"

    def prepare(self) -> None:
        self._program = program("caddy", "caddy")
        said = subprocess.run([self._program, "version"], check=True, capture_output=True, text=True).stdout
        (version,) = re.findall(r"^v?(\d+)\.(\d+)", said)
        is_old = tuple(map(int, version)) < (2, 8)
        deployment = snippet(
            self.page,
            "caddyfile",
            {
                **self.put_in,
                f"{NAME} {{": f"{NAME}:{self.port} {{\n    bind 127.0.0.1\n    tls internal",
                "127.0.0.1:8080": urlsplit(self.server).netloc,
                "$2a$14$...": BCRYPT,
                **({"basic_auth": "basicauth"} if is_old else {}),
            },
        )
        own = "{\n    admin off\n    skip_install_trust\n    auto_https disable_redirects\n"
        own += "    servers {\n        protocols h1 h2\n    }\n}\n"  # no UDP: the tests reserve the UDP port
        (self.folder / "Caddyfile").write_text(own + deployment, encoding="utf-8")

    def command(self) -> Sequence[str]:
        return [self._program, "run", "--config", "Caddyfile"]

    def options(self) -> dict[str, Any]:
        own = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(self.folder))
        return {"cwd": self.folder, "env": os.environ | own}
