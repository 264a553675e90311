"""`orc apply`, `scale` and `delete` against the API itself, from good manifests and bad ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.model.records import load
from tests.support.api import KEYS
from tests.support.orc import WEB, Orc, run_orc
from tests.support.served_api import ServedApi

DB = WEB.replace("web", "db")


@pytest.fixture
def api() -> Iterator[ServedApi]:
    with ServedApi() as served:
        yield served


@pytest.fixture
def orc(api: ServedApi) -> Orc:
    return Orc(api.servers)


def test_applying_creates_then_does_nothing_then_configures(api: ServedApi, orc: Orc) -> None:
    apply = ("apply", "-f", "-")
    assert orc.succeeds(*apply, stdin=WEB) == "workload default/web created\n"
    revision = api.revision
    assert orc.succeeds(*apply, stdin=WEB) == "workload default/web unchanged\n"
    assert api.revision == revision
    five = WEB.replace("replicas: 3", "replicas: 5")
    assert orc.succeeds(*apply, stdin=five) == (
        "workload default/web configured (replicas: 3 -> 5)\n"
    )


def test_a_dry_run_says_what_would_be_and_writes_nothing(api: ServedApi, orc: Orc) -> None:
    revision = api.revision
    assert orc.succeeds("apply", "-f", "-", "--dry-run", stdin=WEB) == (
        "workload default/web created (dry run)\n"
    )
    assert api.revision == revision
    assert orc("apply", "-f", "-", "--dry-run", "--wait", stdin=WEB).exit_code == 2


def test_all_manifests_of_files_directories_and_standard_input_are_applied(
    orc: Orc, tmp_path: Path
) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "two.yaml").write_text(f"{WEB}---\n{DB}")
    definition = {
        "name": "api",
        "namespace": "shop",
        "containers": [{"name": "a", "command": ["x"]}],
    }
    (tmp_path / "more" / "api.json").write_text(json.dumps(definition))
    (tmp_path / "more" / "notes.txt").write_text("no manifest")
    files = ("-f", str(tmp_path / "two.yaml"), "-f", str(tmp_path / "more"), "-f", "-")
    told = orc.succeeds("apply", *files, stdin=WEB.replace("web", "cache"))
    assert told.splitlines() == [
        "workload default/web created",
        "workload default/db created",
        "workload shop/api created",
        "workload default/cache created",
    ]


def test_what_is_stored_is_what_the_manifest_says(api: ServedApi, orc: Orc) -> None:
    manifest = f"{WEB}    resource_requests: {{cpu_cores: 0.5, gpu: 2}}\nlabels: {{a: b}}\n"
    orc.succeeds("apply", "-f", "-", stdin=manifest)
    key = f"{KEYS.root}desired/workloads/default/web"
    value = api.run(api.world.value(key))
    record = load(KEYS.parse(key), json.dumps(value).encode())
    container = record.spec.containers[0]  # type: ignore[union-attr]
    assert container.resource_requests.custom == {"gpu": 2.0}
    assert container.resource_requests.cpu_cores == 0.5


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        ("a: [", "standard input:1: this is not YAML"),
        ("name: web\n\tx: y\n", "standard input:2: this is not YAML"),
        ("", "standard input: there is no workload in it: it is empty"),
        (WEB.replace("replicas", "replicsa"), "did you mean 'replicas'?"),
        (WEB.replace("3", "-1"), "replicas"),
        (WEB.replace("web", "Wéb"), "name"),
        (f"{WEB}x: {'y' * 2_000_000}", "a manifest has at most 1048576"),
        (b"name: \xff", "standard input:1: this is not UTF-8"),
    ],
    ids=["yaml", "tab", "empty", "unknown-field", "negative", "name", "2-MB", "latin-1"],
)
def test_a_bad_manifest_is_told_in_a_sentence_and_changes_nothing(
    api: ServedApi, manifest: str | bytes, told: str
) -> None:
    revision = api.revision
    result = run_orc("--server", api.servers[0], "apply", "-f", "-", stdin=manifest)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: standard input")
    assert told in result.stderr
    assert result.stdout == ""
    assert api.revision == revision


def test_all_problems_of_all_manifests_are_told_before_anything_is_sent(
    api: ServedApi, orc: Orc, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text(WEB)
    (tmp_path / "b.yaml").write_text(DB.replace("3", "-3") + "colour: red\n")
    (tmp_path / "c.yaml").write_text(WEB)
    revision = api.revision
    result = orc("apply", "-f", str(tmp_path))
    assert result.exit_code == 2
    first, *problems = result.stderr.splitlines()
    assert first == "error: nothing was sent, because:"
    assert len(problems) == 3
    assert all("/b.yaml:" in problem for problem in problems[:2])
    assert problems[2].endswith(f"is in {tmp_path}/a.yaml and in {tmp_path}/c.yaml")
    assert api.revision == revision


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "name a manifest"),
        (("-f", "no-such.yaml"), "cannot read no-such.yaml: No such file or directory"),
        (("-f", "."), "there is no manifest in ."),
        (("-f", "x" * 300), f"cannot read {'x' * 300}: File name too long"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_orc("apply", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {told}")


def test_scaling_says_what_has_changed(orc: Orc) -> None:
    orc.succeeds("apply", "-f", "-", stdin=WEB)
    assert orc.succeeds("scale", "web", "5") == (
        "workload default/web configured (replicas: 3 -> 5)\n"
    )
    assert orc.succeeds("scale", "default/web", "5") == "workload default/web unchanged\n"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("web", "-1"), 2, "No such option '-1'"),
        (("web", "many"), 2, "'many' is not a valid number"),
        (("web", "100001"), 1, "it must be 0 to 100000"),
        (("wob", "2"), 4, "there is no workload default/wob; did you mean 'web'?"),
        (("web", "2", "-n", "shop"), 4, "no workload shop/web; did you mean 'default/web'?"),
        (("a/b/c", "2"), 2, "'a/b/c' names no workload"),
        (("/web", "2"), 2, "'/web' names no workload"),
        (("web/../x", "2"), 2, "names no workload"),
        (("..", "2"), 4, "there is nothing named '..'"),
    ],
)
def test_scaling_what_or_to_what_cannot_be_is_refused(
    orc: Orc, arguments: tuple[str, ...], code: int, told: str
) -> None:
    orc.succeeds("apply", "-f", "-", stdin=WEB)
    result = orc("scale", *arguments)
    assert (result.exit_code, told in result.stderr) == (code, True), result.stderr


def test_deleting_by_name_and_by_file(orc: Orc, tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(f"{WEB}---\n{DB}")
    orc.succeeds("apply", "-f", str(tmp_path))
    assert orc.succeeds("delete", "workload", "web") == "workload default/web deleted\n"
    missing = orc("delete", "-f", str(tmp_path / "two.yaml"))
    assert missing.exit_code == 4
    assert missing.stdout == "workload default/db deleted\n"
    assert missing.stderr.startswith("error: there is no workload default/web")
    assert orc.succeeds("delete", "wl", "web", "db", "--ignore-not-found") == ""


@pytest.mark.parametrize(
    "arguments",
    [(), ("workload",), ("node",), ("workload", "web", "-f", "x.yaml"), ("node", "a", "--wait")],
)
def test_it_must_be_clear_what_is_to_be_deleted(orc: Orc, arguments: tuple[str, ...]) -> None:
    result = orc("delete", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
