"""docs/howto/postgresql.md: the documented grants are sufficient and minimal."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from urllib.parse import urlsplit

import asyncpg  # type: ignore[import-untyped]
import pytest

from tests import program
from tests.deploy.checks import ROOT
from tests.deploy.test_chart import LEAST, of_kind
from tests.servers import Server, need_fresh

PAGE = (ROOT / "docs" / "howto" / "postgresql.md").read_text(encoding="utf-8")
SEPARATE = (ROOT / "docs" / "howto" / "least-rights.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "01-docs"


def statements(name: str, page: str = PAGE) -> list[str]:
    """Return the statements of the block on a page that begins with this comment."""
    (block,) = re.findall(rf"```sql\n-- {re.escape(name)}\n(.*?)```", page, re.DOTALL)
    return [s.strip() for s in block.split(";") if s.strip()]


@dataclass(frozen=True)
class Installation:
    """A database with the rights that the page grants."""

    server: Server
    home: Path

    def url(self, role: str) -> str:
        return f"postgresql://{role}@{urlsplit(self.server.url).netloc.rpartition('@')[2]}/playhead"

    def playhead(self, role: str, *arguments: str) -> CompletedProcess[str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PLAYHEAD_")}
        url = self.url(role)
        environment = {**inherited, "PLAYHEAD_CATALOG": url, "PLAYHEAD_BROKER": url}
        return program.run(["--home", str(self.home), *arguments], cwd=EXAMPLE, env=environment, timeout=300)

    async def ask(self, url: str, *queries: str) -> Any:
        """Run statements one by one and return the single value of the last one."""
        connection = await asyncpg.connect(url)
        try:
            for query in queries[:-1]:
                await connection.execute(query)
            return await connection.fetchval(queries[-1])
        finally:
            await connection.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with need_fresh("postgres") as own:
        yield own


@pytest.fixture
async def installation(server: Server, tmp_path: Path) -> Installation:
    made = Installation(server, tmp_path / "home")
    await made.ask(
        server.url,
        "DROP DATABASE IF EXISTS playhead WITH (FORCE)",  # a session ends a moment after its client
        *(f"DROP ROLE IF EXISTS {role}" for role in ("playhead_depth", "playhead", "playhead_owner")),
        *statements("two roles"),
        "SELECT 1",
    )
    await made.ask(made.url("playhead_owner"), *statements("as the owner"), "SELECT 1")
    said = made.playhead("playhead_owner", "migrate")
    assert said.returncode == 0, said.stderr
    return made


@pytest.mark.slow
async def test_the_role_of_the_processes_can_run_pipelines_but_not_change_tables(installation):
    said = installation.playhead("playhead", "run", "docs.yaml", "pages/", "--json")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["status"] == "completed"
    again = installation.playhead("playhead", "replay", "latest", "markdown_converted", "segment")
    assert again.returncode == 0, again.stderr
    assert installation.playhead("playhead", "worker", "--until-idle").returncode == 0
    assert installation.playhead("playhead", "migrate", "--check").returncode == 0
    for forbidden in ("CREATE TABLE mine (n int)", "DROP TABLE outputs", "TRUNCATE messages"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await installation.ask(installation.url("playhead"), forbidden, "SELECT 1")


@pytest.mark.slow
async def test_servers_workers_and_readers_of_the_audit_have_the_roles_of_the_page(server, tmp_path):
    made = Installation(server, tmp_path / "home")
    roles = ("playhead_audit", "playhead_worker", "playhead_server", "playhead_owner")
    await made.ask(
        server.url,
        "DROP DATABASE IF EXISTS playhead WITH (FORCE)",
        *(f"DROP ROLE IF EXISTS {role}" for role in ("playhead_depth", "playhead", *roles)),
        *statements("three roles", SEPARATE),
        "SELECT 1",
    )
    assert made.playhead("playhead_owner", "migrate").returncode == 0
    (line,) = re.findall(r"--grants (\S+) >grants\.sql", SEPARATE)
    printed = made.playhead("playhead_owner", "migrate", "--grants", line)
    assert printed.returncode == 0, printed.stderr
    connection = await asyncpg.connect(made.url("playhead_owner"))
    await connection.execute(printed.stdout)
    await connection.close()

    owner = made.url("playhead_owner").replace("playhead_owner", "postgres")
    await made.ask(owner, *statements("for the audit", SEPARATE), "SELECT 1")
    assert await made.ask(made.url("playhead_audit"), "SELECT count(*) FROM audit") >= 0
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await made.ask(made.url("playhead_audit"), "SELECT count(*) FROM keys")

    for role in ("server", "worker"):
        said = made.playhead(f"playhead_{role}", "doctor", "--for", role)
        assert said.returncode == 0, said.stdout
    assert made.playhead("playhead_server", "run", "docs.yaml", "pages/", "--detach").returncode == 0
    assert made.playhead("playhead_worker", "worker", "--until-idle").returncode == 0
    shown = made.playhead("playhead_server", "show", "latest", "--json")
    assert json.loads(shown.stdout)["status"] == "completed"


def keda_query(routes: Sequence[str] = ()) -> str:
    """Return KEDA's query for at most two workers with one message each on these routes."""
    keda = {"enabled": True, "maxReplicas": 2, "messagesPerWorker": 1}
    (scaled,) = of_kind("ScaledObject", {**LEAST, "keda": keda, "worker": {"routes": list(routes)}})
    return str(scaled["spec"]["triggers"][0]["metadata"]["query"])


@pytest.mark.slow
async def test_keda_counts_pending_messages_with_a_role_that_can_read_nothing_else(installation):
    await installation.ask(
        installation.url("playhead_owner").replace("playhead_owner", "postgres"),
        *statements("for KEDA"),
        "SELECT 1",
    )
    query = keda_query()
    reader = installation.url("playhead_depth")
    assert await installation.ask(reader, query) == 0
    for command in (["run", "docs.yaml", "pages/"], ["replay", "latest", "input", "convert"]):
        said = installation.playhead("playhead", *command)
        assert said.returncode == 0, said.stderr
    # Three pages are pending; the count is limited to the maximum number of workers.
    assert await installation.ask(reader, query) == 2
    assert await installation.ask(reader, re.sub(r"LIMIT \d+", "", query)) == 3
    for routes, waiting in (
        (["convert"], 2),
        (["segment", "docs/convert"], 2),
        (["segment"], 0),
        (["other/convert", "segment"], 0),
    ):
        assert await installation.ask(reader, keda_query(routes)) == waiting, routes
    assert installation.playhead("playhead", "worker", "--until-idle").returncode == 0
    assert await installation.ask(reader, query) == 0
    for closed in ("count(*) FROM outputs", "count(*) FROM processes", "source FROM config_versions"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await installation.ask(reader, f"SELECT {closed}")


@pytest.mark.slow
async def test_the_monitoring_queries_on_the_page_work(installation):
    asked = re.findall(r"\| `(SELECT .*?)` \|", PAGE)
    assert len(asked) >= 5
    for query in (*asked, *statements("size")):
        await installation.ask(installation.url("playhead_owner"), query)
