"""The data that Playhead works with, as frozen dataclasses.

pipeline   what a config declares
structure  the routes of a pipeline, and the edges between them
views      what the API and the CLI show: the fields are the JSON of the API
plans      what a replay would publish
queues     routes, queues and dead letters
activity   how many messages have ended, by time, and what happened meanwhile
causes     errors over all routes and executions
trace      what was made from an object
datasets   what readers use: datasets, their sinks and their changes
publications  what readers of a dataset see, or have seen
diff       what differs between two executions
code       which code ran, and which code processes have loaded
why        where one item ended, and the reason
outcome    completion reports of replays, and events for their webhooks
retention  how long objects are kept, and what was pruned
pruned     what a prune deletes
health     the state of backends, processes and adapters

The catalog builds these values. Times are RFC 3339 strings (`ids.moment`). The values
that only services and the catalog exchange (claims, bindings, dispatches) are defined in `ports.catalog`.
"""

from playhead.model.activity import (
    Mark as Mark,
    RouteTime as RouteTime,
    TimeCounts as TimeCounts,
)
from playhead.model.affected import AffectedRoute as AffectedRoute
from playhead.model.causes import (
    CAUSE_STATES as CAUSE_STATES,
    Acknowledgement as Acknowledgement,
    Cause as Cause,
    CauseObject as CauseObject,
    CausePlan as CausePlan,
    CauseRoute as CauseRoute,
    CauseState as CauseState,
    NotPlanned as NotPlanned,
    TextPart as TextPart,
)
from playhead.model.code import (
    AdapterCode as AdapterCode,
    CodeCondition as CodeCondition,
    CodeNote as CodeNote,
    Compare as Compare,
    LoadedAdapter as LoadedAdapter,
    LoadedCode as LoadedCode,
    MadeByCondition as MadeByCondition,
    RanCode as RanCode,
    RouteCode as RouteCode,
    Worker as Worker,
    WorkerAdapter as WorkerAdapter,
    WorkerCondition as WorkerCondition,
    made_by_of as made_by_of,
)
from playhead.model.datasets import (
    MAX_NUMBER as MAX_NUMBER,
    Allowed as Allowed,
    ChangeKind as ChangeKind,
    Dataset as Dataset,
    DatasetChange as DatasetChange,
    DatasetConfig as DatasetConfig,
    DatasetEvent as DatasetEvent,
    OnFailure as OnFailure,
    Placement as Placement,
    PublishRequest as PublishRequest,
    SinkCheck as SinkCheck,
    SinkRepair as SinkRepair,
    SinkState as SinkState,
    Switch as Switch,
)
from playhead.model.diff import (
    Diff as Diff,
    DiffBy as DiffBy,
    DiffCounts as DiffCounts,
    DiffFilter as DiffFilter,
    DiffObject as DiffObject,
    DiffSide as DiffSide,
    DiffStage as DiffStage,
    DiffState as DiffState,
)
from playhead.model.find import (
    FOUND_KINDS as FOUND_KINDS,
    FindAnswer as FindAnswer,
    Found as Found,
    FoundGroup as FoundGroup,
    FoundKind as FoundKind,
    Matches as Matches,
    TextSearch as TextSearch,
)
from playhead.model.health import (
    AdapterInfo as AdapterInfo,
    BackendHealth as BackendHealth,
    Examination as Examination,
    Examined as Examined,
    Finding as Finding,
    Health as Health,
    WorkerInfo as WorkerInfo,
)
from playhead.model.objects import (
    ObjectVersion as ObjectVersion,
    PublicationRange as PublicationRange,
    PublishedIn as PublishedIn,
)
from playhead.model.pipeline import (
    Condition as Condition,
    Config as Config,
    ConfigPreview as ConfigPreview,
    ConfigVersion as ConfigVersion,
    Diagnostic as Diagnostic,
    ErrorHandling as ErrorHandling,
    Isolation as Isolation,
    Operator as Operator,
    RateLimit as RateLimit,
    Route as Route,
    RouteEffects as RouteEffects,
    Step as Step,
)
from playhead.model.plans import (
    MOST_DIFFERENCES as MOST_DIFFERENCES,
    ChangedObject as ChangedObject,
    LeftOut as LeftOut,
    ObjectState as ObjectState,
    Plan as Plan,
    PlanDifference as PlanDifference,
    PlannedObject as PlannedObject,
    PlannedRoute as PlannedRoute,
    PlanProblems as PlanProblems,
    PlanState as PlanState,
)
from playhead.model.pruned import (
    KeptExecution as KeptExecution,
    Pruned as Pruned,
)
from playhead.model.publications import (
    OPEN_PUBLICATION_STATES as OPEN_PUBLICATION_STATES,
    NoteKind as NoteKind,
    PartRole as PartRole,
    Publication as Publication,
    PublicationNote as PublicationNote,
    PublicationPart as PublicationPart,
    PublicationPreview as PublicationPreview,
    PublicationState as PublicationState,
    Refusal as Refusal,
    ReplayPublication as ReplayPublication,
    StageChanges as StageChanges,
    UnitCounts as UnitCounts,
)
from playhead.model.queues import (
    MOST_COUNTED as MOST_COUNTED,
    DeadLetter as DeadLetter,
    DeadLetterDetail as DeadLetterDetail,
    DeadLetterGroup as DeadLetterGroup,
    ResendPlan as ResendPlan,
    ResendRoute as ResendRoute,
    RoutePause as RoutePause,
    RouteStatus as RouteStatus,
    RouteWait as RouteWait,
)
from playhead.model.replay_result import (
    After as After,
    Before as Before,
    GroupedBy as GroupedBy,
    ReplayedObject as ReplayedObject,
    ReplayResult as ReplayResult,
    ResultCell as ResultCell,
    ResultFailure as ResultFailure,
    ResultFilter as ResultFilter,
    ResultGroup as ResultGroup,
    ResultStep as ResultStep,
    Review as Review,
)
from playhead.model.replays import (
    MAX_VERSION as MAX_VERSION,
    MAY_BE_SENT as MAY_BE_SENT,
    MOST_ERRORS as MOST_ERRORS,
    MOST_IN_CANARY as MOST_IN_CANARY,
    OPEN_REPLAY_STATES as OPEN_REPLAY_STATES,
    OTHER_ROUTES as OTHER_ROUTES,
    SELECTED as SELECTED,
    UNCERTAIN as UNCERTAIN,
    Canary as Canary,
    DepthPace as DepthPace,
    Guard as Guard,
    HeldBy as HeldBy,
    OnReplay as OnReplay,
    Pace as Pace,
    PausedBy as PausedBy,
    Priority as Priority,
    RatePace as RatePace,
    Replay as Replay,
    ReplayRequest as ReplayRequest,
    ReplayState as ReplayState,
    ReplayWork as ReplayWork,
    ReportState as ReportState,
    WaitsFor as WaitsFor,
    are_too_many as are_too_many,
    is_skipped as is_skipped,
    skips_effects as skips_effects,
)
from playhead.model.reports import (
    ReplayEvent as ReplayEvent,
    Report as Report,
    ReportCount as ReportCount,
    ReportFilter as ReportFilter,
    ReportLine as ReportLine,
    ReportOutcome as ReportOutcome,
    ReportPart as ReportPart,
    ReportWork as ReportWork,
    WebhookDelivery as WebhookDelivery,
)
from playhead.model.results import (
    CodeResults as CodeResults,
    Declaration as Declaration,
    RouteResults as RouteResults,
    StaleResult as StaleResult,
)
from playhead.model.retention import (
    DAY as DAY,
    KEPT as KEPT,
    Kept as Kept,
    PrunedStage as PrunedStage,
    PruneFilter as PruneFilter,
    Retention as Retention,
    replayable_until as replayable_until,
)
from playhead.model.selections import (
    MOST_PATHS as MOST_PATHS,
    Only as Only,
    Selection as Selection,
)
from playhead.model.structure import (
    Pipeline as Pipeline,
    PipelineAdapter as PipelineAdapter,
    PipelineEdge as PipelineEdge,
    PipelineRoute as PipelineRoute,
)
from playhead.model.trace import (
    ChainCount as ChainCount,
    ChainCounts as ChainCounts,
    ChainEdge as ChainEdge,
    ChainGroup as ChainGroup,
    ChainSummary as ChainSummary,
)
from playhead.model.views import (
    EFFECTS_SKIPPED as EFFECTS_SKIPPED,
    MOST_OUTPUT_KEYS as MOST_OUTPUT_KEYS,
    OPEN_STATES as OPEN_STATES,
    ROW_STATES as ROW_STATES,
    ChainLink as ChainLink,
    Counts as Counts,
    Execution as Execution,
    Kind as Kind,
    Lineage as Lineage,
    Page as Page,
    Problem as Problem,
    RouteCounts as RouteCounts,
    RowState as RowState,
    SearchHit as SearchHit,
    Skip as Skip,
    SkipCode as SkipCode,
    StageSummary as StageSummary,
    StageTotal as StageTotal,
    StageTotals as StageTotals,
    Status as Status,
    StoredObject as StoredObject,
    WatchedExecution as WatchedExecution,
)
from playhead.model.warnings import (
    CODE_WARNINGS as CODE_WARNINGS,
    Warning as Warning,
)
from playhead.model.why import (
    OUTCOMES as OUTCOMES,
    Outcome as Outcome,
    Why as Why,
    WhyExample as WhyExample,
    WhyRoute as WhyRoute,
)
from playhead.sourcecode import (
    CoveredFile as CoveredFile,
    WholeFiles as WholeFiles,
)
