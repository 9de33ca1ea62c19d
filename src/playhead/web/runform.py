"""`/run`: start a run of a config with files from the browser."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, get_args
from uuid import UUID

from playhead import acting
from playhead.errors import BadRequest, Conflict, NotFound, PlayheadError, TooLarge, Unavailable
from playhead.limits import InvalidValue
from playhead.model import Compare, ConfigVersion
from playhead.services import Services
from playhead.services.submit import MAX_UPLOAD_FILES, check_tags
from playhead.uploads import read_upload
from playhead.web.datasets import Problem
from playhead.web.links import link
from playhead.web.page import WHY, Action, Answer, ApiCall, Ask, Crumb, Page, Redirect, Shown, status_of, url

_MOST_CONFIGS: Final = 100
_COMPARES: Final[tuple[Compare, ...]] = get_args(Compare)
_TAKES: Final = ("", "changed", "reuse")


@dataclass(frozen=True, slots=True)
class RunForm:
    """The fields of the form, as they were typed.

    Attributes:
        tags: one on each line.
        take: which earlier results are taken over: `changed`: those of `changed_since`; `reuse`: those of any
            earlier execution of the config; empty: none.
        changed_since: the run with which the new one compares itself, by any name.
        compare: what must be the same of an adapter.
        require_code: `1`: start only if the workers have the current code.
    """

    tags: str = ""
    take: str = ""
    changed_since: str = "previous"
    compare: str = "code"
    require_code: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> RunForm:
        names = [one.name for one in fields(cls)]
        return cls(**{name: given[name].strip() for name in names if name in given})

    @property
    def tag_list(self) -> list[str]:
        return list(dict.fromkeys(line.strip() for line in self.tags.splitlines() if line.strip()))

    async def arguments(self, services: Services, config: str) -> Mapping[str, Any]:
        """Return the arguments of `SubmitService.run`. Raises `BadRequest` and `NotFound`."""
        try:
            check_tags(self.tag_list)
        except InvalidValue as exc:
            raise BadRequest("invalid_body", f"{exc}") from None
        for name, value, options in (("take", self.take, _TAKES), ("compare", self.compare, _COMPARES)):
            if value not in options:
                raise BadRequest("invalid_body", f"{name} is {value!r}; use one of: {', '.join(options)}")
        since: UUID | None = None
        if self.take == "changed":
            since = await services.resolve.earlier_run(self.changed_since, config)
        return {
            "tags": self.tag_list,
            "changed_since": since,
            "compare": self.compare,
            "reuse": self.take == "reuse",
            "require_code": self.require_code == "1",
        }

    def command(self, config: str) -> str:
        """Return the command that starts the same run."""
        words = ["playhead", "run", config, "FILES"]
        words += [word for one in self.tag_list for word in ("--tag", one)]
        if self.take == "changed":
            words += ["--changed-since", self.changed_since]
            words += ["--compare", self.compare] if self.compare != "code" else []
        words += ["--reuse"] if self.take == "reuse" else []
        words += ["--require-code"] if self.require_code == "1" else []
        return shlex.join(words)

    def call(self, config: str) -> ApiCall:
        """Return the call of the API that starts the same run."""
        parts = ["files=@FILE", *(f"tags={one}" for one in self.tag_list)]
        if self.take == "changed":
            parts += [f"changed_since={self.changed_since}", f"compare={self.compare}"]
        parts += ["reuse=true"] if self.take == "reuse" else []
        path = url(f"/api/v1/configs/{config}/run", require_code="true" if self.require_code == "1" else None)
        return ApiCall(path, "POST", parts=parts)


@dataclass(frozen=True, slots=True)
class RunView:
    """The form that starts a run.

    Attributes:
        config: config that runs; None: it is still to be chosen.
        configs: active configs, to choose from.
        form: the fields.
        most_files: files of a run at most.
        most_bytes: bytes of a file at most.
        to_route: route that receives stored objects: the entry of the config.
        command: the command that does the same.
        problem: why it was not started.
    """

    config: ConfigVersion | None
    configs: Sequence[ConfigVersion]
    form: RunForm
    most_files: int
    most_bytes: int
    to_route: str = ""
    command: str = ""
    problem: Problem | None = None


async def show(ask: Ask) -> Shown[RunView]:
    return await _page(ask, RunForm.of(ask.query))


async def start(ask: Ask) -> Answer:
    """Store the files as inputs, start the run, and show its execution."""
    submit, name = ask.services.submit, ask.needed("config")
    given: dict[str, list[str]] = {}
    assert ask.request
    try:
        await submit.check_config(name)  # before the files are received
        async with read_upload(
            ask.request, max_object_bytes=submit.max_object_bytes, fields=given, is_page=True
        ) as upload:
            arguments = await _form(given).arguments(ask.services, name)
            with acting.because(given.get(WHY, [""])[-1]):
                made = await submit.run(name, upload.contents(), **arguments)
    except (BadRequest, Conflict, NotFound, TooLarge, Unavailable) as exc:
        return await _page(ask, _form(given), exc)
    return Redirect(link("execution", made.execution_id))


def _form(given: Mapping[str, Sequence[str]]) -> RunForm:
    return RunForm.of({name: values[-1] for name, values in given.items()})


async def _page(ask: Ask, form: RunForm, error: PlayheadError | None = None) -> Shown[RunView]:
    name, services = ask.text("config"), ask.services
    config = await services.configs.get(name) if name else None
    listed = [] if name else (await services.configs.list(None, _MOST_CONFIGS)).items
    view = RunView(
        config,
        [one for one in listed if one.active],
        form,
        MAX_UPLOAD_FILES,
        services.submit.max_object_bytes,
        f"{config.name}/{config.entry}" if config else "",
        form.command(config.name) if config else "",
        Problem.of(error) if error else None,
    )
    calls = [form.call(config.name)] if config else [ApiCall(url("/api/v1/configs", limit=_MOST_CONFIGS))]
    crumbs = [Crumb("Executions", "/executions"), Crumb("New run")]
    return Shown("New run", view, calls, crumbs, status=status_of(error))


PAGES: Final = (Page("/run", "run.html", show, "executions", scope="run"),)
ACTIONS: Final = (Action("/run", start, "run.html", "executions", reads_body=True, scope="run"),)
