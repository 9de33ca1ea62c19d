"""The audit over HTTP."""

from __future__ import annotations

from playhead.remote.derived import Remote, derived
from playhead.services.audit import AuditService


class RemoteAudit(Remote):
    """Remote `AuditService`."""

    list = derived(AuditService.list, "audit")
