"""Differences of code between workers, files and this machine are noticed, each with one warning."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from playhead.errors import Conflict
from playhead.model import AdapterCode, CodeNote, Config, LoadedAdapter, LoadedCode, Route, Step, Warning
from playhead.ports.catalog.upkeep import Process
from playhead.reading.codecheck import CodeCheck
from playhead.warningtext import warning_text
from tests.catalog_memory import MemoryCatalog

DOCS = Config(
    "docs",
    "convert",
    {
        "convert": Route("convert", "docs.convert", (Step("clean"),), stage="pages", to=("segment",)),
        "segment": Route("segment", "docs.segment", (Step("sections"),), stage="segments"),
    },
)
OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def sections(code: str, version: str = "1", source: str = "/x/steps.py") -> LoadedAdapter:
    return LoadedAdapter("sections", version, code, source)


class Deployment:
    """Live processes with the code that they have loaded, and the code of this machine."""

    def __init__(self, *loaded: AdapterCode, works: bool = False) -> None:
        self.catalog = MemoryCatalog()
        self.here: dict[tuple[str, str, str], tuple[CodeNote, str]] = {}
        self.check = CodeCheck(self.catalog, lambda *of: self.here.get(of), loaded, works=works)

    async def starts(
        self,
        pid: int,
        *adapters: LoadedAdapter,
        queues: Sequence[str] = ("docs.segment",),
        kind: str = "worker",
        changed: tuple[str, ...] = (),
        host: str = "one",
    ) -> None:
        process = Process(f"{kind}-{pid}", kind, host, pid)
        await self.catalog.heartbeat(process, queues, loaded=LoadedCode("0.1.0", adapters, changed))

    async def warnings(self, entry: str = "segment") -> list[Warning]:
        return await self.check.check(DOCS, entry, required=False)

    async def notes(self) -> dict[int, list[CodeNote]]:
        return {worker.pid: worker.adapters[0].notes for worker in await self.check.workers()}


async def test_workers_with_the_same_code_cause_no_warning():
    here = Deployment()
    for pid in (1, 2):
        await here.starts(pid, sections(OLD))
    here.here["one", "/x/steps.py", "sections"] = ("changed", OLD)
    assert await here.warnings() == []
    assert await here.notes() == {1: [], 2: []}


async def test_a_worker_whose_file_has_changed_is_outdated():
    here = Deployment()
    await here.starts(1, sections(OLD), changed=("sections",))
    (warning,) = await here.warnings()
    assert warning == Warning("code_changed", "steps.py", ["sections"], ["worker 1 on one"])
    assert warning_text(warning).startswith(
        "steps.py has changed since it was loaded by worker 1 on one (adapters: sections). The old code runs "
        "until it is restarted;"
    )
    assert await here.notes() == {1: ["changed"]}


async def test_a_change_is_noticed_on_this_machine_before_the_worker_has_reported_it():
    here = Deployment()
    await here.starts(1, sections(OLD))
    here.here["one", "/x/steps.py", "sections"] = ("changed", NEW)
    assert len(await here.warnings()) == 1
    assert await here.notes() == {1: ["changed"]}


async def test_only_the_adapters_whose_code_has_changed_are_outdated():
    here = Deployment()
    clean = LoadedAdapter("clean", "1", OLD, "/x/steps.py")
    await here.starts(1, clean, sections(OLD), queues=["docs.convert", "docs.segment"])
    here.here["one", "/x/steps.py", "clean"] = ("changed", OLD)
    here.here["one", "/x/steps.py", "sections"] = ("changed", NEW)
    assert [one.adapters for one in await here.warnings("convert")] == [["sections"]]
    (worker,) = await here.check.workers()
    assert {one.type: one.notes for one in worker.adapters} == {"clean": [], "sections": ["changed"]}


async def test_workers_on_other_machines_are_compared_with_the_code_of_this_machine():
    here = Deployment()
    await here.starts(1, sections(OLD), host="far")
    here.here["far", "/x/steps.py", "sections"] = ("other_here", NEW)
    (warning,) = await here.warnings()
    assert warning.code == "code_other_here"
    assert (
        warning_text(warning) == "this machine has another steps.py than worker 1 on far (adapters: sections)"
    )


async def test_a_worker_with_the_current_code_is_not_old_next_to_a_worker_with_old_code():
    here = Deployment()
    await here.starts(1, sections(NEW))
    await here.starts(2, sections(OLD), changed=("sections",))
    assert [(one.code, one.places) for one in await here.warnings()] == [
        ("code_changed", ["worker 2 on one"])
    ]


async def test_two_workers_of_a_queue_with_different_code_are_named_with_their_code():
    here = Deployment()
    await here.starts(1, sections(OLD))
    await here.starts(2, sections(NEW))
    (warning,) = await here.warnings()
    assert (warning.code, warning.subject) == ("code_differs", "sections")
    assert warning_text(warning) == (
        "workers have loaded different code of adapter sections: sha256:aaaaaaaaaaaa in worker 1 on one; "
        "sha256:bbbbbbbbbbbb in worker 2 on one"
    )
    assert await here.notes() == {1: ["differs"], 2: ["differs"]}


async def test_routes_after_the_target_count_and_others_do_not():
    here = Deployment()
    await here.starts(1, sections(OLD), changed=("sections",))
    assert len(await here.warnings("convert")) == 1
    other = Deployment()
    clean = LoadedAdapter("clean", "1", OLD, "/x/steps.py")
    await other.starts(1, clean, queues=["docs.convert"], changed=("clean",))
    assert await other.warnings("segment") == []


async def test_a_worker_that_has_just_started_counts_and_a_server_does_not():
    here = Deployment()
    await here.starts(1, sections(OLD), kind="serve", queues=(), changed=("sections",))
    assert await here.warnings() == []
    await here.starts(2, sections(OLD), queues=(), changed=("sections",))
    assert len(await here.warnings()) == 1


async def test_required_code_is_an_error_if_there_is_a_difference():
    here = Deployment()
    await here.starts(1, sections(OLD))
    assert await here.check.check(DOCS, "segment", required=True) == []
    await here.starts(2, sections(NEW))
    with pytest.raises(Conflict, match="different code of adapter sections") as caught:
        await here.check.check(DOCS, "segment", required=True)
    assert caught.value.code == "code_differs"


# -- versions --------------------------------------------------------------------------------------


async def ran(here: Deployment, *adapters: AdapterCode) -> None:
    await here.catalog.record_code(adapters)


async def test_a_changed_source_with_the_same_version_is_a_warning_until_it_has_run():
    changed = AdapterCode("sections", "1", NEW)
    here = Deployment(changed)
    assert await here.check.unversioned_here() == [], "the adapter has never run"
    await ran(here, AdapterCode("sections", "1", OLD))
    (warning,) = await here.check.unversioned_here()
    assert warning == Warning("version_unchanged", adapters=["sections"], detail="1")
    assert warning_text(warning) == (
        'the code of adapter sections has changed, but its version is still "1": raise the version in '
        "@adapter if its outputs change"
    )
    assert await here.check.unversioned_here(["clean"]) == []
    await ran(here, changed)
    assert await here.check.unversioned_here() == []


async def test_a_raised_version_is_no_warning_for_its_adapter_alone():
    here = Deployment(AdapterCode("sections", "2", NEW), AdapterCode("clean", "1", NEW))
    await ran(here, AdapterCode("sections", "1", OLD), AdapterCode("clean", "1", OLD))
    assert [one.adapters for one in await here.check.unversioned_here()] == [["clean"]]


async def test_a_change_of_several_adapters_is_one_warning():
    names = ("b", "a", "d", "c", "f", "e", "g")
    here = Deployment(*(AdapterCode(name, "1", f"sha256:{name}") for name in names))
    await ran(here, *(AdapterCode(name, "1", OLD) for name in names))
    assert [warning_text(one) for one in await here.check.unversioned_here()] == [
        "the code of adapters a, b, c, d, e and 2 more has changed, but their versions have not: raise the "
        "version in @adapter of those whose outputs change"
    ]


async def test_another_version_of_a_package_is_no_warning():
    here = Deployment(AdapterCode("sections", "1", "steps 1.1"))
    await ran(here, AdapterCode("sections", "1", "steps 1.0"))
    assert await here.check.unversioned_here() == []


async def test_unchanged_versions_are_reported_for_the_workers_of_the_route_and_for_a_process_that_works():
    workers = Deployment()
    await ran(workers, AdapterCode("sections", "1", OLD))
    await workers.starts(1, sections(NEW))
    assert len(await workers.warnings()) == 1
    assert len(await workers.check.check(DOCS, "segment", required=True)) == 1, "it is no difference"
    for works in (True, False):
        here = Deployment(AdapterCode("sections", "1", NEW), works=works)
        await ran(here, AdapterCode("sections", "1", OLD))
        assert len(await here.warnings()) == works
