"""The data that Playhead works with, as frozen dataclasses.

pipeline   what a config declares
views      what the API and the CLI show: the fields are the JSON of the API
queues     the same for routes, queues and dead letters
trace      the same for messages below an object
code       which code ran, and which code processes have loaded
why        the same for one item: where it ended, and the reason
outcome    completion reports of replays, and events for their webhooks
retention  how long objects are kept, and what was pruned
health     the state of backends, processes and adapters

The catalog builds these values. Times are RFC 3339 strings (`ids.moment`). The values
that only services and the catalog exchange (claims, bindings, dispatches) are defined in `ports.catalog`.
"""

from playhead.model.code import (
    AdapterCode,
    CodeNote,
    Compare,
    LoadedAdapter,
    LoadedCode,
    RanCode,
    RouteCode,
    Worker,
    WorkerAdapter,
)
from playhead.model.health import (
    AdapterInfo,
    BackendHealth,
    Examination,
    Examined,
    Finding,
    Health,
    WorkerInfo,
)
from playhead.model.outcome import ReplayEvent
from playhead.model.pipeline import (
    Condition,
    Config,
    ConfigVersion,
    Diagnostic,
    ErrorHandling,
    Isolation,
    Operator,
    RateLimit,
    Route,
    Step,
)
from playhead.model.queues import DeadLetter, DeadLetterDetail, RoutePause, RouteStatus
from playhead.model.replays import (
    MOST_ERRORS,
    OPEN_REPLAY_STATES,
    UNCERTAIN,
    Canary,
    DepthPace,
    Only,
    OnReplay,
    Pace,
    RatePace,
    Replay,
    ReplayRequest,
    ReplayState,
    ReplayWork,
    ReportState,
    Selection,
    WaitsFor,
)
from playhead.model.retention import (
    DAY,
    KEPT,
    Kept,
    KeptExecution,
    Pruned,
    PrunedStage,
    Retention,
    replayable_until,
)
from playhead.model.trace import ChainCount, ChainCounts
from playhead.model.views import (
    MOST_OUTPUT_KEYS,
    OPEN_STATES,
    ROW_STATES,
    ChainLink,
    Counts,
    Execution,
    Kind,
    Lineage,
    Page,
    Problem,
    RouteCounts,
    RowState,
    SearchHit,
    StageSummary,
    Status,
    StoredObject,
)
from playhead.model.why import OUTCOMES, Outcome, Why, WhyExample, WhyRoute

__all__ = [
    "DAY",
    "KEPT",
    "MOST_ERRORS",
    "MOST_OUTPUT_KEYS",
    "OPEN_REPLAY_STATES",
    "OPEN_STATES",
    "OUTCOMES",
    "ROW_STATES",
    "UNCERTAIN",
    "AdapterCode",
    "AdapterInfo",
    "BackendHealth",
    "Canary",
    "ChainCount",
    "ChainCounts",
    "ChainLink",
    "CodeNote",
    "Compare",
    "Condition",
    "Config",
    "ConfigVersion",
    "Counts",
    "DeadLetter",
    "DeadLetterDetail",
    "DepthPace",
    "Diagnostic",
    "ErrorHandling",
    "Examination",
    "Examined",
    "Execution",
    "Finding",
    "Health",
    "Isolation",
    "Kept",
    "KeptExecution",
    "Kind",
    "Lineage",
    "LoadedAdapter",
    "LoadedCode",
    "OnReplay",
    "Only",
    "Operator",
    "Outcome",
    "Pace",
    "Page",
    "Problem",
    "Pruned",
    "PrunedStage",
    "RanCode",
    "RateLimit",
    "RatePace",
    "Replay",
    "ReplayEvent",
    "ReplayRequest",
    "ReplayState",
    "ReplayWork",
    "ReportState",
    "Retention",
    "Route",
    "RouteCode",
    "RouteCounts",
    "RoutePause",
    "RouteStatus",
    "RowState",
    "SearchHit",
    "Selection",
    "StageSummary",
    "Status",
    "Step",
    "StoredObject",
    "WaitsFor",
    "Why",
    "WhyExample",
    "WhyRoute",
    "Worker",
    "WorkerAdapter",
    "WorkerInfo",
    "replayable_until",
]
