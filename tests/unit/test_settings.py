"""Settings: their sources, and the errors for invalid ones."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from pydantic import ValidationError

from playhead.errors import CannotStart
from playhead.settings import Settings, load_settings
from playhead.settings.hints import ignored


@pytest.fixture(autouse=True)
def empty_place(tmp_path, monkeypatch):
    """A working directory without playhead.toml and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PLAYHEAD_")]:
        monkeypatch.delenv(name)
    return tmp_path


def toml(text: str) -> None:
    Path("playhead.toml").write_text(text)


def refusal(**flags: object) -> str:
    with pytest.raises(CannotStart) as caught:
        load_settings(**flags)
    assert caught.value.code == "setup_invalid"
    return caught.value.detail


SECRET = "whsec_" + "c2VjcmV0" * 4


def test_everything_has_a_default():
    assert load_settings().model_dump() == {
        "home": Path(".playhead"),
        "store": None,
        "broker": None,
        "catalog": None,
        "queue_prefix": "",
        "adapters": (),
        "adapters_allowed": None,
        "secrets_env": (),
        "secrets_dir": (),
        "internal_hosts": (),
        "webhook_secret": (),
        "webhook_hosts": (),
        "webhook_private_hosts": (),
        "server": None,
        "host": "127.0.0.1",
        "port": 8080,
        "allowed_hosts": (),
        "read_only": False,
        "audit_reads": "none",
        "first_key_file": None,
        "public_url": None,
        "oidc_map": (),
        "oidc_claim": "groups",
        "oidc_client_id": None,
        "oidc_client_secret": None,
        "oidc_client_secret_file": None,
        "oidc_issuer": None,
        "proxy_secret": None,
        "proxy_groups_header": None,
        "proxy_user_header": None,
        "max_connections": 500,
        "lease_seconds": 15,
        "settle_seconds": 30,
        "max_replay_objects": 10_000_000,
        "plan_seconds": 86400,
        "replays_per_queue": 0,
        "replays_per_process": 4,
        "idempotency_seconds": 86400,
        "visibility_seconds": 30,
        "heartbeat_seconds": 1,
        "max_body_bytes": 1048576,
        "retention": "any",
        "max_upload_bytes": 268435456,
        "max_object_bytes": 67108864,
        "durability": "process",
        "log_format": "text",
        "log_level": "info",
        "clock_shift_seconds": 0,
        "fault": "",
    }


def test_a_flag_overrides_the_environment_and_the_environment_overrides_the_file(monkeypatch):
    toml('port = 1\nhost = "file"\nlog_level = "error"')
    monkeypatch.setenv("PLAYHEAD_PORT", "2")
    monkeypatch.setenv("PLAYHEAD_HOST", "environment")
    settings = load_settings(port=3, host=None)
    assert (settings.port, settings.host, settings.log_level) == (3, "environment", "error")


def test_every_field_is_a_variable_and_a_key_of_the_file(monkeypatch):
    values = {
        "home": "elsewhere",
        "store": "file:///s",
        "broker": "sqlite:///b",
        "catalog": "sqlite:///c",
        "queue_prefix": "ours.",
        "adapters": "one,./two.py",
        "adapters_allowed": "one",
        "secrets_env": "OPENAI_*, TOKEN",
        "secrets_dir": "/run/secrets,keys",
        "internal_hosts": "10.0.0.1/8, Ollama:11434",
        "webhook_secret": f"{SECRET},{SECRET}",
        "webhook_hosts": "Hooks.example, hooks.example:8443",
        "webhook_private_hosts": "localhost:9000",
        "server": "https://playhead.example:8443",
        "host": "::1",
        "port": "0",
        "allowed_hosts": "a.example",
        "read_only": "true",
        "audit_reads": "CONTENT",
        "first_key_file": "/run/first",
        "public_url": "https://Playhead.example/",
        "oidc_map": "sre=oncall, cn=docs=developer:docs",
        "oidc_claim": "roles",
        "oidc_client_id": "playhead",
        "oidc_client_secret": "s",
        "oidc_client_secret_file": "/run/secrets/oidc",
        "oidc_issuer": "https://id.example/realms/work",
        "proxy_secret": "s" * 32,
        "proxy_groups_header": "X-Forwarded-Groups",
        "proxy_user_header": "X-Forwarded-User",
        "max_connections": "9",
        "lease_seconds": "0.25",
        "settle_seconds": "0.5",
        "replays_per_queue": "4",
        "replays_per_process": "2",
        "retention": "SERVER",
        "max_replay_objects": "7",
        "plan_seconds": "90",
        "idempotency_seconds": "60",
        "visibility_seconds": "1.5",
        "heartbeat_seconds": ".1",
        "max_body_bytes": "1",
        "max_upload_bytes": "2",
        "max_object_bytes": "3",
        "durability": "power",
        "log_format": "json",
        "log_level": "debug",
        "clock_shift_seconds": "-3600",
        "fault": "worker.ran:2",
    }
    assert values.keys() == Settings.model_fields.keys()
    toml("\n".join(f"{name} = {value!r}" for name, value in values.items()))
    from_file = load_settings()
    Path("playhead.toml").unlink()
    for name, value in values.items():
        monkeypatch.setenv("PLAYHEAD_" + name.upper(), value)
    from_environment = load_settings()
    assert from_file == from_environment == load_settings(**values)
    assert all(getattr(from_file, name) != getattr(Settings(), name) for name in values)
    assert from_file.adapters == ("one", "./two.py")
    assert from_file.heartbeat_seconds == 0.1
    assert from_file.secrets_env == ("OPENAI_*", "TOKEN")
    assert from_file.internal_hosts == ("10.0.0.0/8", "ollama:11434")
    assert from_file.secrets_dir == (Path("/run/secrets"), Path("keys"))
    assert [one.group for one in from_file.oidc_map] == ["sre", "cn=docs"]
    assert from_file.public_url == "https://playhead.example"
    assert from_file.proxy_user_header == "x-forwarded-user"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("secrets_env", "*"),
        ("secrets_env", "TOKEN,A-B"),
        ("secrets_env", "*_KEY"),
        ("secrets_env", "PLAYHEAD_CATALOG"),
        ("secrets_dir", "/run/secrets,/"),
    ],
)
def test_secrets_cannot_be_allowed_without_a_limit(name, value):
    assert f"--{name.replace('_', '-')} is not valid: " in refusal(**{name: value})


def test_adapters_are_separated_by_commas_or_a_list_in_the_file(monkeypatch):
    toml('adapters = ["a", "./b.py"]')
    assert load_settings().adapters == ("a", "./b.py")
    monkeypatch.setenv("PLAYHEAD_ADAPTERS", " c , ./d.py,, ")
    assert load_settings().adapters == ("c", "./d.py")


def test_an_empty_variable_counts_as_not_set(monkeypatch):
    toml("port = 9")
    monkeypatch.setenv("PLAYHEAD_PORT", "")
    monkeypatch.setenv("PLAYHEAD_HOME", "")
    assert (load_settings().port, load_settings().home) == (9, Path(".playhead"))


def test_an_empty_list_of_allowed_adapters_allows_none(monkeypatch):
    monkeypatch.setenv("PLAYHEAD_ADAPTERS_ALLOWED", "")
    assert load_settings().adapters_allowed == ()


def test_a_tilde_is_the_users_home():
    toml('home = "~/playhead"')
    assert load_settings().home == Path.home() / "playhead"


@pytest.mark.parametrize(
    "address",
    ["localhost:8080", "ftp://host", "http://", "http://host:99999", "http://host/?a=b", "http://host/#x"],
)
def test_an_invalid_server_address_is_refused(address):
    assert "http://HOST:PORT" in refusal(server=address)


@pytest.mark.parametrize("password", ["secret", "/secret", "80/secret", "se@secret", "#secret", "?secret"])
def test_the_password_in_a_refused_address_is_not_shown(password: str):
    said = refusal(server=f"https://me:{password}@host/?a=b")
    assert "secret" not in said
    assert "http://HOST:PORT" in said


def test_a_misspelt_variable_is_reported_with_the_nearest_setting(monkeypatch):
    assert ignored() == []
    monkeypatch.setenv("PLAYHEAD_HOEM", "elsewhere")
    monkeypatch.setenv("PLAYHEAD_ZZZ", "1")
    monkeypatch.setenv("PLAYHEAD_HOME", "here")
    first, second = ignored()
    assert "PLAYHEAD_HOEM" in first
    assert "did you mean PLAYHEAD_HOME?" in first
    assert "PLAYHEAD_ZZZ" in second
    assert load_settings().home == Path("here")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PLAYHEAD_TEST_REQUIRE", "postgres"),
        ("PLAYHEAD_SERVICE_HOST", "10.0.0.1"),
        ("PLAYHEAD_SERVICE_PORT_HTTP", "80"),
        ("PLAYHEAD_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("PLAYHEAD_API_PORT", "tcp://10.0.0.1:80"),
        ("PLAYHEAD_API_PORT_80_TCP_PROTO", "tcp"),
    ],
)
def test_variables_of_tests_and_kubernetes_are_not_reported(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert ignored() == []


def test_variables_of_other_programs_and_of_the_tests_are_ignored(monkeypatch):
    monkeypatch.setenv("PLAYHEAD_TEST_REQUIRE", "postgres")
    monkeypatch.setenv("playhead_port", "1")
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "http"),
        ("port", "-1"),
        ("port", "65536"),
        ("lease_seconds", "0"),
        ("settle_seconds", "-1"),
        ("visibility_seconds", "nan"),
        ("heartbeat_seconds", "inf"),
        ("max_object_bytes", "0"),
        ("max_body_bytes", "1.5"),
        ("durability", "disk"),
        ("log_format", "xml"),
        ("log_level", "loud"),
        ("fault", "worker.nap"),
        ("fault", "worker.ran:0"),
        ("fault", "worker.ran:x"),
    ],
)
def test_an_invalid_value_is_refused_with_its_name_and_source(monkeypatch, name, value):
    toml(f"{name} = {value!r}")
    shown = f"is {value!r}" if re.fullmatch(r"-?[0-9.]+|nan|inf", value) else "is not valid"
    assert refusal().startswith(f"{name} in {Path('playhead.toml').absolute()} {shown}: ")
    monkeypatch.setenv("PLAYHEAD_" + name.upper(), value)
    assert refusal().startswith(f"PLAYHEAD_{name.upper()} {shown}: ")
    assert refusal(**{name: value}).startswith(f"--{name.replace('_', '-')} {shown}: ")


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_a_secret_that_was_pasted_into_the_wrong_variable_is_not_printed(monkeypatch, name):
    monkeypatch.setenv("PLAYHEAD_" + name.upper(), "AKIAs3cret/+ Xy==")
    with suppress(CannotStart):
        load_settings()  # a text that fits, such as a folder's name, is no fault
        return
    assert "s3cret" not in refusal()
    assert f"PLAYHEAD_{name.upper()} is not valid" in refusal()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_settings_file_of_another_user_is_ignored_with_a_warning():
    toml("port = 1")
    os.chown("playhead.toml", 12345, -1)
    assert load_settings().port == 8080
    assert ignored() == [f"{Path('playhead.toml').absolute()} is ignored: another user owns it"]


def test_all_invalid_values_are_reported_at_once(monkeypatch):
    monkeypatch.setenv("PLAYHEAD_LEASE_SECONDS", "soon")
    lines = refusal(port=70000, home="").splitlines()
    assert [line.split(" is ")[0] for line in lines] == ["--home", "--port", "PLAYHEAD_LEASE_SECONDS"]


def test_an_invalid_value_that_is_overridden_is_not_checked(monkeypatch):
    monkeypatch.setenv("PLAYHEAD_PORT", "http")
    assert load_settings(port=1).port == 1


def test_true_is_not_a_number():
    toml("port = true")
    assert "true and false are not allowed" in refusal()


def test_the_port_that_kubernetes_sets_is_explained(monkeypatch):
    monkeypatch.setenv("PLAYHEAD_PORT", "tcp://10.0.0.1:80")
    assert "enableServiceLinks" in refusal()


def test_an_unknown_key_of_the_file_is_refused_with_the_nearest():
    toml("lease_second = 3")
    assert "no setting 'lease_second'; did you mean 'lease_seconds'?" in refusal()


def test_an_invalid_or_unreadable_toml_file_is_refused():
    toml("port: 1")
    assert "is not TOML" in refusal()
    Path("playhead.toml").write_bytes(b'host = "\xff"')
    assert "is not TOML" in refusal()
    Path("playhead.toml").unlink()
    Path("playhead.toml").mkdir()
    assert "cannot be read" in refusal()


def test_a_flag_that_is_not_a_setting_is_a_programming_error():
    with pytest.raises(TypeError, match="prot"):
        load_settings(prot=1)


def test_settings_are_frozen_and_read_no_source_when_created_directly(monkeypatch):
    monkeypatch.setenv("PLAYHEAD_PORT", "1")
    settings = Settings()
    assert settings.port == 8080
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]


def test_every_setting_has_a_description():
    assert all(field.description for field in Settings.model_fields.values())


def test_importing_the_settings_imports_neither_a_server_nor_a_yaml_reader():
    heavy = {"fastapi", "yaml", "asyncio", "httpx"}
    code = f"import sys, playhead.settings; print(sorted({heavy} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("Playhead.example.com, h:8443", ("playhead.example.com", "h:8443")),
        ("10.0.0.7,FD00:0::1,[fd00::2]:80", ("10.0.0.7", "[fd00::1]", "[fd00::2]:80")),
        ("my_service,,", ("my_service",)),
    ],
)
def test_hosts_are_stored_in_the_form_that_requests_use(monkeypatch, given, read):
    monkeypatch.setenv("PLAYHEAD_ALLOWED_HOSTS", given)
    assert load_settings().allowed_hosts == read


@pytest.mark.parametrize(
    "given", ["https://a.example", "a/b", "*", "*.example", "a@b", "a.", "[::1", "[:::]", "a:b"]
)
def test_an_invalid_host_is_refused_with_the_expected_form(monkeypatch, given):
    monkeypatch.setenv("PLAYHEAD_ALLOWED_HOSTS", given)
    assert "PLAYHEAD_ALLOWED_HOSTS" in refusal()
    assert "playhead.example.com" in refusal()


def test_no_address_that_may_hold_a_password_is_in_the_repr_of_settings():
    names = ("store", "broker", "catalog")
    settings = Settings(**{name: f"x://u:s3cret@{name}" for name in names}, server="http://u:s3cret@h")
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in str(settings)


# -- webhooks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "secret",
    ["whsec_=", "whsec_AAAA", "c2VjcmV0" * 4, "whsec_" + "A" * 200, "whsec_" + "ä" * 40, SECRET + "!"],
)
def test_a_secret_of_webhooks_that_is_too_short_or_not_base64_is_refused_and_not_shown(monkeypatch, secret):
    monkeypatch.setenv("PLAYHEAD_WEBHOOK_SECRET", secret)
    with pytest.raises(CannotStart, match="24 to 64 random bytes in base64") as caught:
        load_settings()
    assert "PLAYHEAD_WEBHOOK_SECRET is not valid" in caught.value.detail
    assert secret not in caught.value.detail


def test_hosts_of_webhooks_need_a_secret(monkeypatch):
    monkeypatch.setenv("PLAYHEAD_WEBHOOK_HOSTS", "hooks.example")
    with pytest.raises(CannotStart, match="also set webhook_secret"):
        load_settings()
    monkeypatch.setenv("PLAYHEAD_WEBHOOK_SECRET", SECRET)
    assert load_settings().webhook_hosts == ("hooks.example",)
    assert SECRET not in repr(load_settings())
