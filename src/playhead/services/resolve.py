"""Resolve names to ids and keys: whole ids, their last digits, `latest`, `tag:NAME`, and `previous`.

The last digits of an id are at least four, so `7f3a91c2` stands for an id that ends with it.
Commands and the API accept these names wherever they accept an id.
"""

from __future__ import annotations

import re
from typing import Final, Protocol
from uuid import UUID

from playhead.errors import BadRequest, NotFound
from playhead.ids import parse_uuid
from playhead.model import Execution, Publication
from playhead.ports.catalog.browse import ExecutionFilter, IdKind
from playhead.reading.datasets import Datasets, check_readable, find_dataset, nothing_published

ID_END: Final = r"[0-9a-fA-F](?:-?[0-9a-fA-F]){3,31}"
"""The last digits of an id, or a whole id."""
_CURRENT: Final = re.compile(r"current:([^@]+)(?:@(.*))?")
_NUMBER: Final = re.compile("[1-9][0-9]{0,14}")
_PREVIOUS: Final = re.compile(r"previous(?::(.+))?")
_NEWEST: Final = re.compile(r"(latest|tag)(?::(.+))?")
_MOST_SHOWN: Final = 10
_MOST_FAILED: Final = 100
"""Failed runs among which one is looked for that has only dead letters."""
_WHAT: Final[dict[IdKind, tuple[str, str]]] = {
    "execution": ("an execution", "executions"),
    "batch": ("a replay batch", "replay batches"),
    "message": ("a message", "messages"),
}


class ResolveCatalog(Datasets, Protocol):
    """The part of the catalog that `ResolveService` needs."""

    async def execution(self, execution: UUID) -> Execution | None: ...

    async def executions(
        self, where: ExecutionFilter, *, before: int | None = None, limit: int = 100
    ) -> tuple[list[Execution], int | None]: ...

    async def ids_ending(self, kind: IdKind, digits: str, *, execution: UUID | None = None) -> list[UUID]: ...

    async def publication_of_dataset(self, config: str, name: str, n: int) -> Publication | None: ...


class ResolveService:
    """Resolves names. A whole id is only parsed: no method checks that it exists.

    Every method raises `Unavailable` if the catalog is unavailable, and `BadRequest` (`id_ambiguous`) if
    several ids end with the given digits.
    """

    def __init__(self, catalog: ResolveCatalog) -> None:
        self._catalog = catalog

    async def execution(self, text: str) -> UUID:
        """Return the id of an execution.

        `latest` and `latest:run` are the newest run, and `latest:CONFIG` is the newest run of a config. Only
        `latest:replay` is a replay. `tag:NAME` is the newest execution with this tag. `current:NAME` is the
        publication that readers of a dataset see, and `current:NAME@N` its publication N. The last digits of
        an id are looked up in the catalog only, not in the store.

        Raises:
            NotFound: `execution_not_found`, `dataset_not_found`, `publication_not_found`,
                `publication_dropped`.
            Conflict: `nothing_published`.
        """
        if identity := parse_uuid(text):
            return identity
        if current := _CURRENT.fullmatch(text):
            return (await self._publication(current[1], current[2])).execution_id
        newest = _NEWEST.fullmatch(text)
        if newest is None:
            return await self._ending("execution", text, "execution_not_found")
        where, missing = _filter(newest[1], newest[2] or "")
        found, _ = await self._catalog.executions(where, limit=1)
        if not found:
            raise NotFound("execution_not_found", missing)
        return found[0].execution_id

    async def _publication(self, name: str, number: str | None) -> Publication:
        dataset = await find_dataset(self._catalog, name)
        if number is None and dataset.current is None:
            raise nothing_published(dataset.name)
        if number is not None and not _NUMBER.fullmatch(number):
            raise NotFound("publication_not_found", f"{number!r} is not the number of a publication")
        wanted = int(number) if number else dataset.current or 0
        found = await self._catalog.publication_of_dataset(dataset.config, dataset.name, wanted)
        return check_readable(dataset, found, wanted)

    async def earlier_run(self, text: str, config: str) -> UUID:
        """Return the id of the run with which a new run of a config compares itself.

        `previous` is the newest run of this config that has processed all of its inputs, with or without
        dead letters. `previous:CONFIG` is that of another config. Runs that have not ended, were cancelled,
        or failed as a whole, such as an upload that was killed, are skipped. Other names have the same
        meaning as in `execution`.

        Raises:
            NotFound: `execution_not_found`.
        """
        previous = _PREVIOUS.fullmatch(text)
        if previous is None:
            return await self.execution(text)
        name = previous[1] or config
        where = ExecutionFilter(kind="run", config=name)
        completed, _ = await self._catalog.executions(where._replace(status="completed"), limit=1)
        failed, _ = await self._catalog.executions(where._replace(status="failed"), limit=_MOST_FAILED)
        found = [one.execution_id for one in (*completed, *failed) if one.error is None]
        if not found:
            raise NotFound(
                "execution_not_found",
                f"no run of config {name!r} has processed all of its inputs yet. Run without "
                "--changed-since, or name a run by its id",
            )
        return max(found)

    async def batch(self, text: str) -> UUID:
        """Return the id of a replay batch. Raises `NotFound` (`replay_not_found`)."""
        return parse_uuid(text) or await self._ending("batch", text, "replay_not_found")

    async def replay(self, text: str) -> UUID:
        """Return the id of a replay batch: from its id, from that of its new execution, or `latest:replay`.

        No run is a replay, so `latest` is accepted as well.

        Raises:
            NotFound: `replay_not_found`.
        """
        if text in ("latest", "latest:replay"):
            where, missing = _filter("latest", "replay")
            newest, _ = await self._catalog.executions(where, limit=1)
            if not newest:
                raise NotFound("replay_not_found", missing)
            return _batch_of(newest[0])
        identity = parse_uuid(text)
        if identity is None and re.fullmatch(ID_END, text) is None:
            raise NotFound(
                "replay_not_found",
                f"{text!r} does not name a replay: write its batch id, the id of its execution, or the last "
                "digits of one (at least 4). `latest:replay` is the newest replay",
            )
        if identity is None:
            try:
                return await self._ending("batch", text, "replay_not_found")
            except NotFound as exc:
                try:
                    identity = await self._ending("execution", text, "replay_not_found")
                except NotFound:
                    raise exc from None
        execution = await self._catalog.execution(identity)
        return identity if execution is None else _batch_of(execution)

    async def message(self, text: str, execution: UUID | None = None) -> UUID:
        """Return the correlation id of a message.

        The last digits of an id are looked up among the dead letters, or, if `execution` is given, among the
        messages of this execution.

        Raises:
            NotFound: `message_not_found`.
        """
        return parse_uuid(text) or await self._ending("message", text, "message_not_found", execution)

    async def dead_letter(self, text: str) -> UUID:
        """Return the correlation id of a dead letter. Raises `NotFound` (`dead_letter_not_found`)."""
        return parse_uuid(text) or await self._ending("message", text, "dead_letter_not_found")

    async def key(self, text: str) -> str:
        """Return the key of an object, whose execution may have any name that `execution` accepts.

        A text that does not begin with the name of an execution is returned unchanged. For an object of a
        publication, its key in the execution that stored it.

        Raises:
            NotFound: `execution_not_found`.
        """
        if text.startswith("current:"):
            return await self._published_key(text)
        name, slash, rest = text.partition("/")
        is_name = _NEWEST.fullmatch(name) or re.fullmatch(ID_END, name)
        if not slash or not is_name or parse_uuid(name):
            return text
        return f"{await self.execution(name)}/{rest}"

    async def _published_key(self, text: str) -> str:
        name, _, rest = text.removeprefix("current:").partition("/")
        try:
            publication = await self._publication(*_numbered(name))
        except NotFound as exc:
            config, name = name, rest.partition("/")[0]
            if exc.code != "dataset_not_found" or not name:
                raise
            publication = await self._publication(*_numbered(f"{config}/{name}"))
            rest = rest.partition("/")[2]
        return f"{publication.execution_id}/{rest}"

    async def _ending(self, kind: IdKind, text: str, missing: str, execution: UUID | None = None) -> UUID:
        what, several = _WHAT[kind]
        if re.fullmatch(ID_END, text) is None:
            others = (
                ", `latest`, `latest:CONFIG`, `latest:replay`, `tag:NAME` or `current:DATASET`"
                if kind == "execution"
                else ""
            )
            raise NotFound(
                missing,
                f"{text!r} does not name {what}: write its id, or its last digits (at least 4){others}",
            )
        digits = text.replace("-", "").lower()
        found = sorted(await self._catalog.ids_ending(kind, digits, execution=execution), reverse=True)
        if len(found) == 1:
            return found[0]
        if not found:
            where = f" in execution {execution}" if execution else ""
            if kind == "message" and not execution:
                where = " and is a dead letter; for another message, write the whole id or name its execution"
            raise NotFound(missing, f"there is no id of {what} that ends with {digits}{where}")
        shown = ", ".join(map(str, found[:_MOST_SHOWN]))
        more = f" and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
        raise BadRequest(
            "id_ambiguous",
            f"{len(found)} {several} end with {digits}: {shown}{more}. Type more of the id",
        )


def _numbered(name: str) -> tuple[str, str | None]:
    """Split `NAME@N`."""
    name, at, number = name.partition("@")
    return name, number if at else None


def is_id(text: str) -> bool:
    """Whether a text has the form of an id, or of its last digits."""
    return re.fullmatch(ID_END, text) is not None or parse_uuid(text) is not None


def _batch_of(execution: Execution) -> UUID:
    if execution.replay_batch_id is None:
        raise NotFound(
            "replay_not_found",
            f"execution {execution.execution_id} is not a replay. To list the replays of it, run: "
            f"playhead replays {execution.execution_id}",
        )
    return execution.replay_batch_id


def _filter(word: str, name: str) -> tuple[ExecutionFilter, str]:
    """Return the filter whose newest execution is meant, and the error if no execution matches."""
    if word == "tag":
        return ExecutionFilter(tag=name), f"no execution has the tag {name!r}"
    if name == "replay":
        return ExecutionFilter(kind="replay"), "there is no replay yet"
    if name in ("", "run"):
        return ExecutionFilter(kind="run"), "there is no run yet; `playhead executions` lists replays"
    return ExecutionFilter(kind="run", config=name), f"there is no run of a config {name!r} yet"
