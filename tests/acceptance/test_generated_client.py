"""A client that a public generator makes from `/openapi.json` does all that the demo does."""

from __future__ import annotations

import importlib
import io
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.acceptance.processes import DEADLINE_SECONDS, STEADY, STEPS, Deployment, open_deployment
from tests.acceptance.test_python_client_page import GENERATED, SHELL, THERE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACKAGE = "playhead_client"  # from the title of the API
CONFIG = (ROOT / "src/playhead/demo/docs.yaml").read_text(encoding="utf-8")
PAGES = ROOT / "examples/01-docs/pages"
UNREADABLE = ("unreadable.html", b"<h1>\xff\xfe</h1>")


class Generated:
    """The package that the page on Python makes, and a client of it.

    Attributes:
        folder: where the package is.
        said: what the generator wrote while it worked.
        kinds: every class that was generated, by name.
    """

    def __init__(self, folder: Path, url: str) -> None:
        answer = httpx.get(f"{url}/openapi.json", timeout=DEADLINE_SECONDS).raise_for_status()
        self.described: dict[str, Any] = answer.json()
        install, generate = SHELL.splitlines()
        assert install.startswith("pip install ")
        program, *arguments = generate.replace(THERE, url).split()
        done = subprocess.run(
            [
                *(sys.executable, "-m", program.replace("-", "_"), *arguments),
                *("--config", str(_no_hooks(folder)), "--output-path", str(folder / "made")),
            ],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        self.said = done.stdout + done.stderr
        assert done.returncode == 0, self.said
        self.folder = folder / "made"
        sys.path.insert(0, str(self.folder))
        self.kinds = importlib.import_module(f"{PACKAGE}.models")
        self.types = importlib.import_module(f"{PACKAGE}.types")
        self.client = importlib.import_module(f"{PACKAGE}.client").Client(
            base_url=url, raise_on_unexpected_status=True, timeout=httpx.Timeout(DEADLINE_SECONDS)
        )

    def module(self, tag: str, operation: str) -> ModuleType:
        return importlib.import_module(f"{PACKAGE}.api.{tag}.{operation}")

    def ask(self, tag: str, operation: str, /, *arguments: object, **named: object) -> Any:
        """Call an operation; the answer has to be one that its description foresees, and no error."""
        answer = self.module(tag, operation).sync_detailed(*arguments, client=self.client, **named)
        assert answer.status_code.value < 300, answer.content
        assert answer.parsed is not None, f"{operation}: its answer is not described"
        return answer.parsed

    def close(self) -> None:
        sys.path.remove(str(self.folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]


def _no_hooks(folder: Path) -> Path:
    """Formatting the client adds nothing to what is tried here."""
    config = folder / "generator.yaml"
    config.write_text("post_hooks: []\n")
    return config


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with open_deployment(adapters=STEPS, **STEADY) as made:
        made.serve()
        made.worker()
        yield made


@pytest.fixture(scope="module")
def made(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generated]:
    generated = Generated(tmp_path_factory.mktemp("client"), deployment.url)
    yield generated
    generated.close()


def test_the_generator_leaves_nothing_out(made: Generated):
    # It knows no bodies of YAML; the same two operations take JSON.
    warnings = re.findall(r"^WARNING parsing (.+) within .+\.\n\n(.+)$", made.said, re.MULTILINE)
    assert warnings == [
        ("POST /api/v1/configs", "Unsupported content type application/yaml"),
        ("POST /api/v1/configs/validate", "Unsupported content type application/yaml"),
    ]
    assert "Unable to parse" not in made.said
    assert "ERROR" not in made.said


def test_the_code_of_the_page_runs(made: Generated, deployment: Deployment):
    deployment.apply(CONFIG.replace("name: docs", "name: of_the_page"))
    execution = deployment.run("of_the_page", {"a.html": b"<p>a"}, tag="nightly")
    command = [sys.executable, "-c", GENERATED.replace(THERE, deployment.url)]
    assert execution in subprocess.check_output(command, cwd=made.folder, text=True)


def test_every_operation_has_a_function_of_its_name(made: Generated):
    for operations in made.described["paths"].values():
        for operation in operations.values():
            tag = operation["tags"][0].replace(" ", "_")
            assert callable(made.module(tag, operation["operationId"]).sync_detailed)


def _ended(made: Generated, execution: UUID) -> Any:
    return _until(
        lambda: made.ask("executions", "get_execution", execution),
        lambda found: found.status.value != "running",
    )


def _until(look: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not good(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def test_it_runs_what_the_demo_runs(made: Generated):
    kinds = made.kinds
    pages = {str(p.relative_to(PAGES)): p.read_bytes() for p in sorted(PAGES.rglob("*.html"))}

    # Apply, and see what is wrong with one that can't be applied.
    applied = made.ask("configs", "create_config", body=kinds.ConfigSource(CONFIG))
    assert (applied.name, applied.version, applied.active) == ("docs", 1, True)
    assert applied.created_at.tzinfo is not None
    faulty = kinds.ConfigSource(CONFIG.replace("entry: convert", "entry: convrt"))
    [fault] = made.ask("configs", "validate_config", body=faulty).diagnostics
    assert (fault.code, fault.suggestion, fault.line > 0) == ("E301", "convert", True)

    # Run files.
    files = [
        made.types.File(io.BytesIO(data), name, "text/html") for name, data in [*pages.items(), UNREADABLE]
    ]
    form = kinds.RunForm(files=files, tags=["demo", "again"], config_version=1)
    started = made.ask("configs", "run_config", "docs", body=form)
    assert (started.kind.value, started.tags, started.config_version) == ("run", ["again", "demo"], 1)
    first = started.execution_id
    ended = _ended(made, first)
    assert (ended.status.value, ended.counts.failed) == ("failed", 1), "one page is unreadable"
    [tagged] = made.ask("executions", "list_executions", tag="again").items
    assert tagged.execution_id == first

    # Look at what it stored.
    stages = {s.stage: s for s in made.ask("executions", "list_execution_stages", first).items}
    assert stages["input"].objects == len(files)
    assert stages["markdown_converted"].objects == len(pages)
    page = made.ask("storage", "list_objects", execution_id=first, stage="input", limit=1)
    assert page.next_cursor
    rest = made.ask(
        "storage", "list_objects", execution_id=first, stage="input", cursor=page.next_cursor
    ).items
    assert [o.path for o in (*page.items, *rest)] == sorted([*pages, UNREADABLE[0]])
    markdown = made.ask("storage", "list_objects", execution_id=first, stage="markdown_converted").items
    content = made.ask("storage", "get_object_content", key=markdown[0].key)
    assert len(content.payload.read()) == markdown[0].size
    assert made.ask("storage", "get_object_metadata", key=markdown[0].key)["route"] == "convert"

    # The unreadable one is a dead letter; sent again, it is one again.
    [letter] = made.ask("dead_letters", "list_dead_letters", execution_id=first).items
    assert letter.input_key == f"{first}/input/{UNREADABLE[0]}"
    assert made.ask("dead_letters", "get_dead_letter", letter.correlation_id).error_code == "rejected"
    sent = made.ask("dead_letters", "resend_dead_letters", body=kinds.Resend(execution_id=first))
    assert sent.resent == 1
    _until(
        lambda: made.ask("executions", "get_execution", first),
        lambda e: e.status.value == "failed" and e.counts.failed == 1,
    )

    # Change a step, replay what it needs.
    smaller = CONFIG.replace("max_characters: 1200", "max_characters: 300")
    assert made.ask("configs", "create_config", body=kinds.ConfigSource(smaller)).version == 2
    request = kinds.DetachedReplayRequest(
        from_execution_id=first, from_stage="markdown_converted", to_route="segment"
    )
    replay = made.ask("replay", "execute_replay_api_v1_replay_post", body=request)
    assert replay.status.value == "publishing_complete"
    assert replay.objects_found == replay.objects_published == len(pages)
    assert _ended(made, replay.execution_id).status.value == "completed"
    batch = made.ask("replay", "get_replay", UUID(replay.replay_batch_id))
    assert (batch.execution_id, batch.state.value) == (replay.execution_id, "publishing_complete")
    after = {s.stage: s for s in made.ask("executions", "list_execution_stages", replay.execution_id).items}
    assert after["segments"].objects > stages["segments"].objects

    # Ask the index, and follow the hit up to its page, across the replay.
    hits = made.ask("lineage", "search_index", index="search.db", words="replay").items
    [message] = made.ask("lineage", "get_object_lineage", object_key=hits[0].key).items
    chain = made.ask(
        "lineage",
        "get_lineage_chain",
        message.correlation_id,
        direction=kinds.GetLineageChainDirection.UP,
    ).items
    assert [(link.route, link.distance, link.via.value) for link in chain] == [
        ("convert", -1, "replay"),
        ("segment", 0, "self"),
    ]
    assert chain[0].input_key.startswith(f"{first}/input/")

    health = made.ask("system", "get_health")
    assert health.status.value == "ok"
    assert {worker.kind for worker in health.workers} == {"serve", "worker"}


def test_it_runs_one_json_value(made: Generated):
    source = CONFIG.replace("name: docs", "name: json_too")
    made.ask("configs", "create_config", body=made.kinds.ConfigSource(source))
    body = made.kinds.RunPayload(payload={"any": ["thing", 1, None]}, path="a/b.json")
    started = made.ask("configs", "run_config", "json_too", body=body)
    assert _ended(made, started.execution_id).status.value == "completed"
    [taken] = made.ask("storage", "list_objects", execution_id=started.execution_id, stage="input").items
    assert taken.path == "a/b.json"


def test_an_error_is_an_error_response(made: Generated):
    nobody = UUID("01890000-0000-7000-8000-000000000000")
    answer = made.module("executions", "get_execution").sync_detailed(nobody, client=made.client)
    assert answer.status_code == 404
    assert answer.parsed.error_code == "execution_not_found"
    assert answer.parsed.correlation_id == answer.headers["x-correlation-id"]
