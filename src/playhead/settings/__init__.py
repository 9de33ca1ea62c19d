"""Settings of an operator, from flags, then the environment, then `playhead.toml`.

Each field of `Settings` is the flag `--some-name`, the variable `PLAYHEAD_SOME_NAME` and the key
`some_name` of the `playhead.toml` of the project. Only this package reads the environment; all other
modules get a `Settings`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from playhead import faults, project
from playhead.addresses import server_address
from playhead.errors import CannotStart
from playhead.settings.values import (
    IN_LOWER_CASE,
    PREFIX,
    Bytes,
    Folders,
    Groups,
    HeaderName,
    Home,
    Hosts,
    Issuer,
    Names,
    PublicUrl,
    Reachable,
    Seconds,
    Secrets,
    Variables,
)

_PASSWORD: Final = re.compile(r"(?s)//.*@")
"""To the last `@`: an unescaped `@` or `/` in a password would end a shorter match too early."""


class Settings(BaseModel):
    """All settings of one process. The constructor reads neither environment nor files."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_min_length=1)

    home: Home = Field(
        Path(".playhead"),
        description="Folder for all data that has no other address, and for files of adapters.",
    )
    store: str | None = Field(
        None,
        repr=False,
        description="Address of the store: file:///…, s3://…, gs://…, az://…; unset: in the home.",
    )
    broker: str | None = Field(
        None,
        repr=False,
        description="Address of the broker: sqlite:, nats:, amqp: or postgresql:; unset: in the home.",
    )
    catalog: str | None = Field(
        None,
        repr=False,
        description="Address of the catalog: sqlite:///…, postgresql://…; unset: in the home.",
    )
    queue_prefix: Annotated[str, Field(min_length=0)] = Field(
        "",
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,62})?$",
        description="Prefix of queue names, for several deployments on one NATS or RabbitMQ.",
    )
    adapters: Names = Field(
        (), description="Modules or ./files.py that define adapters, separated by commas."
    )
    adapters_allowed: Names | None = Field(
        None, description="Adapters that configs may use, separated by commas; unset: all loaded adapters."
    )
    secrets_env: Variables = Field(
        (),
        description="Variables that configs may reference as `${env:NAME}`: names, or prefixes such as "
        "`OPENAI_*`, separated by commas; unset: no variable.",
    )
    secrets_dir: Folders = Field(
        (),
        description="Folders with files that configs may reference as `${file:/folder/name}`, separated by "
        "commas; unset: no file.",
    )
    internal_hosts: Reachable = Field(
        (),
        description="Internal hosts and networks that built-in steps may connect to, separated by commas.",
    )
    webhook_secret: Secrets = Field(
        (),
        repr=False,
        description="Secret that signs webhooks: `whsec_` and 24 to 64 bytes in base64. During a rotation: "
        "two secrets, separated by a comma.",
    )
    webhook_hosts: Hosts = Field(
        (),
        description="Hosts that the webhooks of replays and datasets may name, separated by commas: `host` "
        "for the port of the scheme, or `host:port`; unset: no webhook.",
    )
    webhook_private_hosts: Hosts = Field(
        (),
        description="Hosts among `webhook_hosts` that may have internal addresses, or use `http:`.",
    )
    server: str | None = Field(
        None,
        repr=False,
        description="Server that commands use instead of backends: http://HOST:PORT.",
    )
    host: str = Field("127.0.0.1", description="Address that the server listens on.")
    port: int = Field(
        8080, ge=0, le=65535, description="Port that the server listens on; 0 chooses a free one."
    )
    allowed_hosts: Hosts = Field(
        (), description="More host names of the server, such as the name of a proxy, separated by commas."
    )
    read_only: bool = Field(
        False, description="`true`: the server allows no change, also to admins: `read` and `metrics` remain."
    )
    audit_reads: Annotated[Literal["none", "content"], IN_LOWER_CASE] = Field(
        "none",
        description="Reads that servers record: `none`, or those of objects and dead letters (`content`).",
    )
    first_key_file: Path | None = Field(
        None,
        description="File with a key that becomes the first key, with all scopes, if the catalog has none. "
        "`playhead keys generate` makes one.",
    )
    public_url: PublicUrl | None = Field(
        None,
        description="Address of the server for browsers, such as https://playhead.example.com. Needed for "
        "logins, except on the loopback interface.",
    )
    oidc_map: Groups = Field(
        (),
        description="Rights of groups, separated by commas: `GROUP=ROLE`, or `GROUP=ROLE:CONFIG` to limit "
        "changes to a config. The groups are those of the OpenID Connect provider, or of the proxy.",
    )
    oidc_claim: str = Field("groups", description="Claim of the ID token with the groups of a person.")
    oidc_client_id: str | None = Field(
        None, description="Client id of this deployment at the OpenID Connect provider."
    )
    oidc_client_secret: str | None = Field(
        None, repr=False, description="Client secret; unset, also the file: a public client."
    )
    oidc_client_secret_file: Path | None = Field(None, description="File with the client secret.")
    oidc_issuer: Issuer | None = Field(
        None,
        description="Issuer of the OpenID Connect provider, as in its discovery document. People then log in "
        "there.",
    )
    proxy_secret: Annotated[str, Field(min_length=32)] | None = Field(
        None,
        repr=False,
        description="Secret of at least 32 characters, which an authenticating proxy sends as "
        "`X-Playhead-Proxy-Secret`.",
    )
    proxy_groups_header: HeaderName | None = Field(
        None,
        description="Header in which that proxy names the groups of the user, separated by commas; unset: "
        "`oidc_map` names users.",
    )
    proxy_user_header: HeaderName | None = Field(
        None, description="Header in which that proxy names the user, such as X-Forwarded-User."
    )
    max_connections: int = Field(500, ge=1, description="Maximum number of open connections of a server.")
    lease_seconds: Seconds = Field(
        15,
        description="After this time without renewal, another process takes over a replay or the reconciler.",
    )
    settle_seconds: Seconds = Field(
        30, description="How long the response of a replay waits for the broker to confirm messages."
    )
    replays_per_queue: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="How many replays may publish into one queue at once; others wait in line. 0: no limit. "
        "A replay with only the contract's fields never waits.",
    )
    replays_per_process: int = Field(
        4,
        ge=1,
        le=1_000,
        description="How many replays one process lists and publishes at once; others wait for a process. "
        "A replay with only the contract's fields never waits.",
    )
    max_replay_objects: int = Field(
        10_000_000,
        ge=1,
        le=2**53,
        description="Maximum number of objects of a replay or a plan.",
    )
    plan_seconds: Seconds = Field(86_400, description="How long a replay can be started from a plan.")
    idempotency_seconds: Seconds = Field(86_400, description="How long an Idempotency-Key is kept at least.")
    visibility_seconds: Seconds = Field(
        30, description="A delivery that is neither acknowledged nor extended is redelivered after this time."
    )
    heartbeat_seconds: Seconds = Field(
        1, description="Period of the heartbeat of a process; after five missed beats it counts as dead."
    )
    retention: Annotated[Literal["any", "server"], IN_LOWER_CASE] = Field(
        "any",
        description="Processes that apply the retention of configs: `any`, or servers alone (`server`).",
    )
    max_body_bytes: Bytes = Field(1_048_576, description="Maximum size of a request body.")
    max_upload_bytes: Bytes = Field(268_435_456, description="Maximum size of all inputs of a run over HTTP.")
    max_object_bytes: Bytes = Field(
        67_108_864, description="Maximum size of an object that is stored or read."
    )
    durability: Annotated[Literal["process", "power"], IN_LOWER_CASE] = Field(
        "process", description="Stored data survives the end of a process, or also a power failure (slower)."
    )
    log_format: Annotated[Literal["text", "json"], IN_LOWER_CASE] = Field(
        "text", description="Format of log lines."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], IN_LOWER_CASE] = Field(
        "info", description="The lowest level that is logged."
    )
    clock_shift_seconds: float = Field(
        0, allow_inf_nan=False, description="For tests: offset of the clock of this process."
    )
    fault: Annotated[str, Field(min_length=0)] = Field(
        "", description="For tests: `point[:n]`, at which the process kills itself."
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, value: object, info: ValidationInfo) -> object:
        # Pydantic would take `port = true` of a TOML file for 1.
        is_switch = info.field_name is not None and cls.model_fields[info.field_name].annotation is bool
        if isinstance(value, bool) and not is_switch:
            raise ValueError("true and false are not allowed")
        return value

    @field_validator("server")
    @classmethod
    def _server_address(cls, value: str | None) -> str | None:
        return None if value is None else server_address(value)

    @field_validator("webhook_hosts")
    @classmethod
    def _are_signed(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if value and info.data.get("webhook_secret") == ():
            raise ValueError("webhooks are signed: also set webhook_secret (PLAYHEAD_WEBHOOK_SECRET)")
        return value

    @field_validator("oidc_issuer")
    @classmethod
    def _is_complete(cls, value: str | None, info: ValidationInfo) -> str | None:
        _check_given(info, "oidc_client_id", "oidc_map", "public_url")
        return value

    @field_validator("proxy_user_header")
    @classmethod
    def _is_protected(cls, value: str | None, info: ValidationInfo) -> str | None:
        _check_given(info, "proxy_secret", "oidc_map")
        if value == info.data.get("proxy_groups_header"):
            raise ValueError("it must not be proxy_groups_header")
        return value

    @property
    def has_logins(self) -> bool:
        """Whether people log in at a provider or a proxy, so that the server is never open."""
        return bool(self.oidc_issuer or self.oidc_client_id or self.proxy_user_header or self.proxy_secret)

    @field_validator("fault")
    @classmethod
    def _known_fault(cls, value: str) -> str:
        point, colon, passes = value.partition(":")
        if value and point not in faults.POINTS:
            raise ValueError(f"unknown point; known points: {', '.join(sorted(faults.POINTS))}")
        if colon and not (passes.isdecimal() and int(passes) > 0):
            raise ValueError("the number of passes must be a whole number above 0")
        return value


def _check_given(info: ValidationInfo, *names: str) -> None:
    """Check that other settings are given. They are declared earlier; an invalid one is reported alone."""
    missing = [name for name in names if name in info.data and not info.data[name]]
    if missing:
        variables = ", ".join(PREFIX + name.upper() for name in missing)
        raise ValueError(f"also set {variables}")


def load_settings(**flags: Any) -> Settings:
    """Read the settings: flags, then `PLAYHEAD_*`, then `playhead.toml`, then the defaults.

    Args:
        flags: given on the command line, by field; None where not given.

    Raises:
        CannotStart: `setup_invalid`, with every invalid setting, its source and the reason.
        TypeError: a flag is not a setting.
    """
    if unknown := flags.keys() - Settings.model_fields.keys():
        raise TypeError(f"no such settings: {', '.join(sorted(unknown))}")
    file = project.find() / project.FILE
    sources = (
        _Source(
            {n: v for n, v in flags.items() if v is not None}, lambda name: "--" + name.replace("_", "-")
        ),
        _Source(_from_environment(os.environ), lambda name: PREFIX + name.upper()),
        _Source(_from_file(file), lambda name: f"{name} in {file.absolute()}"),
        _Source({"home": file.with_name(project.HOME)}, lambda name: name),
    )
    # The first source that has a field provides all of its value.
    given = {name: (s, s.values[name]) for s in reversed(sources) for name in s.values}
    try:
        return Settings(**{name: value for name, (_, value) in given.items()})
    except ValidationError as exc:
        lines = []
        for error in exc.errors(include_url=False):
            name = str(error["loc"][0])
            source, value = given[name]
            shown = (
                f"{source.place(name)} is {value!r}"
                if _is_number(value)
                else f"{source.place(name)} is not valid"
            )
            lines.append(f"{shown}: {_reason(error['type'], error['msg'], value)}")
        raise CannotStart("setup_invalid", "\n".join(lines)) from exc


def without_password(address: str) -> str:
    """Return an address without user name and password."""
    return _PASSWORD.sub("//", address)


@dataclass(frozen=True, slots=True)
class _Source:
    """Values by field, and the name of each in the source."""

    values: Mapping[str, Any]
    place: Callable[[str], str]


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The settings among the variables.

    An empty variable counts as not set, because compose files create such variables. But an empty list of
    allowed adapters allows no adapter: a list that is empty by mistake must not allow all.
    """
    found = {n: environ[PREFIX + n.upper()] for n in Settings.model_fields if PREFIX + n.upper() in environ}
    return {name: value for name, value in found.items() if value or name == "adapters_allowed"}


def _from_file(path: Path) -> dict[str, Any]:
    try:
        if project.is_foreign(path):
            return {}
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise CannotStart("setup_invalid", f"{path.absolute()} cannot be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise CannotStart("setup_invalid", f"{path.absolute()} is not TOML: {exc}") from exc
    fields = Settings.model_fields
    if unknown := [name for name in values if name not in fields]:
        lines = []
        for name in unknown:
            near = get_close_matches(name.lower(), fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(fields)}"
            lines.append(f"{path.absolute()} has no setting {name!r}; {hint}")
        raise CannotStart("setup_invalid", "\n".join(lines))
    if path.parent == Path():
        return values
    return {name: project.absolute(path.parent, name, value) for name, value in values.items()}


def _is_number(value: object) -> bool:
    """Whether a value can be shown: any other text may be a password that was pasted into the wrong place."""
    if isinstance(value, str):
        return re.fullmatch(r"-?[0-9]{0,12}(\.[0-9]{0,6})?|nan|-?inf", value) is not None
    return isinstance(value, int | float)


def _reason(kind: str, message: str, value: object) -> str:
    if kind == "string_too_short":
        return "it must not be empty"
    reason = message.removeprefix("Value error, ").replace("Input should be", "it must be", 1)
    if isinstance(value, str) and value.startswith("tcp://"):
        reason += (
            " (Kubernetes sets this for a service named playhead; give the service another name, or the pod "
            "enableServiceLinks: false)"
        )
    return reason
