"""Servers that other machines can reach: they require a key, or `--insecure`."""

from __future__ import annotations

import httpx

from playhead.credentials import new_key
from tests.acceptance.processes import Deployment, open_deployment

EVERYWHERE = ("--host", "0.0.0.0")


def status(deployment: Deployment, key: str | None = None) -> int:
    url = deployment.url.replace("0.0.0.0", "127.0.0.1")
    headers = {"Authorization": f"Bearer {key}"} if key else None
    return httpx.get(f"{url}/api/v1/executions", headers=headers, trust_env=False).status_code


def test_a_server_with_a_first_key_listens_on_any_address_and_requires_the_key():
    with open_deployment() as deployment:
        key = new_key().text
        file = deployment.folder / "first-key"
        file.write_text(f"{key}\n")
        server = deployment.serve(*EVERYWHERE, settings={"FIRST_KEY_FILE": str(file)})
        assert [status(deployment), status(deployment, key)] == [401, 200]
        assert "insecure_ignored" not in server.said

        # The catalog has a key now. The file is no longer needed, and the flag has no effect.
        insecure = deployment.serve(*EVERYWHERE, "--insecure")
        assert [status(deployment), status(deployment, key)] == [401, 200]
        assert "insecure_ignored" in insecure.said


def test_a_first_key_makes_servers_that_run_require_it():
    with open_deployment() as deployment:
        server = deployment.serve(*EVERYWHERE, "--insecure")
        assert status(deployment) == 200
        assert "insecure_ignored" not in server.said
        key = new_key().text
        (deployment.folder / "first-key").write_text(key)
        url = deployment.url

        deployment.serve(settings={"FIRST_KEY_FILE": str(deployment.folder / "first-key")})

        deployment.url = url
        deployment.until(lambda: status(deployment) == 401, "the older server to require a key")
        assert status(deployment, key) == 200
