"""Two S3 servers, because neither is complete.

rclone checks signatures and stores objects, but ignores `If-None-Match` and answers range requests wrongly.
moto does both right, but checks no signature and stores nothing on disk.
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
        # The client library reads its credentials from the environment only.
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
    """`rclone serve s3` on a folder: each bucket is a subfolder."""

    name: ClassVar[str] = "s3"

    def prepare(self) -> None:
        found = shutil.which("rclone", path=sysconfig.get_path("scripts"))
        if found is None:
            raise Missing(
                "s3",
                "rclone is not installed, and its wheel does not exist for this system",
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
            # With a write cache a listing takes nine times as long.
            *("--vfs-cache-mode", "off"),
            # rclone caches sizes. A size read while the object was being written is wrong, and requests for
            # the
            # object then fail until the cache expires, by default after five minutes.
            *("--dir-cache-time", "2s"),
        ]


class Moto(_S3):
    """moto's server: all objects are in memory, so `kill` and `stop` lose them."""

    name: ClassVar[str] = "s3-moto"

    def prepare(self) -> None:
        if find_spec("moto") is None or find_spec("flask") is None:
            raise Missing("s3-moto", "moto is not installed", "pip install 'moto[server]'")

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    def ready(self) -> None:
        super().ready()
        if (status := self._ask("PUT", f"/{BUCKET}")) != 200:
            raise DidNotStart(f"moto did not create the bucket: HTTP {status}")
