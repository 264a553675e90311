"""The messages and methods of etcd's v3 API that we use, declared as a table.

Why not generated code: it would register `rpc.proto` in protobuf's process-wide pool, where any
other etcd client's file of that name clashes with it, and it must match the installed protobuf.
The pool here is our own. A test compares every field and some bytes with another client's
generated messages.

Message classes are made while the program runs, so for the type checker they are `Any`;
nothing but `store.etcd` handles them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_ENUMS = {
    "mvccpb.Event.EventType": "PUT DELETE",
    "etcdserverpb.AlarmType": "NONE NOSPACE CORRUPT",
    "etcdserverpb.AlarmRequest.AlarmAction": "GET ACTIVATE DEACTIVATE",
    "etcdserverpb.Compare.CompareResult": "EQUAL GREATER LESS NOT_EQUAL",
    "etcdserverpb.Compare.CompareTarget": "VERSION CREATE MOD VALUE LEASE",
    "etcdserverpb.RangeRequest.SortOrder": "NONE ASCEND DESCEND",
    "etcdserverpb.RangeRequest.SortTarget": "KEY VERSION CREATE MOD VALUE",
    "etcdserverpb.WatchCreateRequest.FilterType": "NOPUT NODELETE",
}
"""Enum: its values, numbered from 0."""

_MESSAGES = {
    "mvccpb.KeyValue": "key:bytes=1 create_revision:int64=2 mod_revision:int64=3 version:int64=4"
    " value:bytes=5 lease:int64=6",
    "mvccpb.Event": "type:mvccpb.Event.EventType=1 kv:mvccpb.KeyValue=2 prev_kv:mvccpb.KeyValue=3",
    "etcdserverpb.ResponseHeader": "cluster_id:uint64=1 member_id:uint64=2 revision:int64=3"
    " raft_term:uint64=4",
    "etcdserverpb.RangeRequest": "key:bytes=1 range_end:bytes=2 limit:int64=3 revision:int64=4"
    " sort_order:etcdserverpb.RangeRequest.SortOrder=5"
    " sort_target:etcdserverpb.RangeRequest.SortTarget=6"
    " serializable:bool=7 keys_only:bool=8 count_only:bool=9"
    " min_mod_revision:int64=10 max_mod_revision:int64=11"
    " min_create_revision:int64=12 max_create_revision:int64=13",
    "etcdserverpb.RangeResponse": "header:etcdserverpb.ResponseHeader=1"
    " kvs:mvccpb.KeyValue[]=2 more:bool=3 count:int64=4",
    "etcdserverpb.PutRequest": "key:bytes=1 value:bytes=2 lease:int64=3 prev_kv:bool=4"
    " ignore_value:bool=5 ignore_lease:bool=6",
    "etcdserverpb.PutResponse": "header:etcdserverpb.ResponseHeader=1 prev_kv:mvccpb.KeyValue=2",
    "etcdserverpb.DeleteRangeRequest": "key:bytes=1 range_end:bytes=2 prev_kv:bool=3",
    "etcdserverpb.DeleteRangeResponse": "header:etcdserverpb.ResponseHeader=1 deleted:int64=2"
    " prev_kvs:mvccpb.KeyValue[]=3",
    "etcdserverpb.RequestOp": "request/request_range:etcdserverpb.RangeRequest=1"
    " request/request_put:etcdserverpb.PutRequest=2"
    " request/request_delete_range:etcdserverpb.DeleteRangeRequest=3"
    " request/request_txn:etcdserverpb.TxnRequest=4",
    "etcdserverpb.ResponseOp": "response/response_range:etcdserverpb.RangeResponse=1"
    " response/response_put:etcdserverpb.PutResponse=2"
    " response/response_delete_range:etcdserverpb.DeleteRangeResponse=3"
    " response/response_txn:etcdserverpb.TxnResponse=4",
    "etcdserverpb.Compare": "result:etcdserverpb.Compare.CompareResult=1"
    " target:etcdserverpb.Compare.CompareTarget=2 key:bytes=3"
    " target_union/version:int64=4 target_union/create_revision:int64=5"
    " target_union/mod_revision:int64=6 target_union/value:bytes=7 target_union/lease:int64=8"
    " range_end:bytes=64",
    "etcdserverpb.TxnRequest": "compare:etcdserverpb.Compare[]=1"
    " success:etcdserverpb.RequestOp[]=2 failure:etcdserverpb.RequestOp[]=3",
    "etcdserverpb.TxnResponse": "header:etcdserverpb.ResponseHeader=1 succeeded:bool=2"
    " responses:etcdserverpb.ResponseOp[]=3",
    "etcdserverpb.CompactionRequest": "revision:int64=1 physical:bool=2",
    "etcdserverpb.CompactionResponse": "header:etcdserverpb.ResponseHeader=1",
    "etcdserverpb.WatchRequest": "request_union/create_request:etcdserverpb.WatchCreateRequest=1"
    " request_union/cancel_request:etcdserverpb.WatchCancelRequest=2"
    " request_union/progress_request:etcdserverpb.WatchProgressRequest=3",
    "etcdserverpb.WatchCreateRequest": "key:bytes=1 range_end:bytes=2 start_revision:int64=3"
    " progress_notify:bool=4 filters:etcdserverpb.WatchCreateRequest.FilterType[]=5"
    " prev_kv:bool=6 watch_id:int64=7 fragment:bool=8",
    "etcdserverpb.WatchCancelRequest": "watch_id:int64=1",
    "etcdserverpb.WatchProgressRequest": "",
    "etcdserverpb.WatchResponse": "header:etcdserverpb.ResponseHeader=1 watch_id:int64=2"
    " created:bool=3 canceled:bool=4 compact_revision:int64=5 cancel_reason:string=6"
    " fragment:bool=7 events:mvccpb.Event[]=11",
    "etcdserverpb.LeaseGrantRequest": "TTL:int64=1 ID:int64=2",
    "etcdserverpb.LeaseGrantResponse": "header:etcdserverpb.ResponseHeader=1 ID:int64=2"
    " TTL:int64=3 error:string=4",
    "etcdserverpb.LeaseRevokeRequest": "ID:int64=1",
    "etcdserverpb.LeaseRevokeResponse": "header:etcdserverpb.ResponseHeader=1",
    "etcdserverpb.LeaseKeepAliveRequest": "ID:int64=1",
    "etcdserverpb.LeaseKeepAliveResponse": "header:etcdserverpb.ResponseHeader=1 ID:int64=2"
    " TTL:int64=3",
    "etcdserverpb.LeaseTimeToLiveRequest": "ID:int64=1 keys:bool=2",
    "etcdserverpb.LeaseTimeToLiveResponse": "header:etcdserverpb.ResponseHeader=1 ID:int64=2"
    " TTL:int64=3 grantedTTL:int64=4 keys:bytes[]=5",
    "etcdserverpb.AlarmRequest": "action:etcdserverpb.AlarmRequest.AlarmAction=1"
    " memberID:uint64=2 alarm:etcdserverpb.AlarmType=3",
    "etcdserverpb.AlarmMember": "memberID:uint64=1 alarm:etcdserverpb.AlarmType=2",
    "etcdserverpb.AlarmResponse": "header:etcdserverpb.ResponseHeader=1"
    " alarms:etcdserverpb.AlarmMember[]=2",
    "etcdserverpb.StatusRequest": "",
    "etcdserverpb.StatusResponse": "header:etcdserverpb.ResponseHeader=1 version:string=2"
    " dbSize:int64=3 leader:uint64=4 raftIndex:uint64=5 raftTerm:uint64=6"
    " raftAppliedIndex:uint64=7 errors:string[]=8 dbSizeInUse:int64=9 isLearner:bool=10"
    " dbSizeQuota:int64=12",
    "etcdserverpb.DefragmentRequest": "",
    "etcdserverpb.DefragmentResponse": "header:etcdserverpb.ResponseHeader=1",
    "etcdserverpb.SnapshotRequest": "",
    "etcdserverpb.SnapshotResponse": "header:etcdserverpb.ResponseHeader=1"
    " remaining_bytes:uint64=2 blob:bytes=3",
}
"""Message: its fields as `[oneof/]name:type[[]]=number`, where a `[]` after the type repeats."""

_SCALARS = {
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "string": FieldDescriptorProto.TYPE_STRING,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
}


def _file(package: str, imports: tuple[str, ...] = ()) -> FileDescriptorProto:
    """The package's part of the tables as one file descriptor."""
    file = FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto3", dependency=imports
    )
    messages: dict[str, DescriptorProto] = {}
    for full_name, fields in _MESSAGES.items():
        if full_name.startswith(f"{package}."):
            message = messages[full_name] = file.message_type.add()
            message.name = full_name.removeprefix(f"{package}.")
            for spec in fields.split():
                _add_field(message, spec)
    for full_name, values in _ENUMS.items():
        owner, _, name = full_name.rpartition(".")
        if owner == package:
            _fill_enum(file.enum_type.add(), name, values)
        elif owner in messages:
            _fill_enum(messages[owner].enum_type.add(), name, values)
    return file


def _add_field(message: DescriptorProto, spec: str) -> None:
    left, _, number = spec.partition("=")
    name, _, kind = left.partition(":")
    oneof, _, name = name.rpartition("/")
    field = message.field.add(name=name, number=int(number))
    field.label = (
        FieldDescriptorProto.LABEL_REPEATED
        if kind.endswith("[]")
        else FieldDescriptorProto.LABEL_OPTIONAL
    )
    kind = kind.removesuffix("[]")
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = (
            FieldDescriptorProto.TYPE_ENUM if kind in _ENUMS else FieldDescriptorProto.TYPE_MESSAGE
        )
        field.type_name = f".{kind}"
    if oneof:
        names = [declared.name for declared in message.oneof_decl]
        if oneof not in names:
            message.oneof_decl.add(name=oneof)
            names.append(oneof)
        field.oneof_index = names.index(oneof)


def _fill_enum(enum: EnumDescriptorProto, name: str, values: str) -> None:
    enum.name = name
    for number, value in enumerate(values.split()):
        enum.value.add(name=value, number=number)


def _message_classes() -> dict[str, Any]:
    pool = DescriptorPool()
    pool.Add(_file("mvccpb"))
    pool.Add(_file("etcdserverpb", ("mvccpb.proto",)))
    return {name: GetMessageClass(pool.FindMessageTypeByName(name)) for name in _MESSAGES}


MESSAGES: dict[str, Any] = _message_classes()
"""Message classes by their full names."""


def _message(name: str) -> Any:
    return MESSAGES[f"etcdserverpb.{name}"]


RangeRequest = _message("RangeRequest")
PutRequest = _message("PutRequest")
DeleteRangeRequest = _message("DeleteRangeRequest")
RequestOp = _message("RequestOp")
Compare = _message("Compare")
TxnRequest = _message("TxnRequest")
CompactionRequest = _message("CompactionRequest")
WatchRequest = _message("WatchRequest")
WatchCreateRequest = _message("WatchCreateRequest")
LeaseGrantRequest = _message("LeaseGrantRequest")
LeaseRevokeRequest = _message("LeaseRevokeRequest")
LeaseKeepAliveRequest = _message("LeaseKeepAliveRequest")
LeaseTimeToLiveRequest = _message("LeaseTimeToLiveRequest")
AlarmRequest = _message("AlarmRequest")
StatusRequest = _message("StatusRequest")
DefragmentRequest = _message("DefragmentRequest")
SnapshotRequest = _message("SnapshotRequest")

DELETE_EVENT = 1
ALARM_NAMES = tuple(_ENUMS["etcdserverpb.AlarmType"].split())
ALARM_GET, ALARM_DEACTIVATE = 0, 2


class Kind(Enum):
    UNARY = auto()
    SERVER_STREAM = auto()
    BIDI_STREAM = auto()


@dataclass(frozen=True, slots=True)
class Method:
    """One rpc method: where it is, and how its messages are written and read."""

    path: str
    kind: Kind
    request: Any
    response: Any


def _method(path: str, request: str, response: str, kind: Kind = Kind.UNARY) -> Method:
    return Method(f"/etcdserverpb.{path}", kind, _message(request), _message(response))


RANGE = _method("KV/Range", "RangeRequest", "RangeResponse")
TXN = _method("KV/Txn", "TxnRequest", "TxnResponse")
COMPACT = _method("KV/Compact", "CompactionRequest", "CompactionResponse")
WATCH = _method("Watch/Watch", "WatchRequest", "WatchResponse", Kind.BIDI_STREAM)
LEASE_GRANT = _method("Lease/LeaseGrant", "LeaseGrantRequest", "LeaseGrantResponse")
LEASE_REVOKE = _method("Lease/LeaseRevoke", "LeaseRevokeRequest", "LeaseRevokeResponse")
LEASE_KEEP_ALIVE = _method(
    "Lease/LeaseKeepAlive", "LeaseKeepAliveRequest", "LeaseKeepAliveResponse", Kind.BIDI_STREAM
)
LEASE_TIME_TO_LIVE = _method(
    "Lease/LeaseTimeToLive", "LeaseTimeToLiveRequest", "LeaseTimeToLiveResponse"
)
ALARM = _method("Maintenance/Alarm", "AlarmRequest", "AlarmResponse")
STATUS = _method("Maintenance/Status", "StatusRequest", "StatusResponse")
DEFRAGMENT = _method("Maintenance/Defragment", "DefragmentRequest", "DefragmentResponse")
SNAPSHOT = _method(
    "Maintenance/Snapshot", "SnapshotRequest", "SnapshotResponse", Kind.SERVER_STREAM
)

METHODS = (
    RANGE,
    TXN,
    COMPACT,
    WATCH,
    LEASE_GRANT,
    LEASE_REVOKE,
    LEASE_KEEP_ALIVE,
    LEASE_TIME_TO_LIVE,
    ALARM,
    STATUS,
    DEFRAGMENT,
    SNAPSHOT,
)
