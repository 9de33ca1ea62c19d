"""`/datasets/{name}/publish`: a form that says first what would change."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from typing import Any, Final, get_args
from uuid import UUID

from playhead.errors import BadRequest, Conflict, NotFound, PlayheadError
from playhead.ids import parse_uuid
from playhead.limits import InvalidValue
from playhead.model import (
    OPEN_PUBLICATION_STATES,
    Allowed,
    Dataset,
    Execution,
    OnFailure,
    Publication,
    PublicationPreview,
    PublishRequest,
    Switch,
)
from playhead.services import Services
from playhead.web.datasets import (
    Problem,
    StageRow,
    api_of,
    crumbs_of,
    dataset_of,
    full_name,
    place_of,
    seq_of,
    stage_rows,
)
from playhead.web.links import link
from playhead.web.page import Action, Answer, ApiCall, Ask, Page, Redirect, Shown, status_of, url
from playhead.web.render import counted
from playhead.wording import UNITS

_ALLOWED: Final[tuple[Allowed, ...]] = get_args(Allowed)
_POLICIES: Final[tuple[OnFailure, ...]] = get_args(OnFailure)
_MOST_TEXT: Final = 10_000
_WAIT_SECONDS: Final = 2.0
"""How long the answer waits for the end of a publication, so that the form can show most refusals."""
_LOOK_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class PublishForm:
    """The fields of the form, as they were typed. An empty text: not given.

    Attributes:
        execution: executions, with blanks between them.
        base: the one that defines the inputs; empty: the newest run of `execution`, if there is one.
        add: runs that only add inputs, with blanks between them.
        on_failure: what happens to documents whose processing failed; empty: as the config says.
        skip_superseded: `1`: leave out replayed objects that are no longer published.
        allow: what is not refused.
        reason: why it is published.
        expect_seq: number of the newest switch when the changes were counted.
        counted: `mark` of the form when the changes were counted.
    """

    execution: str = ""
    base: str = ""
    add: str = ""
    on_failure: str = ""
    skip_superseded: str = ""
    allow: Sequence[str] = ()
    reason: str = ""
    expect_seq: str = ""
    counted: str = ""

    @property
    def mark(self) -> str:
        """A text that changes with each field on which the counted changes depend."""
        named = _names(self.execution), self.base, _names(self.add)
        parts = (*named, self.on_failure, self.skip_superseded, sorted(self.allow))
        return blake2b(repr(parts).encode(), digest_size=6).hexdigest()

    @classmethod
    def of(cls, given: Any) -> PublishForm:
        texts = {name: str(given.get(name, "")).strip() for name in _FIELDS}
        allow = [str(one) for one in given.getlist("allow")] if hasattr(given, "getlist") else []
        if any(len(text) > _MOST_TEXT or "\0" in text for text in (*texts.values(), *allow)):
            raise BadRequest("invalid_body", f"a field has a NUL, or more than {_MOST_TEXT:,} characters")
        return cls(**texts, allow=allow)

    async def request(self, services: Services) -> PublishRequest:
        """Return the request that the form means. Raises `BadRequest` and `NotFound`."""

        async def found(names: Sequence[str]) -> list[UUID]:
            return [parse_uuid(one) or await services.resolve.execution(one) for one in names]

        executions, added = await found(_names(self.execution)), await found(_names(self.add))
        base = await found([self.base] if self.base else [])
        try:
            return PublishRequest(
                executions,
                base=base[0] if base else None,
                add=added,
                on_failure=_one_of("on_failure", self.on_failure, _POLICIES) if self.on_failure else None,
                skip_superseded=self.skip_superseded == "1",
                allow=[_one_of("allow", one, _ALLOWED) for one in dict.fromkeys(self.allow)],
                expect_seq=seq_of(self.expect_seq),
                reason=self.reason or None,
            )
        except InvalidValue as exc:
            raise BadRequest("invalid_body", f"{exc}") from None


_FIELDS: Final = tuple(one.name for one in fields(PublishForm) if one.name != "allow")


def _names(text: str) -> list[str]:
    """Return the names of executions in a field."""
    return text.replace(",", " ").split()


def _one_of(name: str, text: str, options: Sequence[Any]) -> Any:
    if text not in options:
        raise BadRequest("invalid_body", f"{name} is {text!r}; use one of: {', '.join(options)}")
    return text


@dataclass(frozen=True, slots=True)
class PublishView:
    """The form that publishes.

    Attributes:
        dataset: what readers see now.
        form: the fields.
        executions: executions that would be published.
        preview: what would change; None: it was refused, or nothing is chosen yet.
        stages: the counts of the preview.
        unchanged: documents and objects whose new results would not be published, as sentences.
        hold: rollback that holds automatic publication; None: nothing does, or it is not known.
        button: what the button does.
        command: the command that does the same.
        problem: why it is refused.
    """

    dataset: Dataset
    form: PublishForm
    executions: Sequence[Execution]
    preview: PublicationPreview | None
    stages: Sequence[StageRow]
    unchanged: Sequence[str]
    hold: Switch | None
    button: str
    command: str
    problem: Problem | None


async def show_publish(ask: Ask) -> Answer:
    return await _publish_page(ask, await dataset_of(ask), PublishForm.of(ask.query))


async def _publish_page(
    ask: Ask, dataset: Dataset, form: PublishForm, error: PlayheadError | None = None
) -> Shown[PublishView]:
    services = ask.services
    form = replace(form, expect_seq="")  # the page counts again
    request: PublishRequest | None = None
    preview: PublicationPreview | None = None
    executions: Sequence[Execution] = ()
    try:
        if form.execution or form.base or form.add:
            request = await form.request(services)
            executions = [await services.executions.get(one) for one in request.parts]
            if not ask.is_foreign:  # a link of another site starts no work
                preview = await services.publish.preview(full_name(dataset), request)
    except (BadRequest, Conflict, NotFound) as exc:
        error = error or exc
    body = _body(request) if request else {}
    view = PublishView(
        dataset,
        form,
        executions,
        preview,
        stage_rows(preview.counts) if preview else (),
        _unchanged(preview) if preview else (),
        await services.publish.hold(dataset),
        await _button(services, dataset, preview) if preview else "Publish",
        _command(dataset, request) if request else "",
        Problem.of(error) if error else None,
    )
    calls = [ApiCall(api_of(dataset))]
    if request:
        calls.append(ApiCall(api_of(dataset, "/publications"), "POST", {**body, "dry_run": True}))
    return Shown(
        f"Publish in {dataset.name}", view, calls, crumbs_of(dataset, "Publish"), status=status_of(error)
    )


def _unchanged(preview: PublicationPreview) -> list[str]:
    """Return how many documents and objects keep what they have, by reason."""
    return [f"{count:,} {text}" for kind, text in UNITS.items() if (count := getattr(preview.units, kind))]


async def _button(services: Services, dataset: Dataset, preview: PublicationPreview) -> str:
    newest = (await services.publish.publications(full_name(dataset), None, 1, every=True)).items
    n = newest[0].n + 1 if newest else 1
    changes = sum(
        one.added + one.changed + one.removed for one in stage_rows(preview.counts) if not one.is_route
    )
    return f"Publish {counted(changes, 'change')} as {n}" if changes else f"Publish as {n}, without a change"


def _body(request: PublishRequest) -> Mapping[str, Any]:
    given: dict[str, Any] = {
        "executions": [str(one) for one in request.executions],
        "base": str(request.base) if request.base else None,
        "add": [str(one) for one in request.add],
        "on_failure": request.on_failure,
        "skip_superseded": request.skip_superseded,
        "allow": list(request.allow),
        "reason": request.reason,
    }
    return {name: value for name, value in given.items() if value}


def _command(dataset: Dataset, request: PublishRequest) -> str:
    words = ["playhead", "publish", full_name(dataset), *map(str, request.executions)]
    words += ["--base", str(request.base)] if request.base else []
    words += [word for one in request.add for word in ("--add", str(one))]
    if request.on_failure:
        words += ["--on-failure", request.on_failure]
    if request.skip_superseded:
        words.append("--skip-superseded")
    words += [f"--allow-{one}" for one in request.allow]
    return shlex.join([*words, *(["--reason", request.reason] if request.reason else [])])


async def publish(ask: Ask) -> Answer:
    """Publish, and show the dataset, or the form with the refusal."""
    dataset, form = await dataset_of(ask), PublishForm.of(ask.form)
    name, service = full_name(dataset), ask.services.publish
    try:
        request = await form.request(ask.services)
        if request.expect_seq is None:
            raise BadRequest("invalid_body", "the form has no expect_seq: count the changes first")
        if form.counted not in ("", form.mark):
            raise BadRequest(
                "invalid_body",
                "the form has changed since the changes were counted; look at them again",
            )
        made = await service.begin(name, request)
        ended = await _ended(ask.services, name, made)
    except (BadRequest, Conflict, NotFound) as exc:
        now = await dataset_of(ask)
        is_second = exc.code in ("publication_moved", "publication_in_progress")
        if is_second and (first := await _same(ask.services, now, form)):
            return Redirect(_page_of(now, first))  # a second click on the button
        return await _publish_page(ask, now, form, exc)
    if ended.refusal:
        error = Conflict(ended.refusal.code, ended.refusal.detail)
        return await _publish_page(ask, await dataset_of(ask), form, error)
    return Redirect(_page_of(dataset, ended))


def _page_of(dataset: Dataset, made: Publication) -> str:
    """Return the page that shows what happened: of the dataset, or of a publication that was cancelled."""
    if made.state == "abandoned":
        return url(place_of(made, str(made.n)), config=made.config)
    return link("dataset", full_name(dataset))


async def _ended(services: Services, name: str, made: Publication) -> Publication:
    """Return a publication when it has ended, or as it is after a short time."""
    waited = 0.0
    while made.state in OPEN_PUBLICATION_STATES and waited < _WAIT_SECONDS:
        await asyncio.sleep(_LOOK_SECONDS)
        waited += _LOOK_SECONDS
        made = await services.publish.publication(name, made.n)
    return made


async def _same(services: Services, dataset: Dataset, form: PublishForm) -> Publication | None:
    """Return the draft or the current publication if the same form has already made it."""
    wanted = (await form.request(services)).parts
    made = dataset.draft
    if made is None and dataset.current and dataset.seq == (seq_of(form.expect_seq) or 0) + 1:
        made = await services.publish.publication(full_name(dataset))
    if made is None or {part.execution_id for part in made.parts} != set(wanted):
        return None
    return made


PAGES: Final = (Page("/datasets/{name}/publish", "publish.html", show_publish, "datasets", scope="operate"),)
ACTIONS: Final = (Action("/datasets/{name}/publish", publish, "publish.html", "datasets", scope="operate"),)
