"""What the API refuses, with which status and which words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestrator.cluster.probes import layout_probe
from orchestrator.model.records import LAYOUT, Schema
from tests.support.api import KEYS, Replica, World, manifest, world

WEB = "/v1/workloads/default/web"


@pytest.fixture
async def there() -> AsyncIterator[World]:
    async with world() as made:
        yield made


@pytest.fixture
async def replica(there: World) -> AsyncIterator[Replica]:
    async with there.replica() as made:
        yield made


async def test_if_match_writes_only_what_was_read(there: World, replica: Replica) -> None:
    created = await replica.call("PUT", WEB, manifest())
    etag = created.headers["ETag"]

    met = await replica.call("PUT", WEB, manifest(replicas=4), If_Match=etag)
    missed = await replica.call("PUT", WEB, manifest(replicas=9), If_Match=etag)

    assert met.status == 200
    assert missed.status == 412
    assert missed.body["type"] == "urn:orchestrator:problem:precondition-failed"
    assert missed.body["detail"] == (
        f"workload default/web was left alone: it is at mod_revision {met.revision}, "
        "which If-Match does not name; read it again"
    )
    for method, path, body in (
        ("PUT", f"{WEB}/scale", {"replicas": 1}),
        ("DELETE", WEB, None),
    ):
        assert (await replica.call(method, path, body, If_Match=etag)).status == 412
    bare = str(met.revision)
    assert (await replica.call("DELETE", WEB, If_Match=f"1, {bare}")).status == 200


async def test_if_none_match_only_creates(replica: Replica) -> None:
    created = await replica.call("PUT", WEB, manifest(), If_None_Match="*")
    again = await replica.call("PUT", WEB, manifest(), If_None_Match="*")
    assert (created.status, again.status) == (201, 412)
    assert "it exists already" in again.body["detail"]


async def test_if_match_star_only_changes_what_is_there(replica: Replica) -> None:
    answer = await replica.call("PUT", WEB, manifest(), If_Match="*")
    assert answer.status == 412
    assert answer.body["detail"] == "workload default/web was left alone: it does not exist"


@pytest.mark.parametrize(
    ("header", "value", "sentence"),
    [
        ("If_Match", "yesterday", "If-Match 'yesterday' is no mod_revision"),
        ("If_None_Match", '"7"', "If-None-Match takes only `*`"),
    ],
)
async def test_a_malformed_precondition_is_refused(
    replica: Replica, header: str, value: str, sentence: str
) -> None:
    answer = await replica.call("PUT", WEB, manifest(), **{header: value})
    assert answer.status == 400
    assert sentence in answer.body["detail"]


@pytest.mark.parametrize(
    ("path", "body", "refusal"),
    [
        (WEB, b"{", (400, "the body is not JSON: ")),
        (WEB, b"", (400, "the body is not JSON: ")),
        (WEB, b"[" * 100_000, (400, "the body is not JSON: ")),
        (WEB, b'{"replicas": NaN}', (400, "the body is not JSON: ")),
        (WEB, [1], (400, "it must be")),
        (WEB, manifest(replicsa=3), (400, "did you mean 'replicas'?")),
        (WEB, manifest(replicas=-1), (400, "replicas is -1")),
        (WEB, manifest(name="other"), (400, "the path says name 'web', but the manifest 'other'")),
        (WEB, manifest(namespace="x"), (400, "the path says namespace 'default', but")),
        ("/v1/workloads/default/W%20b", manifest(), (400, "name is 'W b'")),
        (f"{WEB}/scale", {"replicas": "5"}, (400, "field 'replicas' cannot be '5'")),
        (f"{WEB}/scale", {"replicas": True}, (400, "field 'replicas' cannot be True")),
        (f"{WEB}/scale", {"replicas": -1}, (400, "replicas is -1: it must be 0 to 100000")),
        (f"{WEB}/scale", {}, (400, "field 'replicas' is missing")),
        (f"{WEB}/scale", {"replica": 5, "replicas": 5}, (400, "did you mean 'replicas'?")),
        (f"{WEB}/scale", [], (400, "the body does not fit")),
        (f"{WEB}?dryrun=true", manifest(), (400, "'dryrun'; did you mean 'dry_run'?")),
        (f"{WEB}?dry_run=perhaps", manifest(), (400, "parameter 'dry_run' cannot be 'perhaps'")),
        (f"{WEB}/scale", {"replicas": 5}, (404, "there is no workload default/web")),
        ("/v1/workloads/a/b%2Fc/scale", {"replicas": 5}, (404, "that is no name for one")),
    ],
)
async def test_bad_input_is_told_in_a_sentence_and_changes_nothing(
    there: World, replica: Replica, path: str, body: Any, refusal: tuple[int, str]
) -> None:
    status, sentence = refusal
    before = there.revision
    answer = await replica.call("PUT", path, body)
    assert answer.status == status
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.body["status"] == status
    assert answer.body["title"]
    assert sentence in answer.body["detail"]
    assert "X-Revision" in answer.headers
    assert there.revision == before


async def test_every_problem_of_a_manifest_is_named(replica: Replica) -> None:
    answer = await replica.call("PUT", WEB, manifest(replicas=-1, lost_after_seconds=-2))
    assert answer.status == 400
    assert len(answer.body["problems"]) == 2
    assert all(isinstance(problem, str) for problem in answer.body["problems"])


async def test_a_manifest_of_two_megabytes_is_refused(replica: Replica) -> None:
    answer = await replica.call("PUT", WEB, b" " * 2 * 1024 * 1024)
    assert answer.status == 413
    assert "the body is larger than 1048576 bytes" in answer.body["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nonsense", 404), ("POST", WEB, 405), ("PUT", "/v1/nodes", 405)],
)
async def test_unknown_routes_and_methods_are_problems_too(
    replica: Replica, method: str, path: str, status: int
) -> None:
    answer = await replica.call(method, path)
    assert answer.status == status
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.body["detail"]


async def test_what_does_not_fit_into_one_transaction_is_refused(
    there: World, replica: Replica
) -> None:
    await replica.view.reached(await there.add_node("n1"))
    labels = {f"label-{index:04d}-{'x' * 40}": "y" * 60 for index in range(8700)}
    answer = await replica.call("PATCH", "/v1/nodes/n1", {"labels": labels})
    assert answer.status == 413
    assert "that fit into one transaction: make it smaller" in answer.body["detail"]


async def test_nothing_is_written_to_a_store_that_a_newer_release_has_laid_out(
    there: World, replica: Replica
) -> None:
    await replica.view.reached(await there.put(KEYS.schema, Schema(version=LAYOUT + 1)))
    answer = await replica.call("PUT", WEB, manifest())
    assert answer.status == 503  # so that `orc` asks the next replica
    assert answer.body["detail"] == (
        "nothing was changed: this store is laid out by version 2 of the schema, and this release "
        "knows 1 at most: install the newer release here, too"
    )
    is_ready = layout_probe(lambda: replica.view.state.refusal)
    assert await is_ready() == answer.body["detail"].split(": ", 1)[1]
