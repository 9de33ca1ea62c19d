"""Remote methods that are one request, derived from the methods of the services.

`derived(Service.method, path)` has the signature of the service's method, also for the type checker. So a new
parameter of a service is a parameter of the remote method, too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from string import Formatter
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, get_args, get_origin

from playhead.model import Page
from playhead.remote.client import ANSWER_SECONDS, HARMLESS, Client, segment

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
    **names: str,
) -> Callable[Concatenate[Remote, P], Coroutine[Any, Any, T]]:
    """Return a method that sends one request.

    The form of the answer is the return type of `method`. A list is read page by page, unless `method` has a
    limit.

    Args:
        method: the method of the service.
        path: the path under `/api/v1`. It names arguments as in `executions/{execution}`; the others are
            query parameters of a GET, and fields of the body of a POST.
        verb: a POST is one that can be repeated safely.
        seconds: timeout for the answer; None: that of the client.
        names: the API's name of an argument, if it has another one.
    """
    signature = inspect.signature(method, eval_str=True)
    form: Any = signature.return_annotation
    places = [name for _, name, _, _ in Formatter().parse(path) if name]

    def call(self: Remote, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        _, *given = bound.arguments.items()
        filled = path.format(**{name: segment(value) for name, value in given if name in places})
        rest = {names.get(name, name): value for name, value in given if name not in places}
        answer: Coroutine[Any, Any, T] = _request(self._client, verb, filled, form, rest, seconds)
        return answer

    return call


async def _request(
    client: Client, verb: str, path: str, form: Any, rest: Mapping[str, Any], seconds: float | None
) -> Any:
    if verb == "POST":
        body = dict(rest) or None
        return await client.post(path, form, lost=HARMLESS, json=body, seconds=seconds or ANSWER_SECONDS)
    if get_origin(form) is not list:
        return await client.get(path, form, seconds, **rest)
    page: Any = Page[get_args(form)[0]]  # type: ignore[misc]
    if "limit" in rest:
        return (await client.get(path, page, seconds, **rest)).items
    return await client.get_all(path, page, **rest)
