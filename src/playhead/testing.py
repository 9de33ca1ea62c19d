"""Run one adapter on one item, for tests and notebooks; and try a sink with random publications."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, overload
from uuid import UUID

from playhead.ids import uuid7
from playhead.model import Route, Step
from playhead.ports.adapter import Context, Item, spec_of
from playhead.ports.sinks import SINK_METHODS
from playhead.schedules import Schedule
from playhead.secrets import Reference, Resolve, SecretUnavailable
from playhead.steps.chain import Chain, CooldownNeeded, Result, UnknownAdapter


@overload
def run_adapter(
    adapter: Callable[..., Any],
    item: Item,
    config: Mapping[str, Any] | Any | None = None,
    *,
    attempt: int = 1,
    replay: UUID | None = None,
    data_dir: str | None = None,
    secrets: Mapping[str, str] | None = None,
    internal_hosts: Sequence[str] = (),
) -> list[Item]: ...


@overload
def run_adapter(
    adapter: Callable[..., Any],
    item: Sequence[Item],
    config: Mapping[str, Any] | Any | None = None,
    *,
    attempt: int = 1,
    replay: UUID | None = None,
    data_dir: str | None = None,
    secrets: Mapping[str, str] | None = None,
    internal_hosts: Sequence[str] = (),
) -> list[list[Item]]: ...


def run_adapter(
    adapter: Callable[..., Any],
    item: Item | Sequence[Item],
    config: Mapping[str, Any] | Any | None = None,
    *,
    attempt: int = 1,
    replay: UUID | None = None,
    data_dir: str | None = None,
    secrets: Mapping[str, str] | None = None,
    internal_hosts: Sequence[str] = (),
) -> list[Item] | list[list[Item]]:
    """Return what a route with this one step would store for an item, under the final paths.

    Works for every kind of adapter, also inside a running event loop. A class adapter is created and closed
    within the call.

    Args:
        adapter: the decorated function or class itself.
        item: an item, or several. For several, the result has one list per item, and an adapter with `batch`
            gets them in batches.
        config: a mapping as in a config's YAML, or an instance of its model; None: its defaults.
        attempt: the value of `ctx.attempt`.
        replay: the value of `ctx.replay`.
        data_dir: the value of `ctx.data_dir`; None: a folder that is removed when this returns.
        secrets: values by reference, such as `{"${env:API_KEY}": "test"}`; None: the secrets that
            `PLAYHEAD_SECRETS_ENV` and `PLAYHEAD_SECRETS_DIR` allow, as in a worker.
        internal_hosts: the value of `ctx.internal_hosts`.

    Raises:
        RateLimited, Reject, Retry, or anything else: as the adapter raised it for the first item that failed.
        MessageError: `bad_output`, `invalid_key`, `output_conflict`, as in a dead letter.
        ValueError: the config does not fit, or a secret is missing.
        TypeError: `adapter` is not an adapter.
    """
    spec = spec_of(adapter)
    if spec is None:
        raise TypeError(f"{adapter!r} is not an adapter: decorate it with @adapter(name)")
    if config is not None and not isinstance(config, Mapping):
        config = config.model_dump(by_alias=True, exclude_unset=True)
    route = Route("test", "test.test", (Step(spec.name, config or {}),), stage="output")
    try:
        chain = Chain(route, {spec.name: spec}, resolve=_resolve(secrets))
    except UnknownAdapter as exc:
        raise ValueError(exc.detail) from exc
    with tempfile.TemporaryDirectory(prefix="playhead-") as scratch:
        ctx = Context(
            execution_id=uuid7(),
            correlation_id=uuid7(),
            config="test",
            config_version=1,
            route=route.name,
            attempt=attempt,
            replay=replay,
            data_dir=scratch if data_dir is None else data_dir,
            log=logging.getLogger(f"playhead.adapter.{spec.name}"),
            internal_hosts=internal_hosts,
            mask=chain.mask,
        )
        items = [item] if isinstance(item, Item) else list(item)
        try:
            results = [
                _stored(one, result) for one, result in zip(items, _run(chain, items, ctx), strict=True)
            ]
        except CooldownNeeded as exc:
            raise (exc.__cause__ or exc) from None
        finally:
            chain.close()
    return results[0] if isinstance(item, Item) else results


def check_sink(
    adapter: Callable[..., Any],
    item: Item,
    config: Mapping[str, Any] | None = None,
    *,
    schedules: int = 25,
    first_seed: int = 0,
    secrets: Mapping[str, str] | None = None,
    internal_hosts: Sequence[str] = (),
) -> None:
    """Try a sink that follows publications with random histories, and check what its readers see.

    The histories have repeated, late and reordered calls, drafts that are abandoned anywhere, rollbacks, and
    drops. Rows are written by the step itself, and read with `Sink.results`.

    Args:
        adapter: the decorated class, with the methods of `playhead.sinks.Sink`.
        item: an item that the step accepts.
        config: as in a config's YAML.
        schedules: how many histories.
        first_seed: of the random numbers; the next histories use the next seeds.
        secrets, internal_hosts: as in `run_adapter`.

    Raises:
        AssertionError: readers would see something else than one whole publication. The text has the seed
            and the history.
        TypeError: it is not an adapter class with these methods.
    """
    spec = spec_of(adapter)
    if spec is None or not spec.follows:
        raise TypeError(
            f"{adapter!r} does not have the methods of playhead.sinks.Sink: {', '.join(SINK_METHODS)}"
        )

    async def run_all() -> None:
        with tempfile.TemporaryDirectory(prefix="playhead-") as scratch:
            for seed in range(first_seed, first_seed + schedules):
                history = Schedule(
                    *(spec, config or {}, item, seed),
                    data_dir=scratch,
                    internal_hosts=internal_hosts,
                    resolve=_resolve(secrets),
                )
                try:
                    await history.run()
                except AssertionError as exc:
                    raise AssertionError(f"seed {seed}: {exc}") from exc

    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, run_all()).result()


def _run(chain: Chain, items: Sequence[Item], ctx: Context) -> list[Result]:
    contexts = [replace(ctx, correlation_id=uuid7()) for _ in items]
    if not chain.is_async:
        return [chain.run(*pair) for pair in zip(items, contexts, strict=True)]

    async def run_all() -> list[Result]:
        try:
            return await asyncio.gather(*map(chain.run_async, items, contexts))
        finally:
            await chain.close_async()

    # A notebook's own loop is running in this thread.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, run_all()).result()


def _stored(item: Item, result: Result) -> list[Item]:
    return [Item(p.path, p.data, p.content_type, p.attributes, item.stage) for p in result.products]


def _resolve(secrets: Mapping[str, str] | None) -> Resolve:
    def resolve(reference: Reference) -> str:
        if secrets is None:
            return _of_environment()(reference)
        if str(reference) not in secrets:
            raise SecretUnavailable(f"{reference} is not in `secrets`")
        return secrets[str(reference)]

    return resolve


def _of_environment() -> Resolve:
    # Imported only for a config with a reference: bootstrap loads all backends.
    from playhead.bootstrap.secrets import Secrets
    from playhead.settings import load_settings

    settings = load_settings()
    return Secrets(settings.secrets_env, settings.secrets_dir).resolve
