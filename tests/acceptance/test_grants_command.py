"""`playhead migrate --grants` prints statements, and refuses what it cannot print them for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.processes import Deployment, open_deployment
from tests.servers.roles import as_role, roles_without_rights
from tests.servers.schema import schema

ROLES = "server=playhead_server,worker=playhead_worker"


def refusal(deployment: Deployment, *arguments: str, code: int) -> str:
    command = deployment.start("migrate", *arguments)
    assert command.popen.wait(60) == code
    return command.said


@pytest.mark.parametrize(
    ("roles", "says"),
    [
        ("server=a,workers=b", "--grants needs roles as in"),
        ("server=", "--grants needs roles as in"),
        ("server=a,server=b", "--grants needs roles as in"),
        ("", "--grants needs roles as in"),
        (ROLES, "no backend of this deployment is PostgreSQL"),
    ],
)
def test_a_wrong_use_is_refused_with_what_to_do(roles: str, says: str) -> None:
    with open_deployment() as deployment:
        assert says in refusal(deployment, "--grants", roles, code=2)


async def test_the_statements_name_the_schema_of_the_deployment_and_are_one_transaction() -> None:
    async with schema() as url:
        with open_deployment(CATALOG=url, BROKER=url) as deployment:
            assert "Run: playhead migrate" in refusal(deployment, "--grants", ROLES, code=5)
            deployment.cli("migrate")
            given: dict[str, Any] = deployment.cli("migrate", "--grants", ROLES)
    statements = given["statements"]
    name = url.partition("search_path=")[2]
    assert [statements[0], statements[-1]] == ["BEGIN", "COMMIT"]
    assert len(set(statements)) == len(statements), "each right is granted once"
    assert all(f'"{name}"' in one for one in statements[1:-1])
    assert f'GRANT SELECT ON "{name}".configs TO "playhead_worker"' in statements
    assert not [one for one in statements if f'"{name}".keys' in one and "playhead_worker" in one]


async def test_the_command_can_run_the_statements_after_the_migrations() -> None:
    async with schema() as url, roles_without_rights(url) as roles:
        names = ",".join(f"{role}={name}" for role, name in roles.items())
        with open_deployment(CATALOG=url, BROKER=url) as deployment:
            assert "--execute needs --grants" in refusal(deployment, "--execute", code=2)
            assert deployment.cli("migrate", "--grants", names, "--execute")["applied"]
            for role, name in roles.items():
                theirs = {"CATALOG": as_role(url, name), "BROKER": as_role(url, name)}
                command = deployment.start("doctor", "--for", role, settings=theirs)
                assert command.popen.wait(60) == 0, command.said
