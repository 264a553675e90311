"""A registry on loopback, Debian's docker-registry, and one that does whatever it should not.

    with serving_registry(tmp_path) as registry:
        pinned = registry.push(build(tmp_path / "layout", "app"), "lib/app:1.4")
        images = NodeImages(tmp_path / "images", registry.terms(), ...)

`pinned` is `127.0.0.1:<port>/lib/app@sha256:...`; `registry.name("lib/app:1.4")` is its tag. The
fixture `registry` of tests/conftest.py is one for the whole session: keep to repositories of your
own (`unique("app")`).
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from orchestrator.runtime.images.terms import RegistryTerms
from tests.support.certificates import Authority, KeyPair
from tests.support.images import digest
from tests.support.ports import free_port

START_LIMIT_SECONDS = 30.0
PUSH_LIMIT_SECONDS = 60.0

USER = "bob"
PASSWORD = "s3cret"
HTPASSWD = f"{USER}:$2b$04$DKh/OoyqZ5mRP8ExDInn1uq8bDN0XETpW5kek4QVNr8QHeBdvhMbS\n"
"""bcrypt of `PASSWORD`, with as few rounds as it takes."""


def registry_program() -> str:
    """Skips the test if there is none, or nothing to push with."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("no docker-registry here: install Debian's docker-registry")
    if shutil.which("skopeo") is None:
        pytest.skip("no skopeo here: install skopeo")
    return program


def unique(name: str) -> str:
    """The name of a repository that nobody else uses."""
    return f"{name}-{uuid.uuid4().hex[:12]}"


@dataclass(frozen=True, slots=True)
class Registry:
    """`conf` allows plain http to it; `authfile` and `cert_dir` are what a client needs, if any."""

    host: str
    path: Path
    conf: Path
    authfile: Path | None = None
    cert_dir: Path | None = None

    def name(self, repository: str) -> str:
        return f"{self.host}/{repository}"

    def terms(self, **more: float) -> RegistryTerms:
        return RegistryTerms(
            authfile=self.authfile,
            cert_dir=self.cert_dir,
            registries_conf=self.conf,
            **more,  # type: ignore[arg-type]
        )

    def push(self, source: str, repository: str) -> str:
        """Push what `build` has made to `repository`, with or without a tag. Returns the pinned
        reference."""
        command = ["skopeo", "--registries-conf", str(self.conf), "copy", "--quiet", "--all"]
        if self.authfile:
            command += ["--authfile", str(self.authfile)]
        if self.cert_dir:
            command += ["--dest-cert-dir", str(self.cert_dir)]
        target = f"docker://{self.name(repository)}"
        ran = subprocess.run(
            [*command, "--preserve-digests", source, target],
            capture_output=True,
            text=True,
            timeout=PUSH_LIMIT_SECONDS,
        )
        assert ran.returncode == 0, ran.stderr
        return f"{self.name(repository).rsplit(':', 1)[0]}@{digest(source)}"


@contextmanager
def serving_registry(
    path: Path, *, has_password: bool = False, authority: Authority | None = None
) -> Iterator[Registry]:
    """A registry that keeps its images in `path`; by https if there is an `authority`."""
    program = registry_program()
    path.mkdir(parents=True, exist_ok=True)
    host = f"127.0.0.1:{free_port()}"
    pair = authority.issue("registry") if authority else None
    (path / "registry.yml").write_text(yaml.safe_dump(_settings(path, host, pair, has_password)))
    with (path / "registry.log").open("wb") as log:
        command = [program, "serve", str(path / "registry.yml")]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=_environment())
    try:
        _wait_until_it_answers(host, process)
        yield Registry(
            host,
            path,
            plain_http_conf(path / "registries.conf", host),
            _authfile(path, host) if has_password else None,
            _cert_dir(path, authority) if authority else None,
        )
    finally:
        process.kill()
        process.wait()


def plain_http_conf(path: Path, *hosts: str) -> Path:
    """A registries.conf that allows plain http to these hosts."""
    path.write_text(
        "".join(f'[[registry]]\nlocation = "{host}"\ninsecure = true\n' for host in hosts)
    )
    return path


def _settings(path: Path, host: str, pair: KeyPair | None, has_password: bool) -> dict[str, object]:
    http: dict[str, object] = {"addr": host, "secret": "s"}
    if pair:
        http["tls"] = {"certificate": str(pair.certificate), "key": str(pair.key)}
    settings: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(path / "storage")},
            "delete": {"enabled": True},
        },
        "http": http,
    }
    if has_password:
        (path / "htpasswd").write_text(HTPASSWD)
        settings["auth"] = {"htpasswd": {"realm": "test", "path": str(path / "htpasswd")}}
    return settings


def _environment() -> dict[str, str]:
    """Without what would be taken for settings of its own."""
    return {name: text for name, text in os.environ.items() if not name.startswith("REGISTRY_")}


def _authfile(path: Path, host: str) -> Path:
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    written = path / "auth.json"
    written.write_text(json.dumps({"auths": {host: {"auth": token}}}))
    written.chmod(0o600)
    return written


def _cert_dir(path: Path, authority: Authority) -> Path:
    certificates = path / "certs"
    certificates.mkdir()
    shutil.copy(authority.ca, certificates / "ca.crt")
    return certificates


def _wait_until_it_answers(host: str, process: subprocess.Popen[bytes]) -> None:
    """Anything: with TLS, a request without is told so."""
    deadline = time.monotonic() + START_LIMIT_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "the registry has ended: see its log"
        try:
            urllib.request.urlopen(f"http://{host}/v2/", timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"the registry at {host} does not answer")
