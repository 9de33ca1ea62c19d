"""The broker on NATS JetStream: a work-queue stream a queue, one durable consumer a stream.

A message leaves its stream when it is acked, and only then: streams refuse what they have no room for, keep
what they hold for as long as it takes, and hand it out as often as it takes. Duplicates are dropped only
within seconds, and nothing relies on it: what travels is a call to look at a row of the catalog.
"""

from __future__ import annotations

from playhead.backends.broker_nats.broker import NatsBroker

__all__ = ["NatsBroker"]
