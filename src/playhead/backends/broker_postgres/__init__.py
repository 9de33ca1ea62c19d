"""The broker in PostgreSQL: a table of dispatches, for deployments that have PostgreSQL and want no other
server.

A received dispatch is hidden until a time (`visible_at`) and belongs to a tag, which every later step names.
Receivers select with `FOR UPDATE SKIP LOCKED`, so none waits for another. Receivers that find nothing wait
for a `NOTIFY` (see `notify`).

Acknowledged rows stay at the start of the index until they are vacuumed, which cannot happen while a backup
runs. So a process remembers how far it has received a queue, and looks from there on. It looks from the start
once a second, or when it found nothing.
"""

from __future__ import annotations

from playhead.backends.broker_postgres.broker import PostgresBroker

__all__ = ["PostgresBroker"]
