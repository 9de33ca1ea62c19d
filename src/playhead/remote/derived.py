"""Remote methods that are one request, derived from the methods of the services.

`derived(Service.method, path)` has the signature of the service's method, also for the type checker. So a new
parameter of a service is a parameter of the remote method, too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from string import Formatter
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, get_args, get_origin

from playhead.model import Page
from playhead.remote.client import ANSWER_SECONDS, HARMLESS, Client, How, segment

P = ParamSpec("P")
T = TypeVar("T")


class Remote:
    """The methods of one service of a server."""

    def __init__(self, client: Client) -> None:
        self._client = client


def derived(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
    path: str,
    *,
    verb: Literal["GET", "POST"] = "GET",
    seconds: float | None = None,
    lost: str = HARMLESS,
    **names: str,
) -> Callable[Concatenate[Remote, P], Coroutine[Any, Any, T]]:
    """Return a method that sends one request.

    The form of the answer is the return type of `method`. A list is read page by page, unless `method` has a
    limit.

    Args:
        method: the method of the service.
        path: the path under `/api/v1`. It names arguments as in `executions/{execution}`; the others are
            query parameters of a GET, and fields of the body of a POST. `datasets/{name:dataset}` names a
            dataset (`of_dataset`).
        seconds: timeout for the answer; None: that of the client.
        lost: end of the error message if the answer of a POST is lost.
        names: the API's name of an argument, if it has another one.
    """
    signature = inspect.signature(method, eval_str=True)
    form: Any = signature.return_annotation
    places = {name: kind for _, name, kind, _ in Formatter().parse(path) if name}
    template = path.replace(":dataset", "")

    def call(self: Remote, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        _, *given = bound.arguments.items()
        rest = {names.get(name, name): value for name, value in given if name not in places}
        query: dict[str, str] = {}
        segments: dict[str, str] = {}
        for name, kind in places.items():
            value = bound.arguments[name]
            if kind == "dataset":
                query, value = of_dataset(value)
            segments[name] = segment(value)
        filled = template.format(**segments)
        if verb == "GET":
            return _get(self._client, filled, form, seconds, **query, **rest)
        how: How = {"lost": lost, "json": rest or None, "query": query, "seconds": seconds or ANSWER_SECONDS}
        return self._client.post(filled, form, **how)

    return call


def of_dataset(name: str) -> tuple[dict[str, str], str]:
    """Split the name of a dataset, `NAME` or `CONFIG/NAME`: the parameter `config`, and the name alone."""
    config, _, alone = name.rpartition("/")
    return {"config": config} if config else {}, alone


async def _get(client: Client, path: str, form: Any, seconds: float | None, /, **query: object) -> Any:
    if get_origin(form) is not list:
        return await client.get(path, form, seconds, **query)
    page: Any = Page[get_args(form)[0]]  # type: ignore[misc]
    if "limit" in query:
        return (await client.get(path, page, seconds, **query)).items
    return await client.get_all(path, page, **query)
