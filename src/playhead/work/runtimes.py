"""The chains that a worker has ready, by config version and route."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Set
from dataclasses import asdict
from typing import Final, Protocol

from playhead.clock import Clock
from playhead.environment import Environment
from playhead.model import AdapterCode
from playhead.ports.adapter import AdapterSpec
from playhead.ports.catalog import Code, Configs
from playhead.ports.catalog.work import Claim
from playhead.steps.chain import Chain, UnknownAdapter
from playhead.steps.ratelimits import CallLimits
from playhead.work.dispatch import RouteRuntime

_MOST_OLD_VERSIONS: Final = 8
"""Config versions whose chains are kept although no queue is subscribed with them: executions use them."""
_SECRETS_SECONDS: Final = 30.0
"""How often the secrets of the chains are read again."""


class RuntimeCatalog(Configs, Code, Protocol): ...


class Runtimes:
    """Prepares a chain when its first message is claimed, and closes it when it is no longer needed.

    Args:
        adapters: those of this process, by name.
        in_use: returns the runtimes of chains that wait or run. These are not closed.
        newest: returns the config versions with which queues are subscribed, by name and version.

    Attributes:
        call_limits: those of the worker; None before it runs.
    """

    def __init__(
        self,
        catalog: RuntimeCatalog,
        adapters: Mapping[str, AdapterSpec],
        env: Environment,
        clock: Clock,
        *,
        in_use: Callable[[], Set[RouteRuntime]],
        newest: Callable[[], Collection[tuple[str, int]]],
    ) -> None:
        self._catalog = catalog
        self._adapters = adapters
        self._env = env
        self._clock = clock
        self._in_use = in_use
        self._newest = newest
        self._ready: dict[tuple[str, int, str], RouteRuntime] = {}
        self._replaced: list[RouteRuntime] = []
        self._read_secrets_at = clock() + _SECRETS_SECONDS
        self.call_limits: CallLimits | None = None

    async def of(self, claim: Claim) -> RouteRuntime:
        """Return the chain of a claim's route, in the config version of its row.

        Raises `UnknownAdapter`, `Unavailable`.
        """
        self._replace_outdated()
        key = (claim.config, claim.config_version, claim.route)
        found = self._ready.pop(key, None)
        if found is None:
            found = await self._prepared(claim)
            self._close_old()
        self._ready[key] = found  # the most recently used one is the last
        return found

    async def _prepared(self, claim: Claim) -> RouteRuntime:
        loaded = await self._catalog.config(claim.config, claim.config_version)
        if loaded is None:
            raise UnknownAdapter((), f"config {claim.config} has no version {claim.config_version}")
        route = loaded.config.routes[claim.route]
        chain = Chain(
            route,
            self._adapters,
            resolve=self._env.resolve,
            call_limits=self.call_limits,
            isolate=self._env.isolate,
        )
        ran = [AdapterCode(spec.name, spec.version, spec.code) for spec in chain.specs]
        code = await self._catalog.record_code(ran)
        effects = [spec.name for spec in chain.specs if spec.effects == "external"]
        dataset = loaded.config.dataset_of(claim.route)
        return RouteRuntime(route, chain, [asdict(one) for one in ran], code, effects, dataset)

    def close(self) -> None:
        """Close all chains."""
        for runtime in (*self._ready.values(), *self._replaced):
            runtime.chain.close()
        self._ready.clear()
        self._replaced.clear()

    def _replace_outdated(self) -> None:
        """Forget the runtimes whose secrets have changed, twice a minute. Messages that run keep theirs."""
        if self._clock() < self._read_secrets_at:
            return
        self._read_secrets_at = self._clock() + _SECRETS_SECONDS
        outdated = [key for key, runtime in self._ready.items() if runtime.chain.has_new_secrets()]
        self._replaced += [self._ready.pop(key) for key in outdated]
        in_use = self._in_use()
        for runtime in self._replaced:
            if runtime not in in_use:
                runtime.chain.close()
        self._replaced = [runtime for runtime in self._replaced if runtime in in_use]

    def _close_old(self) -> None:
        """Close the chains of the old config versions that were not used for longest.

        Otherwise they would pile up. The limit counts versions and not chains, because a config with many
        routes needs all of its chains.
        """
        newest = self._newest()
        old = dict.fromkeys(key[:2] for key in reversed(self._ready) if key[:2] not in newest)
        surplus = set([*old][_MOST_OLD_VERSIONS:])
        if not surplus:
            return
        in_use = self._in_use()
        for key, runtime in list(self._ready.items()):
            if key[:2] in surplus and runtime not in in_use:
                del self._ready[key]
                runtime.chain.close()
