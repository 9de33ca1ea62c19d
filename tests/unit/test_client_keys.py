"""Where a client takes its key from, and to which servers it sends it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

import playhead
from playhead import clientkeys
from playhead.clientkeys import ClientKey, key_for
from playhead.credentials import new_key
from playhead.errors import CannotStart

SERVER = "https://playhead.example.com"


@pytest.fixture(autouse=True)
def config_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in clientkeys.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def found(server: str = SERVER, *, is_chosen: bool = True, **options: object) -> str | None:
    key = key_for(server, is_chosen=is_chosen, **options)  # type: ignore[arg-type]
    return key and key.text


def test_the_order_of_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    flag, variable, file, command, stored = (new_key().text for _ in range(5))
    clientkeys.store(SERVER, stored)
    assert found() == stored
    monkeypatch.setenv("PLAYHEAD_KEY_COMMAND", f"printf {command}")
    assert found() == command
    (tmp_path / "of-file").write_text(f"{file}\n")
    monkeypatch.setenv("PLAYHEAD_KEY_FILE", str(tmp_path / "of-file"))
    assert found() == file
    monkeypatch.setenv("PLAYHEAD_KEY", variable)
    assert found() == variable
    (tmp_path / "of-flag").write_text(flag)
    assert found(file=str(tmp_path / "of-flag")) == flag


def test_a_key_of_the_environment_goes_to_no_server_that_a_project_names(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PLAYHEAD_KEY", new_key().text)
    assert found(is_chosen=False) is None


def test_a_stored_key_goes_only_to_its_origin():
    key = new_key().text
    clientkeys.store("https://Playhead.example.com/", key)
    assert found("https://playhead.example.com:443", is_chosen=False) == key
    others = (
        "https://playhead.example.com:8443",
        "https://playhead.example.com.evil.example",
        "https://example.com",
    )
    assert [found(other) for other in others] == [None, None, None]
    clientkeys.store("https://other.example", new_key().text)
    assert clientkeys.forget(SERVER)
    assert not clientkeys.forget(SERVER)
    assert found() is None
    assert found("https://other.example")


def test_only_its_user_can_read_the_stored_keys(config_home: Path):
    old = os.umask(0)
    try:
        clientkeys.store(SERVER, new_key().text)
    finally:
        os.umask(old)
    file = clientkeys.credentials_file()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in file.parent.iterdir()] == ["credentials.toml"]
    file.chmod(0o640)
    with pytest.raises(CannotStart, match="chmod 600"):
        found()


@pytest.mark.parametrize("server", ["http://playhead.example.com", "http://10.0.0.1:8080"])
def test_a_key_is_not_sent_over_http_to_another_machine(monkeypatch: pytest.MonkeyPatch, server: str):
    key = new_key().text
    monkeypatch.setenv("PLAYHEAD_KEY", key)
    with pytest.raises(CannotStart, match="--insecure-http") as refused:
        found(server)
    assert key not in refused.value.detail
    assert found(server, allows_http=True) == key
    for loopback in ("http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:8080"):
        assert found(loopback) == key


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PLAYHEAD_KEY", "phk_short"),
        ("PLAYHEAD_KEY", "a" * 51),
        ("PLAYHEAD_KEY_FILE", "/nowhere/key"),
        ("PLAYHEAD_KEY_COMMAND", "false"),
        ("PLAYHEAD_KEY_COMMAND", "/nowhere/pass show"),
        ("PLAYHEAD_KEY_COMMAND", "echo 'phk"),
        ("PLAYHEAD_KEY_COMMAND", "true"),
    ],
)
def test_what_is_no_key_is_refused_with_its_source(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    monkeypatch.setenv(name, value)
    with pytest.raises(CannotStart) as refused:
        found()
    assert refused.value.code == "setup_invalid"
    assert name in refused.value.detail
    assert "a" * 51 not in refused.value.detail


def test_a_key_is_not_shown(monkeypatch: pytest.MonkeyPatch):
    key = new_key()
    assert key.text not in repr(ClientKey(key.text, "PLAYHEAD_KEY"))
    client = playhead.AsyncClient(server=SERVER, key=key.text)
    assert key.id in repr(client)
    assert key.text not in repr(client)


def test_a_client_takes_the_key_of_the_environment(monkeypatch: pytest.MonkeyPatch):
    key = new_key()
    monkeypatch.setenv("PLAYHEAD_KEY", key.text)
    assert key.id in repr(playhead.AsyncClient(server=SERVER))
    monkeypatch.delenv("PLAYHEAD_KEY")
    assert "key" not in repr(playhead.AsyncClient(server=SERVER))


def test_a_key_with_a_wrong_form_is_refused_by_a_client():
    with pytest.raises(CannotStart, match="phk_"):
        playhead.AsyncClient(server=SERVER, key="secret")
