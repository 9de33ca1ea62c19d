"""Two S3 servers, as neither does it all: rclone checks signatures and keeps its objects, but ignores
`If-None-Match` and answers ranges wrongly; moto does those two right, checks no signature and forgets all.
"""

from __future__ import annotations

import http.client
import os
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from importlib.util import find_spec
from typing import ClassVar, Final

from tests.servers.process import DidNotStart, Missing, Server

BUCKET: Final = "playhead"
KEY: Final = "test"
SECRET: Final = "test"


class _S3(Server):
    @property
    def url(self) -> str:
        return f"s3://{BUCKET}/tests?endpoint={self.endpoint}&region=us-east-1"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        self._ask("GET", "/")
        return True

    def ready(self) -> None:
        # The client's library reads its credentials from the environment and from nowhere else.
        os.environ["AWS_ACCESS_KEY_ID"] = KEY
        os.environ["AWS_SECRET_ACCESS_KEY"] = SECRET

    def _ask(self, method: str, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5.0)
        try:
            connection.request(method, path, headers={"Content-Length": "0"})
            return connection.getresponse().status
        except http.client.HTTPException as exc:
            raise ConnectionError(str(exc)) from exc
        finally:
            connection.close()


class Rclone(_S3):
    """`rclone serve s3` over a folder: a bucket is a folder in it."""

    name: ClassVar[str] = "s3"

    def prepare(self) -> None:
        found = shutil.which("rclone", path=sysconfig.get_path("scripts"))
        if found is None:
            raise Missing(
                "s3",
                "rclone is not installed: the wheel that carries it has none for this system",
                "set PLAYHEAD_TEST_S3_URL (s3://bucket/prefix?endpoint=http://…) and AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY",
            )
        self._binary = found
        (self.folder / "data" / BUCKET).mkdir(parents=True)

    def command(self) -> Sequence[str]:
        return [
            self._binary,
            "serve",
            "s3",
            str(self.folder / "data"),
            *("--addr", f"127.0.0.1:{self.port}"),
            *("--auth-key", f"{KEY},{SECRET}"),
            *("--config", os.devnull, "--cache-dir", str(self.folder / "cache")),
            # With a cache of writes a listing takes nine times as long.
            *("--vfs-cache-mode", "off"),
            # It remembers sizes. One that it saw while the object was being written is wrong, and until it
            # looks again, after five minutes by itself, it can't give the object.
            *("--dir-cache-time", "2s"),
        ]


class Moto(_S3):
    """moto's server: everything in memory, so `kill` and `stop` lose it."""

    name: ClassVar[str] = "s3-moto"

    def prepare(self) -> None:
        if find_spec("moto") is None or find_spec("flask") is None:
            raise Missing("s3-moto", "moto is not installed", "pip install 'moto[server]'")

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    def ready(self) -> None:
        super().ready()
        if (status := self._ask("PUT", f"/{BUCKET}")) != 200:
            raise DidNotStart(f"moto makes no bucket: HTTP {status}")
