"""Settings: which source wins, what is refused, and in which words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from orchestrator.model.errors import ConfigError
from orchestrator.process.address import Address
from orchestrator.process.agent_settings import AgentSettings
from orchestrator.process.settings import (
    ControllerSettings,
    HttpSettings,
    PortRange,
    ProcessSettings,
    StoreSettings,
)
from orchestrator.process.sources import load_settings, shown
from store.errors import Invalid
from store.etcd.endpoints import parse_endpoint


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ORC_LOG_LEVEL", "ORC_BIND", "ORC_ETCD_ENDPOINTS", "ORC_LABELS"):
        monkeypatch.delenv(name, raising=False)


def refusal(
    kind: type[ProcessSettings], flags: Mapping[str, object], file: Path | None = None
) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(kind, flags, file)
    text = str(caught.value)
    assert "\n" not in text
    return text


def written(tmp_path: Path, text: str, name: str = "orc.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_flag_goes_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, "log_level: error\nroot: /file/\nlease_ttl_seconds: 7\n")
    monkeypatch.setenv("ORC_LOG_LEVEL", "warning")
    monkeypatch.setenv("ORC_ROOT", "/environment/")
    loaded = load_settings(ControllerSettings, {"log_level": "debug", "root": None}, file)
    settings = loaded.settings
    assert (settings.log_level, settings.root) == ("debug", "/environment/")
    assert (settings.lease_ttl_seconds, settings.scheduler) == (7, "default")
    sources = {name: source for name, _, source in shown(loaded)}
    assert sources["log_level"] == "--log-level"
    assert sources["root"] == "ORC_ROOT"
    assert sources["lease_ttl_seconds"] == str(file)
    assert sources["scheduler"] == "default"
    assert set(sources) == set(ControllerSettings.model_fields)


def test_an_empty_variable_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORC_LOG_LEVEL", "")
    assert load_settings(StoreSettings, {}).settings.log_level == "info"


def test_lists_pairs_and_ranges_are_written_alike_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORC_ETCD_ENDPOINTS", "http://a:1,http://b:2")
    monkeypatch.setenv("ORC_LABELS", "zone=a,disk=ssd")
    by_text = load_settings(AgentSettings, {"port_range": "7500-7599"}).settings
    assert by_text.etcd_endpoints == ("http://a:1", "http://b:2")
    assert by_text.labels == {"zone": "a", "disk": "ssd"}
    assert by_text.port_range == PortRange(7500, 7599)
    monkeypatch.delenv("ORC_ETCD_ENDPOINTS")
    monkeypatch.delenv("ORC_LABELS")
    file = written(
        tmp_path,
        'etcd_endpoints = ["http://a:1", "http://b:2"]\nport_range = "7500-7599"\n'
        '[labels]\nzone = "a"\ndisk = "ssd"\n',
        "orc.toml",
    )
    by_file = load_settings(AgentSettings, {}, file).settings
    assert by_file.model_dump(exclude={"data_dir"}) == by_text.model_dump(exclude={"data_dir"})


def test_a_wrong_value_names_its_source_and_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = refusal(HttpSettings, {"bind": "7400"})
    assert text.startswith("--bind: '7400' will not do: give host:port")
    file = written(tmp_path, "lease_ttl_seconds: -3\n")
    assert f"lease_ttl_seconds ({file}): '-3' will not do" in refusal(ControllerSettings, {}, file)
    monkeypatch.setenv("ORC_PORT_RANGE", "9000-8000")
    assert refusal(AgentSettings, {}).startswith(
        "ORC_PORT_RANGE: '9000-8000' will not do: ports lie"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("root", "orchestrator"),
        ("root", "/my cluster/"),
        ("etcd_endpoints", "http://127.0.0.1"),
        ("etcd_endpoints", "http://127.0.0.1:etcd"),
        ("etcd_endpoints", ""),
        ("advertise", "m1:7410"),
        ("advertise", "m1.example"),
        ("advertise", "ftp://m1:7410"),
        ("advertise", "https://m1:port"),
        ("advertise", "https://m1:7410/v1"),
        ("advertise", "https://me:secret@m1:7410"),
        ("etcd_ca_file", "/no/such/file"),
        ("replica", "Ünïcode"),
        ("mass_loss_fraction", "1.5"),
        ("mass_loss_fraction", "nan"),
        ("scheduler", "best"),
        ("bind", "127.0.0.1:0"),
        ("bind", "127.0.0.1:99999"),
        ("bind", "::1:7400"),
    ],
)
def test_values_that_will_not_do(name: str, value: str) -> None:
    assert refusal(ControllerSettings, {name: value}).startswith(f"--{name.replace('_', '-')}: ")


def test_an_unknown_key_in_the_file_suggests_the_near_name(tmp_path: Path) -> None:
    file = written(tmp_path, "etcd_endpoint: http://a:1\n")
    text = refusal(ControllerSettings, {}, file)
    assert "etcd_endpoint" in text
    assert "did you mean etcd_endpoints?" in text


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.yaml", "log_level: [", "cannot be read as YAML"),
        ("a.toml", "log_level =", "cannot be read as TOML"),
        ("a.yaml", "- a\n- b\n", "must hold names and values"),
        ("a.yaml", "just words", "must hold names and values"),
        ("a.conf", "", "name it .yaml or .toml"),
    ],
)
def test_files_that_will_not_do(tmp_path: Path, name: str, content: str, said: str) -> None:
    assert said in refusal(StoreSettings, {}, written(tmp_path, content, name))


def test_an_empty_file_gives_nothing(tmp_path: Path) -> None:
    assert load_settings(StoreSettings, {}, written(tmp_path, "")).settings.root == "/orchestrator/"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "there is no file" in refusal(StoreSettings, {}, tmp_path / "none.yaml")


def test_other_machines_are_served_with_tls_and_a_token_only(tmp_path: Path) -> None:
    text = refusal(HttpSettings, {"bind": "0.0.0.0:7400"})
    assert "give tls_cert_file, tls_key_file and token_file" in text
    files = {name: str(written(tmp_path, "", name)) for name in ("cert", "key", "token")}
    tls = {"tls_cert_file": files["cert"], "tls_key_file": files["key"]}
    assert "token_file" in refusal(HttpSettings, {"bind": "10.0.0.1:7400", **tls})
    token = {"token_file": files["token"]}
    assert "tls_cert_file" in refusal(HttpSettings, {"bind": "10.0.0.1:7400", **token})
    full = {**tls, **token}
    served = load_settings(HttpSettings, {"bind": "10.0.0.1:7400", **full}).settings
    assert served.url == "https://10.0.0.1:7400"
    assert "give advertise" in refusal(HttpSettings, {"bind": "0.0.0.0:7400", **full})
    named = {"bind": "0.0.0.0:7400", "advertise": "https://n1.example:7400/", **full}
    assert load_settings(HttpSettings, named).settings.url == "https://n1.example:7400"


def test_an_advertised_url_cannot_be_overheard(tmp_path: Path) -> None:
    tls = {name: str(written(tmp_path, "", name)) for name in ("tls_cert_file", "tls_key_file")}
    assert "write https://" in refusal(HttpSettings, {"advertise": "http://127.0.0.1:7400", **tls})
    assert "write https://" in refusal(HttpSettings, {"advertise": "http://m1.example:7400"})
    for advertise, flags in (
        ("https://m1.example:7400", tls),
        ("https://behind-a-proxy.example", {}),
        ("http://localhost:7401", {}),
    ):
        given = {"advertise": f"{advertise}/", **flags}
        assert load_settings(HttpSettings, given).settings.url == advertise


def accepts(check: Callable[[], object], refused: type[Exception]) -> bool:
    try:
        check()
    except refused:
        return False
    return True


@pytest.mark.parametrize(
    "text",
    [
        *("localhost:2379", "127.0.0.1:2379", "[::1]:2379", "http://a:1", "http://[::1]:1/"),
        *(" a:1 ", "http://a", "a", ":2379", "http://:1", "a:port", "http://a:99999", "a:0"),
        *("unix:///etcd.sock", "ftp://a:1", "http://a:1/v3", "a:1/v3", "http://a:1?x=y", "-"),
    ],
)
def test_the_settings_take_the_endpoints_that_the_store_takes(text: str) -> None:
    by_settings = accepts(
        lambda: load_settings(StoreSettings, {"etcd_endpoints": text}), ConfigError
    )
    by_store = accepts(lambda: parse_endpoint(text, has_tls=False), Invalid)
    assert by_settings == by_store


def test_an_endpoint_without_a_scheme_goes_with_any(tmp_path: Path) -> None:
    ca = str(written(tmp_path, "", "ca"))
    for endpoints in ("a:1,b:2", "a:1,https://b:2"):
        given = {"etcd_endpoints": endpoints, "etcd_ca_file": ca}
        assert load_settings(StoreSettings, given).settings.etcd_ca_file == Path(ca)
    assert "must be https" in refusal(
        StoreSettings, {"etcd_endpoints": "a:1,http://b:2", "etcd_ca_file": ca}
    )


@pytest.mark.parametrize("bind", ["127.0.0.1:7400", "127.8.8.8:1", "[::1]:7400", "localhost:80"])
def test_loopback_needs_nothing(bind: str) -> None:
    settings = load_settings(HttpSettings, {"bind": bind}).settings
    assert settings.url == f"http://{bind}"
    assert settings.bind == Address.parse(bind)


def test_half_a_pair_of_certificate_and_key_is_refused(tmp_path: Path) -> None:
    cert = str(written(tmp_path, "", "cert"))
    assert "go together" in refusal(HttpSettings, {"tls_cert_file": cert})
    assert "go together" in refusal(StoreSettings, {"etcd_cert_file": cert})
    assert "must be https" in refusal(StoreSettings, {"etcd_ca_file": cert})
    both = "http://a:1,https://b:2"
    assert "mix http and https" in refusal(StoreSettings, {"etcd_endpoints": both})


@pytest.mark.parametrize("endpoint", ["http://root:hunter2@a:1", "root:hunter2@a:1"])
def test_no_password_is_ever_shown(endpoint: str) -> None:
    text = refusal(StoreSettings, {"etcd_endpoints": endpoint})
    assert "hunter2" not in text
    assert "give no password" in text
