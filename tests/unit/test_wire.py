"""Our table of etcd's messages against another client's generated ones (the package `aetcd`)."""

from __future__ import annotations

from typing import Any

import pytest
from aetcd.rpc import kv_pb2, rpc_pb2  # type: ignore[import-untyped]
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from store.etcd import wire

NEWER = {"etcdserverpb.StatusResponse": {"dbSizeQuota"}}
"""Fields that etcd has had since 3.6 only, of which the other client does not know."""

SERVICES = rpc_pb2.DESCRIPTOR.services_by_name


def theirs(full_name: str) -> Any:
    package, _, name = full_name.partition(".")
    return getattr(kv_pb2 if package == "mvccpb" else rpc_pb2, name)


def shape(field: FieldDescriptor) -> dict[str, Any]:
    enum, message, oneof = field.enum_type, field.message_type, field.containing_oneof
    return {
        "name": field.name,
        "number": field.number,
        "type": field.type,
        "is_repeated": field.is_repeated,
        "is_packed": field.is_packed,
        "message": message.full_name if message else None,
        "enum": (enum.full_name, [(v.name, v.number) for v in enum.values]) if enum else None,
        "oneof": oneof.name if oneof else None,
    }


def shapes(descriptor: Descriptor) -> list[dict[str, Any]]:
    known = [field for field in descriptor.fields if not is_newer(field)]
    return sorted((shape(field) for field in known), key=lambda each: each["number"])


def is_newer(field: FieldDescriptor) -> bool:
    message = field.containing_type
    return message is not None and field.name in NEWER.get(message.full_name, set())


@pytest.mark.parametrize("full_name", wire.MESSAGES)
def test_every_field_is_etcds(full_name: str) -> None:
    assert shapes(wire.MESSAGES[full_name].DESCRIPTOR) == shapes(theirs(full_name).DESCRIPTOR)


@pytest.mark.parametrize("method", wire.METHODS, ids=lambda method: method.path)
def test_every_method_is_etcds(method: wire.Method) -> None:
    service_name, _, name = method.path.removeprefix("/etcdserverpb.").partition("/")
    described = SERVICES[service_name].methods_by_name[name]
    assert method.request.DESCRIPTOR.full_name == described.input_type.full_name
    assert method.response.DESCRIPTOR.full_name == described.output_type.full_name
    kinds = {
        (False, False): wire.Kind.UNARY,
        (False, True): wire.Kind.SERVER_STREAM,
        (True, True): wire.Kind.BIDI_STREAM,
    }
    assert method.kind is kinds[described.client_streaming, described.server_streaming]


@pytest.mark.parametrize("full_name", wire.MESSAGES)
def test_full_messages_have_the_same_bytes(full_name: str) -> None:
    ours, other = wire.MESSAGES[full_name](), theirs(full_name)()
    fill(ours, depth=3)
    fill(other, depth=3)
    data = ours.SerializeToString(deterministic=True)
    assert data == other.SerializeToString(deterministic=True)
    assert wire.MESSAGES[full_name].FromString(data) == ours


def test_the_default_pool_is_left_alone() -> None:
    assert wire.RangeRequest.DESCRIPTOR.file.pool is not rpc_pb2.DESCRIPTOR.pool


def fill(message: Any, depth: int) -> None:
    """Set every field to something, in nested messages too; the last one of a oneof stays."""
    for field in sorted(message.DESCRIPTOR.fields, key=lambda each: each.number):
        if is_newer(field):
            continue
        if field.message_type:
            if depth == 0:
                continue
            target = getattr(message, field.name)
            nested = target.add() if field.is_repeated else target
            nested.SetInParent()
            fill(nested, depth - 1)
        elif field.is_repeated:
            getattr(message, field.name).append(sample(field))
        else:
            setattr(message, field.name, sample(field))


def sample(field: FieldDescriptor) -> Any:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return b"\x00\xff" + field.name.encode()
    if field.type == FieldDescriptor.TYPE_STRING:
        return f"ü{field.name}"
    return 1 if field.type in {FieldDescriptor.TYPE_ENUM, FieldDescriptor.TYPE_BOOL} else 300
