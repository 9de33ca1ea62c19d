"""The part of the client that lists and resends dead letters."""

from __future__ import annotations

from uuid import UUID

from playhead.client.replays import Name, ReplayMethods
from playhead.model import DeadLetter, DeadLetterDetail, DeadLetterGroup, Page


class DeadLetterMethods(ReplayMethods):
    """The methods of `Client` about dead letters."""

    def dead_letters(
        self,
        execution: Name | None = None,
        *,
        route: str | None = None,
        group: str | None = None,
        limit: int | None = None,
    ) -> list[DeadLetter]:
        """Return dead letters, newest first, of one execution or of all."""
        of = None if execution is None else self._execution(execution)

        async def page(cursor: str | None, count: int) -> Page[DeadLetter]:
            return await self._services.queues.dead_letters(
                execution=of, route=route, group=group, cursor=cursor, limit=count
            )

        return self._loop.collect(page, limit)

    def dead_letter_groups(
        self, execution: Name | None = None, *, route: str | None = None, limit: int | None = None
    ) -> list[DeadLetterGroup]:
        """Return groups of dead letters that failed alike, of one execution or of all."""
        of = None if execution is None else self._execution(execution)

        async def page(cursor: str | None, count: int) -> Page[DeadLetterGroup]:
            return await self._services.queues.dead_letter_groups(
                execution=of, route=route, cursor=cursor, limit=count
            )

        return self._loop.collect(page, limit)

    def resend(
        self,
        execution: Name | None = None,
        *,
        route: str | None = None,
        group: str | None = None,
        failed_before: str | None = None,
    ) -> int:
        """Resend the dead letters of an execution, a route or a group; return their number.

        Args:
            failed_before: RFC 3339; dead letters that failed later are not resent.
        """
        of = None if execution is None else self._execution(execution)
        resend = self._services.recover.resend
        return len(
            self._loop.run(resend(execution=of, route=route, group=group, failed_before=failed_before))
        )

    def dead_letter(self, message: str | UUID) -> DeadLetterDetail:
        """Return one dead letter with its traceback."""

        async def letter() -> DeadLetterDetail:
            return await self._services.queues.dead_letter(
                await self._services.resolve.dead_letter(str(message))
            )

        return self._loop.run(letter())
