"""`embed_text`: compute the vectors of texts with a service that has the embeddings API of OpenAI."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from playhead import Context, Item, Output, RateLimited, Reject, Retry, adapter

if TYPE_CHECKING:
    import httpx

_BATCH: Final = 100
_MAX_BYTES: Final = 256 << 20
_COOLDOWN_SECONDS: Final = 10.0
_OF_THE_ITEM: Final = (400, 413, 422)
"""Statuses with which services reject a text, for example because it is too long."""


class _Text(NamedTuple):
    """The text of an item, and the fields of the item to keep."""

    fields: dict[str, Any]
    text: str


class _ServerError(Retry):
    """The service failed, for any reason."""


class EmbedTextConfig(BaseModel):
    """The settings of `embed_text`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = Field(
        "https://api.openai.com/v1",
        description="Address of the API; the step sends `POST {base_url}/embeddings`.",
    )
    model: str = Field(min_length=1, description="The model, by the name that the service uses.")
    api_key: SecretStr | None = Field(
        None, description="Sent as `Authorization: Bearer`. A reference to a secret: `${env:OPENAI_API_KEY}`."
    )
    dimensions: int | None = Field(
        None, ge=1, le=100_000, description="Dimensions of the vectors, for models that offer a choice."
    )
    text_field: str | None = Field(
        None, min_length=1, description="Field of a JSON object with the text; unset: the text of the item."
    )
    timeout_seconds: float = Field(60, gt=0, le=3600, description="Time for a whole request.")

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        if not url.startswith(("http://", "https://", "$")) or "?" in url:
            raise ValueError("it must be an address such as https://api.openai.com/v1")
        return url.rstrip("/")


@adapter("embed_text", produces="application/json", batch=_BATCH)
class EmbedText:
    """Compute the vector of a text with a service that has the embeddings API of OpenAI.

    The output is a JSON object with the fields `text`, `vector` and `model`. With `text_field`, the other
    fields of the item are kept. While the service is unreachable or limits the rate, the route waits. The
    step connects only to public addresses, and to those in `PLAYHEAD_INTERNAL_HOSTS`.
    """

    def __init__(self, config: EmbedTextConfig) -> None:
        self._config = config
        self._client: httpx.AsyncClient | None = None

    async def __call__(self, items: Sequence[Item], ctx: Sequence[Context]) -> list[Output | Reject | Retry]:
        read = [self._read(item) for item in items]
        texts = [one.text for one in read if isinstance(one, _Text)]
        try:
            vectors = iter(await self._embed(texts, ctx[0]) if texts else ())
        except _ServerError as exc:
            # One of the texts may be the reason. `Retry` would fail all of them in each attempt, so from the
            # second one on, another error lets the step be called with halves of the items.
            if len(texts) > 1 and any(one.attempt > 1 for one in ctx):
                raise RuntimeError(str(exc)) from exc
            raise
        return [
            one if isinstance(one, Reject) else self._output(item, one, next(vectors))
            for item, one in zip(items, read, strict=True)
        ]

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _output(self, item: Item, text: _Text, vector: Any) -> Output | Reject | Retry:
        if why := _problem(vector, self._config.dimensions):
            return Retry(f"the service returned {why}")
        made = {**text.fields, "text": text.text, "vector": vector, "model": self._config.model}
        try:
            return item.derive(json.dumps(made, ensure_ascii=False, separators=(",", ":")))
        except UnicodeEncodeError as exc:
            return Reject(f"it is not Unicode: {exc}")

    def _read(self, item: Item) -> _Text | Reject:
        try:
            text = self._text(item)
            text.text.encode()
        except Reject as exc:
            return exc
        except UnicodeEncodeError as exc:  # JSON can contain half of a surrogate pair
            return Reject(f"its text is not Unicode: {exc}")
        return text

    def _text(self, item: Item) -> _Text:
        name = self._config.text_field
        if name is None:
            fields, text = {}, item.text
        else:
            read = item.json()
            fields = read if isinstance(read, dict) else {}
            text = fields.pop(name, None)
            if not isinstance(text, str):
                raise Reject(f"it has no text in the field {name!r}, the text_field")
        if not text.strip():
            raise Reject("its text is empty, and has no vector")
        return _Text(fields, text)

    async def _embed(self, texts: Sequence[str], ctx: Context) -> list[Any]:
        """Return the vectors of some texts, in order. One request to the service.

        Raises:
            Reject: the service rejects at least one of the texts.
            RateLimited: the service is unreachable, overloaded, or limits the rate.
            Retry: another error, for example a wrong key.
            ValueError, RuntimeError: there is not one vector for each text, or no response. One of several
                texts may be the reason.
        """
        # The import takes a third of a second.
        from playhead.adapters import _http

        config = self._config
        if self._client is None:
            self._client = _http.open_client(ctx.internal_hosts)
        body: dict[str, Any] = {"model": config.model, "input": list(texts), "encoding_format": "float"}
        if config.dimensions is not None:
            body["dimensions"] = config.dimensions
        key = config.api_key.get_secret_value() if config.api_key else ""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        request = self._client.build_request(
            "POST", f"{config.base_url}/embeddings", json=body, headers=headers
        )
        try:
            async with asyncio.timeout(config.timeout_seconds):
                response = await _http.fetch(self._client, request, _MAX_BYTES)
        except _http.NOT_CONNECTED as exc:
            # One address for all items, so the failure is not the fault of this one.
            raise RateLimited(str(_http.unreachable(request, exc)), after=_COOLDOWN_SECONDS) from exc
        except _http.FAILURES as exc:
            if len(texts) == 1:
                raise _http.unreachable(request, exc) from exc
            # The texts may be too many for the service, or one of them crashes it. After a cooldown, the next
            # request would be the same, so another error lets the step be called with halves.
            raise RuntimeError(str(_http.unreachable(request, exc))) from exc
        status = response.status_code
        if status == 200:
            return _vectors(response, len(texts))
        reason = _http.described(response, ctx.mask)
        if status in _OF_THE_ITEM:
            raise Reject(reason)
        after = _http.retry_after(response)
        if status == 429 or status == 503:
            raise RateLimited(reason, after=after)
        raise (_ServerError if status >= 500 else Retry)(reason, after=after)


def _vectors(response: httpx.Response, count: int) -> list[Any]:
    """Return the vectors of a response, in the order of the texts.

    Raises:
        Retry: it is not a response of the API.
        ValueError: there is not one vector for each text. One of the texts may be the reason, so the step
            must be called with halves of them, which `Retry` prevents.
    """
    try:
        data = response.json()["data"]
        found = {int(one["index"]): one["embedding"] for one in data}
    except (KeyError, TypeError, ValueError, ArithmeticError, RecursionError) as exc:
        reason = f"{type(exc).__name__}: {exc}"
        raise Retry(f"{response.url} did not return the vectors of {count} texts: {reason}") from exc
    if len(data) != count or found.keys() != set(range(count)):
        raise ValueError(f"{response.url} returned {len(data)} vectors for {count} texts")
    return [found[n] for n in range(count)]


def _problem(vector: Any, dimensions: int | None) -> str | None:
    """Return what is wrong with a vector of the service; None if nothing is."""
    try:
        if not (isinstance(vector, list) and vector and all(map(math.isfinite, vector))):
            return "a vector that is not a list of finite numbers"
    except (TypeError, OverflowError):
        return "a vector with values that are not numbers"
    if dimensions not in (None, len(vector)):
        return f"a vector with {len(vector)} dimensions instead of {dimensions}"
    return None
