"""The URL of the page of each thing that has one."""

from __future__ import annotations

from playhead.web.page import url


def link(kind: str, name: object) -> str:
    """Return the URL of a page.

    Args:
        kind: `execution`, `replay`, `message`, `dead_letter`, `cause`, `object`, `attribute`, `config`,
            `route`, `adapter`, `queue`, `stage`, `plan` or `dataset`.
        name: its id, key or name. An attribute is the key of its object. A route or an adapter is
            `CONFIG/ROUTE`, a stage is `EXECUTION_ID/STAGE`, a dataset is
            `CONFIG/NAME`.
    """
    text = str(name)
    owner, _, rest = text.partition("/")
    match kind:
        case "execution":
            return url(f"/executions/{text}")
        case "replay":
            return url(f"/replays/{text}")
        case "message":
            return url(f"/lineage/{text}")
        case "dead_letter":
            return url(f"/dead-letters/{text}")
        case "cause":
            return url(f"/causes/{text}")
        case "object" | "attribute":
            return url("/objects", key=text)
        case "config":
            return url(f"/configs/{text}")
        case "route" | "adapter":
            return url(f"/configs/{owner}", focus=rest)
        case "queue":
            return url(f"/queues/{text}")
        case "stage":
            return url(f"/executions/{owner}", stage=rest)
        case "plan":
            return url("/replay", plan_id=text)
        case "dataset":
            # A pasted link stays valid if another config gets a dataset with the same name.
            return url(f"/datasets/{rest}", config=owner)
    raise ValueError(f"no page shows a {kind}")
