"""The broker on NATS JetStream: a work-queue stream for each queue, with one durable consumer.

A message leaves its stream only when it is acknowledged. A full stream rejects new messages. A stream keeps
its messages without a time limit, and delivers them without a limit on attempts. The server drops duplicates
within seconds, but no code relies on that.
"""

from __future__ import annotations

from playhead.backends.broker_nats.broker import NatsBroker

__all__ = ["NatsBroker"]
