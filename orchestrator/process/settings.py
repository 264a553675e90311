"""What can be set: for the store, the HTTP server, and each kind of process.

Every setting has one flat name, `etcd_endpoints`: the flag `--etcd-endpoints`, the environment's
`ORC_ETCD_ENDPOINTS` and the file's `etcd_endpoints` mean the same. `sources.load_settings` says
which of them wins. No setting is itself a secret: secrets are in files that settings name.
"""

from __future__ import annotations

import socket
from typing import Annotated, Literal, NamedTuple, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, FilePath, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from orchestrator.model.keys import DEFAULT_ROOT, ROOT_RULE, is_dns_label, is_root
from orchestrator.model.placement import GpuPolicyName, Strategy
from orchestrator.process.address import Address, may_carry_a_token

ENV_PREFIX = "ORC_"


class PortRange(NamedTuple):
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


def split_list(value: object) -> object:
    return tuple(filter(None, value.split(","))) if isinstance(value, str) else value


def as_address(value: object) -> object:
    return value if isinstance(value, Address) else Address.parse(str(value))


def as_port_range(value: object) -> object:
    if isinstance(value, PortRange):
        return value
    text = str(value)
    first, dash, last = text.partition("-")
    if not dash or not (text.isascii() and first.isdigit() and last.isdigit()):
        raise ValueError("give the first and the last port, as in 21000-21999")
    ports = PortRange(int(first), int(last))
    if not 1 <= ports.first <= ports.last <= 65535:
        raise ValueError("ports lie between 1 and 65535, and the first is not above the last")
    return ports


def _name(value: str) -> str:
    if not is_dns_label(value):
        raise ValueError("a name is at most 63 of a-z, 0-9 and '-', with no '-' at either end")
    return value


def _endpoint(value: str) -> str:
    """As `store.etcd.endpoints` takes it, which cannot be imported here."""
    value = value.strip()
    url = _server(value if "://" in value else f"//{value}")
    if url and (url.username or url.password):
        raise ValueError("give no password in an endpoint: use etcd_cert_file and etcd_key_file")
    if url is None or not url.port or url.scheme not in {"", "http", "https"}:
        raise ValueError("an endpoint is host:port, http://host:port or https://host:port")
    return value.rstrip("/")


def _advertised(value: str) -> str:
    url = _server(value)
    if value and (url is None or url.scheme not in {"http", "https"} or url.username):
        raise ValueError("give the URL that others call, as in https://this-host.example:7400")
    return value.rstrip("/")


def _server(url: str) -> SplitResult | None:
    """The parts of a URL that names a server and nothing on it; None for any other."""
    try:
        parts = urlsplit(url)
        is_server = parts.hostname and parts.port != 0
    except ValueError:
        return None
    has_more = parts.path.strip("/") or parts.query or parts.fragment
    return parts if is_server and not has_more else None


def _root(value: str) -> str:
    if not is_root(value):
        raise ValueError(ROOT_RULE)
    return value


def host_label() -> str:
    return socket.gethostname().split(".")[0].lower()


Name = Annotated[str, AfterValidator(_name)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]


class ProcessSettings(BaseSettings):
    """What every process has. Values come by `sources.load_settings` only."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,
        enable_decoding=False,
        extra="forbid",
        frozen=True,
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least important lines that are logged."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: for people on a terminal, else JSON."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


class StoreSettings(ProcessSettings):
    """How to reach etcd."""

    etcd_endpoints: Annotated[tuple[Endpoint, ...], BeforeValidator(split_list)] = Field(
        default=("http://127.0.0.1:2379",),
        min_length=1,
        description="etcd's client addresses, with commas between them.",
    )
    etcd_ca_file: FilePath | None = Field(
        default=None, description="The CA that signed etcd's servers."
    )
    etcd_cert_file: FilePath | None = Field(default=None, description="Our certificate for etcd.")
    etcd_key_file: FilePath | None = Field(default=None, description="The key of etcd_cert_file.")
    root: Annotated[str, AfterValidator(_root)] = Field(
        default=DEFAULT_ROOT,
        description="The prefix of all our keys, so that clusters can share an etcd.",
    )
    development: bool = Field(
        default=False, description="Accept an etcd of a version that is known to lose data."
    )

    @model_validator(mode="after")
    def _is_secure_as_meant(self) -> Self:
        if (self.etcd_cert_file is None) != (self.etcd_key_file is None):
            raise ValueError("etcd_cert_file and etcd_key_file go together: give both or neither")
        schemes = {each.partition("://")[0] for each in self.etcd_endpoints if "://" in each}
        if len(schemes) > 1:
            raise ValueError("etcd_endpoints mix http and https: give one or the other")
        if schemes == {"http"} and (self.etcd_ca_file or self.etcd_cert_file):
            raise ValueError("etcd_endpoints must be https:// to use etcd's certificate files")
        return self


class HttpSettings(ProcessSettings):
    """How this process serves HTTP, and how it calls the others."""

    bind: Annotated[Address, BeforeValidator(as_address)] = Field(
        default=Address("127.0.0.1", 7400), description="Where to serve HTTP: host:port."
    )
    advertise: Annotated[str, AfterValidator(_advertised)] = Field(
        default="",
        description="The URL at which others reach this process, when it is not the bind.",
    )
    tls_cert_file: FilePath | None = Field(
        default=None, description="The server's certificate chain."
    )
    tls_key_file: FilePath | None = Field(default=None, description="The key of tls_cert_file.")
    tls_ca_file: FilePath | None = Field(
        default=None, description="The CA that signed the other processes' certificates."
    )
    token_file: FilePath | None = Field(
        default=None, description="Bearer tokens that are let in, one a line; the first is our own."
    )

    @model_validator(mode="after")
    def _is_reachable_by_friends_only(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file go together: give both or neither")
        if not self.bind.is_loopback and not (self.tls_cert_file and self.token_file):
            raise ValueError(
                f"bind {self.bind} can be reached from other machines: give tls_cert_file, "
                "tls_key_file and token_file too, or bind to loopback, as in 127.0.0.1:7400"
            )
        if self.bind.is_wildcard and not self.advertise:
            raise ValueError(
                f"bind {self.bind} is no address that others can call: give advertise, "
                "as in https://this-host.example:7400"
            )
        return self

    @model_validator(mode="after")
    def _is_called_without_being_overheard(self) -> Self:
        is_https = self.advertise.startswith("https:")
        if self.advertise and self.tls_cert_file and not is_https:
            raise ValueError(
                f"advertise {self.advertise} is not how this process serves, which is with "
                "tls_cert_file: write https://"
            )
        if self.advertise and not may_carry_a_token(self.advertise):
            raise ValueError(
                f"advertise {self.advertise} would be called in clear from other machines: serve "
                "with tls_cert_file and tls_key_file, or behind a proxy that does, and write "
                "https://"
            )
        return self

    @property
    def url(self) -> str:
        """Where others reach this process."""
        scheme = "https" if self.tls_cert_file else "http"
        return self.advertise or f"{scheme}://{self.bind}"


class ControllerSettings(StoreSettings, HttpSettings):
    replica: Name = Field(default_factory=host_label, description="This controller's own name.")
    lease_ttl_seconds: int = Field(
        default=5,
        ge=2,
        le=3600,
        description="Seconds until another controller leads when the leader hangs or is cut off.",
    )
    full_pass_seconds: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="How often the leader checks everything, even if nothing has changed.",
    )
    mass_loss_fraction: float = Field(
        default=0.55,
        gt=0,
        le=1,
        description="Replace nothing while more than this share of the nodes is unreachable.",
    )
    scheduler: Literal["default", "simple"] = Field(
        default="default",
        description="How nodes are chosen: the best one for each instance, or simply in turn.",
    )
    placement_strategy: Strategy = Field(
        default=Strategy.SPREAD,
        description="How workloads are placed that do not say: spread over nodes, or packed.",
    )
    rebalance_target_percent: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Move instances when nodes have joined, until no node's load is further above"
        " another's. Left out: nothing is moved unless asked.",
    )
    rebalance_max_moves: int = Field(
        default=10, ge=1, le=1000, description="How many instances are moved at once then."
    )
    gpu_policy: GpuPolicyName = Field(
        default=GpuPolicyName.EXPECTED_FILL,
        description="Which of the nodes with GPUs is taken, for workloads that do not say.",
    )
    filter_plugins: Annotated[tuple[str, ...], BeforeValidator(split_list)] = Field(
        default=(), description="Scheduler plug-ins that may rule out nodes, with commas between."
    )
    score_plugins: Annotated[tuple[str, ...], BeforeValidator(split_list)] = Field(
        default=(), description="Scheduler plug-ins that prefer nodes, with commas between."
    )
