"""References to secrets: their form, what the operator allows, and the removal of values from texts."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from pydantic import BaseModel, SecretStr

from playhead import Item, Reject, adapter
from playhead.bootstrap.secrets import Secrets
from playhead.model import Route, Step
from playhead.ports.adapter import spec_of
from playhead.ports.catalog.work import Failed
from playhead.secrets import Mask, Reference, ReferenceInvalid, SecretUnavailable, parts, resolved
from playhead.steps.chain import Chain, UnknownAdapter
from playhead.testing import run_adapter
from playhead.work.failures import failure
from tests.lab import MemoryDeployment

SECRET = "s3cret/ü+% \"quoted\" 'twice' \\"


def value_of(secrets: Secrets, written: str) -> str:
    text: str = resolved(written, secrets.resolve)
    return text


def refusal(secrets: Secrets, written: str) -> str:
    with pytest.raises(SecretUnavailable) as caught:
        value_of(secrets, written)
    assert SECRET not in str(caught.value)
    return str(caught.value)


# -- the form --------------------------------------------------------------------------------------


def test_a_text_is_split_into_texts_and_references():
    token, file = Reference("env", "TOKEN"), Reference("file", "/run/secrets/a.b")
    assert parts("Bearer ${env:TOKEN}!") == ["Bearer ", token, "!"]
    assert parts("${env:TOKEN}${file:/run/secrets/a.b}") == [token, file]
    assert parts("$${env:TOKEN} $5 {x} $") == ["${", "env:TOKEN} $5 {x} $"]
    assert parts("") == []
    assert str(file) == "${file:/run/secrets/a.b}"


@pytest.mark.parametrize(
    "written",
    [
        "${}",
        "${TOKEN}",
        "${env:}",
        "${env:A-B}",
        "${env:A",
        "${ENV:A}",
        "${vault:a}",
        "${file:}",
        "${file:relative}",
        "${file:/}",
        "${file:/run/../etc/passwd}",
        "${file:/run/./x}",
        "${file:/run//x}",
        "${file:/run/x/}",
        "${file:/run/\x00}",
        "${env:${env:A}}",
    ],
)
def test_any_other_text_after_a_dollar_and_a_brace_is_invalid(written):
    with pytest.raises(ReferenceInvalid):
        parts(written)
    assert "".join(map(str, parts("$" + written))).startswith("${")


def test_references_in_nested_values_are_resolved_and_other_values_are_kept():
    values = {Reference("env", "A"): "1", Reference("file", "/x"): "2"}
    given = {"a": ["${env:A}", {"b": "x${file:/x}y${env:A}"}], "${env:A}": 3, "n": None, "t": True}
    assert resolved(given, values.__getitem__) == {
        "a": ["1", {"b": "x2y1"}],
        "${env:A}": 3,
        "n": None,
        "t": True,
    }


# -- what the operator allows ----------------------------------------------------------------------


def test_only_variables_that_the_operator_names_are_read(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI", "TOKEN", "TOKEN_2", "PLAYHEAD_CATALOG"):
        monkeypatch.setenv(name, name.lower())
    secrets = Secrets(("OPENAI_*", "TOKEN", "PLAY*", "UNSET", "EMPTY"), ())
    assert value_of(secrets, "${env:OPENAI_API_KEY} ${env:TOKEN}") == "openai_api_key token"
    for name in ("OPENAI", "TOKEN_2", "openai_api_key", "HOME", "PLAYHEAD_CATALOG"):
        assert "is not allowed: PLAYHEAD_SECRETS_ENV" in refusal(secrets, f"${{env:{name}}}")
    monkeypatch.setenv("EMPTY", "")
    for name in ("UNSET", "EMPTY"):
        assert "is not set" in refusal(secrets, f"${{env:{name}}}")
    assert "is not allowed" in refusal(Secrets((), ()), "${env:TOKEN}")


def test_only_files_in_the_folders_of_the_operator_are_read(tmp_path: Path):
    folder, outside = tmp_path / "secrets", tmp_path / "outside"
    (folder / "deep").mkdir(parents=True)
    outside.mkdir()
    (folder / "key").write_text(f"{SECRET}\r\n")
    (folder / "deep" / "key").write_text("deep\n\n")
    (outside / "key").write_text(SECRET)
    (tmp_path / "secrets-more").write_text(SECRET)
    (folder / "link").symlink_to(outside / "key")
    (folder / "folder").symlink_to(outside)
    (folder / "hop").symlink_to(folder / "link")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "inside").symlink_to("deep/key")  # as Kubernetes mounts secrets
    secrets = Secrets((), (folder,))
    assert value_of(secrets, f"${{file:{folder}/key}}") == SECRET
    assert value_of(secrets, f"${{file:{folder}/deep/key}}") == "deep\n"
    assert value_of(secrets, f"${{file:{folder}/inside}}") == "deep\n"
    for name in ("link", "folder/key", "hop"):
        assert "outside PLAYHEAD_SECRETS_DIR" in refusal(secrets, f"${{file:{folder}/{name}}}")
    refusal(secrets, f"${{file:{folder}/loop}}")
    for path in (outside / "key", outside / "missing", tmp_path / "secrets-more", "/etc/passwd", folder):
        why = refusal(secrets, f"${{file:{path}}}")
        assert "is not allowed: PLAYHEAD_SECRETS_DIR" in why or path is folder
    assert "is not allowed" in refusal(Secrets((), ()), f"${{file:{folder}/key}}")


def test_a_file_that_is_not_a_short_text_is_reported_without_its_content(tmp_path: Path):
    (tmp_path / "long").write_text(SECRET * 10_000)
    (tmp_path / "binary").write_bytes(b"\xff\x00")
    (tmp_path / "empty").write_text("\n")
    os.mkfifo(tmp_path / "pipe")
    secrets = Secrets((), (tmp_path,))
    for name in ("long", "pipe"):
        assert "is not a file of at most" in refusal(secrets, f"${{file:{tmp_path}/{name}}}")
    assert "not UTF-8" in refusal(secrets, f"${{file:{tmp_path}/binary}}")
    assert "is empty" in refusal(secrets, f"${{file:{tmp_path}/empty}}")
    assert "No such file" in refusal(secrets, f"${{file:{tmp_path}/missing}}")


def test_a_folder_may_be_a_link_and_relative(tmp_path: Path, monkeypatch):
    (tmp_path / "actual").mkdir()
    (tmp_path / "actual" / "key").write_text("k")
    (tmp_path / "link").symlink_to("actual")
    monkeypatch.chdir(tmp_path)
    secrets = Secrets((), (Path("link"),))
    for name in ("link", "actual"):
        assert value_of(secrets, f"${{file:{tmp_path}/{name}/key}}") == "k"


# -- masks -----------------------------------------------------------------------------------------


def test_a_secret_is_masked_in_every_spelling():
    mask = Mask()
    assert mask(SECRET) == SECRET
    mask.add(SECRET)
    for text in (SECRET, repr(SECRET), json.dumps(SECRET), quote(SECRET, safe=""), quote(SECRET)):
        masked = mask(f"before {text} after")
        assert "***" in masked
        assert "s3cret" not in masked
        assert masked.startswith("before ")
        assert masked.endswith(" after")


@pytest.mark.parametrize("secret", ['p@ss w"rd', "a<b>c{d}%e%20", "x;y=z|1", "é:%"])
@pytest.mark.parametrize(
    "template", ["https://host/?key={}&q=1", "https://host/bot{}/get", "https://user:{}@host/get"]
)
def test_a_secret_in_a_url_is_masked_as_the_http_client_escapes_it(secret, template):
    mask = Mask()
    mask.add(secret)
    before, after = template.split("{}")
    shown = str(httpx.URL(f"{before}{secret}{after}"))
    assert mask(shown) == f"{before}***{after}"


def test_lines_of_a_secret_are_masked_alone():
    mask = Mask()
    mask.add("-----BEGIN KEY-----\nabcdefghijkl\nxy\n")
    assert mask("at abcdefghijkl: xyz") == "at ***: xyz"


def test_the_password_of_a_secret_url_is_masked_alone():
    mask = Mask()
    mask.add("postgresql://me:p%40ss-word@host/db")
    for password in ("p%40ss-word", "p@ss-word"):
        assert mask(f"password {password!r} of me is wrong") == "password '***' of me is wrong"
    assert mask("cannot connect to postgresql://me:p%40ss-word@host/db") == "cannot connect to ***"


@pytest.mark.parametrize("secret", ["https://me:s3cret/pass?word@host/", "s3cret/pass?word"])
def test_parts_of_a_password_that_a_parser_takes_for_a_port_or_a_path_are_masked(secret):
    mask = Mask()
    mask.add(secret)
    assert mask("Invalid port: 's3cret'; no such path: pass") == "Invalid port: '***'; no such path: ***"
    assert mask("me at host") == "me at host"


def test_the_longer_of_two_secrets_is_masked_whole():
    mask = Mask()
    mask.add("secret")
    mask.add("secret-2")
    assert mask("secret-2 secret") == "*** ***"


def test_a_very_short_secret_is_masked_as_a_word_only():
    mask = Mask()
    mask.add("ab")
    assert mask("ab cab ab1 'ab'") == "*** cab ab1 '***'"


# -- in a chain ------------------------------------------------------------------------------------


class Config(BaseModel):
    key: SecretStr
    port: int = 1


@adapter("call")
def call(item: Item, config: Config) -> str:
    return f"{config.key.get_secret_value()} {config.port} {config}"


def chain_of(config: dict[str, object], values: dict[str, str]) -> Chain:
    def resolve(reference: Reference) -> str:
        if str(reference) not in values:
            raise SecretUnavailable(f"{reference} is missing")
        return values[str(reference)]

    spec = spec_of(call)
    assert spec
    return Chain(Route("r", "q", (Step("call", config),), stage="s"), {"call": spec}, resolve=resolve)


def test_a_missing_secret_counts_as_an_unknown_adapter_and_is_named_by_its_reference():
    with pytest.raises(UnknownAdapter, match=r"route 'r': adapter 'call' .*\$\{env:KEY\}") as caught:
        chain_of({"key": "${env:KEY}"}, {})
    assert (caught.value.names, caught.value.code) == (("call",), "secret_missing")


def test_the_error_for_a_secret_that_does_not_fit_its_model_does_not_contain_it():
    for value in (SECRET, "s3cret" * 100):
        with pytest.raises(UnknownAdapter, match="port: Input should be a valid integer") as caught:
            chain_of({"key": "${env:KEY}", "port": "${env:KEY}"}, {"${env:KEY}": value})
        assert "s3cret" not in str(caught.value)
        assert caught.value.__cause__ is None


async def test_errors_of_an_attempt_are_masked_before_they_are_shortened():
    lab = MemoryDeployment().lab
    await lab.beat("w1")
    route = lab.route("convert", stage="s")
    run = await lab.started("a.md", config=lab.config("docs", route))
    claim = await lab.claim(run.ids[0])
    chain = chain_of({"key": "${env:KEY}"}, {"${env:KEY}": SECRET})
    for size in range(1900, 2100, 7):  # the secret is where the text is cut
        errors = [ValueError("x" * size + SECRET + "y" * 100_000), Reject(f"no {SECRET}"), KeyError(SECRET)]
        for error in errors:
            try:
                try:
                    raise RuntimeError(SECRET)
                except RuntimeError as cause:
                    raise error from cause
            except Exception as exc:
                failed = failure(claim, route, exc, chain.mask)
                assert isinstance(failed, Failed)
            for text in (failed.error, failed.traceback or ""):
                assert "s3cret" not in text


def test_log_lines_are_masked_while_a_process_runs(capsys, monkeypatch):
    monkeypatch.setenv("KEY", SECRET)
    secrets = Secrets(("KEY",), ())
    logger, handler = logging.getLogger(), logging.StreamHandler()
    logger.addHandler(handler)
    try:
        with secrets.masked_logs():
            secrets.resolve(Reference("env", "KEY"))
            try:
                raise RuntimeError(f"cannot close {SECRET}")
            except RuntimeError:
                logging.getLogger("a.client").warning("GET https://x?key=%s", quote(SECRET), exc_info=True)
    finally:
        logger.removeHandler(handler)
    logged = capsys.readouterr().err
    assert "s3cret" not in logged
    assert "GET https://x?key=***" in logged
    assert "cannot close ***" in logged


# -- run_adapter -----------------------------------------------------------------------------------


def test_run_adapter_takes_secrets_by_their_references():
    given = {"key": "a ${env:KEY}", "port": "${env:PORT}"}
    secrets = {"${env:KEY}": "k", "${env:PORT}": "5432"}
    (made,) = run_adapter(call, Item("a.txt", b""), given, secrets=secrets)
    assert made.text == "a k 5432 key=SecretStr('**********') port=5432"
    with pytest.raises(ValueError, match=r"\$\{env:PORT\} is not in `secrets`"):
        run_adapter(call, Item("a.txt", b""), given, secrets={"${env:KEY}": "k"})


def test_run_adapter_reads_the_secrets_that_the_settings_allow(monkeypatch):
    monkeypatch.setenv("KEY", "k")
    with pytest.raises(ValueError, match="PLAYHEAD_SECRETS_ENV"):
        run_adapter(call, Item("a.txt", b""), {"key": "${env:KEY}"})
    monkeypatch.setenv("PLAYHEAD_SECRETS_ENV", "KEY")
    (made,) = run_adapter(call, Item("a.txt", b""), {"key": "${env:KEY}"})
    assert made.text.startswith("k 1 ")
