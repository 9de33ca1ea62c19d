"""URLs of each page, with the demo data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.browser.extremes import DATASET, LEDGER, POSTING, READ

STAGE: Final = "from_execution_id={run}&from_stage=markdown_converted"
EXAMPLES: Final[Mapping[str, Mapping[str, str]]] = {
    "/": {"home": "/"},
    "/executions": {
        "executions": "/executions",
        "executions-failed": "/executions?status=failed&config=handbook",
    },
    "/executions/{execution_id}": {
        "execution": "/executions/{run}?stage=markdown_converted",
        "execution-wide": "/executions/{wide}",
        "execution-running": "/executions/{paced}",
        "execution-adopted": "/executions/{adopted}",
        "execution-objects": "/executions/{run}?tab=objects",
        "execution-messages": "/executions/{run}?tab=messages",
        "execution-timeline": "/executions/{run}?tab=timeline",
        "execution-family": "/executions/{run}?tab=family",
        "execution-config": "/executions/{run}?tab=config",
    },
    "/datasets": {"datasets": "/datasets"},
    "/datasets/{name}": {"dataset": "/datasets/library"},
    "/datasets/{name}/{n}": {"publication": "/datasets/library/1"},
    "/datasets/{name}/publish": {
        "publish": "/datasets/library/publish?execution={library}",
        "publish-choose": "/datasets/library/publish",
    },
    "/datasets/{name}/rollback": {"rollback": "/datasets/library/rollback?to=1"},
    "/configs": {"configs": "/configs"},
    "/configs/{name}": {
        "config": "/configs/handbook",
        "config-wide": "/configs/warehouse",
        "config-diff": "/configs/handbook?version=3&against=1",
    },
    "/run": {"run": "/run?config=handbook", "run-choose": "/run"},
    "/prune": {"prune": "/prune?config=handbook&count=1", "prune-choose": "/prune"},
    "/apply": {"apply": "/apply?config=handbook", "apply-new": "/apply"},
    "/replay": {
        "replay": "/replay?" + STAGE + "&to_route=handbook/segment&count=1",
        "replay-choose": "/replay",
        "replay-stage": "/replay?from_execution_id={run}",
    },
    "/replays": {"replays": "/replays"},
    "/replays/{batch}": {
        "progress": "/replays/{paced_batch}",
        "progress-paused": "/replays/{paused_batch}",
        "progress-canary": "/replays/{canary_batch}",
        "progress-ended": "/replays/{replay_batch}",
    },
    "/find": {"find": "/find", "find-near": "/find?q=handbok", "find-part": "/find?q=page"},
    "/executions/{execution_id}/compare": {
        "compare": "/executions/{run}/compare?with={replay}",
        "compare-choose": "/executions/{run}/compare",
    },
    "/executions/{execution_id}/result": {
        "result": "/executions/{run}/result?with={replay}",
        "result-changed": "/executions/{run}/result?with={larger}&before=done&after=other&by=stage",
    },
    "/causes": {"causes": "/causes?state=all"},
    "/causes/{id}": {"cause": "/causes/{cause}"},
    "/dead-letters": {
        "dead-letters": "/dead-letters",
        "dead-group": "/dead-letters?group={group}",
    },
    "/dead-letters/{id}": {"dead-letter": "/dead-letters/{dead}"},
    "/lineage/{correlation_id}": {
        "message": "/lineage/{message}",
        "message-dead": "/lineage/{dead}",
    },
    "/why": {
        "why": "/why?execution_id={run}&path=legacy/1998/replay-003.html",
        "why-dead": "/why?execution_id={run}&path=legacy/1998/queues-007.html",
    },
    "/objects": {
        "object": "/objects?key={replay}/segments/guide/replay-000/0001.md",
        "object-changes": "/objects?key={replay}/segments/guide/replay-000/0001.md&view=changes",
        "object-input": "/objects?key={run}/input/guide/replay-000.html",
        "object-vector": "/objects?key={second}/vectors/guide/replay-000/0001.json&lineage=list",
        "object-html": "/objects?key={library}/kept/page.html&view=rendered",
        "object-markdown": "/objects?key={library}/kept/notes.md&view=rendered",
        "object-svg": "/objects?key={library}/kept/drawing.svg",
        "object-picture": "/objects?key={library}/kept/picture.png",
        "object-pdf": "/objects?key={library}/kept/paper.pdf",
        "object-json": "/objects?key={library}/kept/data.json",
        "object-bytes": "/objects?key={library}/kept/bytes.bin",
        "object-adopted": "/objects?key={adopted}/pages/replay-000.html",
    },
    "/queues": {"queues": "/queues"},
    "/queues/{queue}": {"queue": "/queues/handbook.segment", "queue-external": "/queues/search.vectors"},
    "/affected": {"affected": "/affected?adapter=html_to_markdown@1", "affected-empty": "/affected"},
    "/system": {"system": "/system"},
    "/help": {"help": "/help"},
}
"""URLs by path of the page, as `playhead.web.app.PAGES` has it, each with a name.

Names in braces are ids of `Demo`. Screenshots are named after the URLs.
"""

URLS: Final = {name: url for urls in EXAMPLES.values() for name, url in urls.items()}

_INPUT: Final = "input/{ledger_input}"
EXTREMES: Final[Mapping[str, Mapping[str, str]]] = {
    "/": {"home": "/"},
    "/executions": {"executions": "/executions"},
    "/executions/{execution_id}": {
        "execution": "/executions/{ledger}",
        "execution-table": f"/executions/{{ledger}}?view=table&route={POSTING[1]}",
        "execution-wide": "/executions/{wide}",
        "execution-wide-table": "/executions/{wide}?view=table",
        "execution-objects": "/executions/{ledger}?tab=objects",
        "execution-messages": "/executions/{ledger}?tab=messages",
        "execution-timeline": "/executions/{ledger}?tab=timeline",
        "execution-family": "/executions/{ledger}?tab=family",
        "execution-config": "/executions/{ledger}?tab=config",
    },
    "/datasets": {"datasets": "/datasets"},
    "/datasets/{name}": {"dataset": f"/datasets/{DATASET}"},
    "/datasets/{name}/{n}": {"publication": f"/datasets/{DATASET}/1"},
    "/datasets/{name}/publish": {"publish": f"/datasets/{DATASET}/publish?execution={{ledger}}"},
    "/datasets/{name}/rollback": {"rollback": f"/datasets/{DATASET}/rollback?to=1"},
    "/configs": {"configs": "/configs"},
    "/configs/{name}": {"config": f"/configs/{LEDGER}"},
    "/run": {"run": f"/run?config={LEDGER}", "run-choose": "/run"},
    "/prune": {"prune": f"/prune?config={LEDGER}&keep_last=0&count=1"},
    "/apply": {"apply": f"/apply?config={LEDGER}"},
    "/replay": {
        "replay": f"/replay?from_execution_id={{ledger}}&from_stage=input&to_route={LEDGER}/{READ}",
        "replay-stage": "/replay?from_execution_id={ledger}",
    },
    "/replays": {"replays": "/replays"},
    "/replays/{batch}": {
        "progress": "/replays/{ledger_replay_batch}",
        "progress-canary": "/replays/{desk_canary_batch}",
        "progress-guard": "/replays/{desk_guard_batch}",
    },
    "/find": {"find": f"/find?q={LEDGER[:20]}"},
    "/executions/{execution_id}/compare": {"compare": "/executions/{ledger}/compare?with={ledger_replay}"},
    "/executions/{execution_id}/result": {
        "result": "/executions/{ledger}/result?with={ledger_replay}&by=error"
    },
    "/causes": {"causes": "/causes?state=all"},
    "/causes/{id}": {"cause": "/causes/{ledger_cause}"},
    "/dead-letters": {
        "dead-letters": "/dead-letters",
        "dead-letters-of": "/dead-letters?execution_id={ledger}",
        "dead-group": "/dead-letters?group={ledger_group}",
    },
    "/dead-letters/{id}": {"dead-letter": "/dead-letters/{ledger_dead}"},
    "/lineage/{correlation_id}": {"message": "/lineage/{ledger_dead}"},
    "/why": {"why": f"/why?execution_id={{ledger}}&path={_INPUT}"},
    "/objects": {"object": f"/objects?key={{ledger}}/{_INPUT}"},
    "/queues": {"queues": "/queues"},
    "/queues/{queue}": {"queue": f"/queues/{LEDGER}.{READ}"},
    "/affected": {"affected": "/affected?adapter=passthrough@1"},
    "/system": {"system": "/system"},
    "/help": {"help": "/help"},
}
"""URLs with the data at the limits. No picture shows them."""
