"""A step that fails with its secret in the error, its cause, its notes and a log line of a library."""

from __future__ import annotations

import logging
import threading
import warnings

from pydantic import BaseModel, SecretStr

from playhead import Context, Item, Output, Reject, adapter


def _fail(reason: str) -> None:
    raise RuntimeError(reason)


class _Connection:
    def __init__(self, key: str) -> None:
        self._key = key

    def __del__(self) -> None:
        _fail(f"failure at the end of a connection with {self._key}")


class CallConfig(BaseModel):
    key: SecretStr
    header: str = ""
    options: dict[str, list[str]] = {}


@adapter("call", produces="text/plain")
class Call:
    """Return the length of the secret; fail for a path that begins with `fail` or `reject`."""

    def __init__(self, config: CallConfig) -> None:
        self._config = config

    def __call__(self, item: Item, ctx: Context) -> Output:
        key = self._config.key.get_secret_value()
        thread = threading.Thread(target=_fail, args=[f"background failure with {key}"])
        thread.start()
        thread.join()
        _Connection(key)
        warnings.warn(f"the key {key} is old", stacklevel=1)
        logging.getLogger("some.client").warning("request with key=%s", key)
        ctx.log.warning("calling with %s", self._config.header)
        if item.path.startswith("reject"):
            raise Reject(f"the service refused {self._config.header}")
        if item.path.startswith("fail"):
            error = ValueError(f"cannot call with {key!r}")
            error.add_note(f"options: {self._config.options}")
            raise error from RuntimeError(f"https://user:{key}@service/")
        made = f"{len(key)} {self._config.header.startswith('Bearer ')}"
        return item.derive(made, header=ctx.mask(self._config.header))

    def close(self) -> None:
        raise RuntimeError(f"cannot close the connection of {self._config.key.get_secret_value()}")
