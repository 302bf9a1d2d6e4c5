"""Our codec and the installed package agree on every field (protocol spec §19, §24 item 13)."""

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from cordum._core import Planner, request_from_json, request_hash, request_to_json
from cordum.protocol.cap import (
    BusPacket,
    JobRequest,
    JobResult,
    buspacket_pb2,
    handshake_pb2,
    heartbeat_pb2,
    job_pb2,
    safety_pb2,
)
from cordum.v1 import output_policy_pb2, safety_batch_pb2
from tests.conformance.filling import fill

_FOLDER = Path(__file__).parents[2] / "rust" / "wire" / "src"
_SOURCE = "".join(path.read_text() for path in sorted(_FOLDER.glob("*messages.rs")))
_MODULES = (
    buspacket_pb2,
    handshake_pb2,
    heartbeat_pb2,
    job_pb2,
    safety_pb2,
    safety_batch_pb2,
    output_policy_pb2,
)
_STRUCT = re.compile(r"^pub struct (\w+) \{\n(.*?)^\}", re.M | re.S)
_ENUM = re.compile(r"Enumeration\)\]\n#\[repr\(i32\)\]\npub enum (\w+) \{\n(.*?)^\}", re.M | re.S)
_FIELD = re.compile(r"#\[prost\(([^\]]*?)\)\]\s*pub (?:r#)?(\w+):", re.S)
_PAYLOAD = re.compile(r'#\[prost\(message, tag = "(\d+)"\)\]\s*(\w+)\(')
# Progress is only read and never passed on; how many rules a policy has is filled in by the kernel service.
_NOT_MODELLED = {"JobProgress": {10, 11}, "BatchResponse": {3}}
_KINDS = {
    "string": FieldDescriptor.TYPE_STRING,
    "bytes": FieldDescriptor.TYPE_BYTES,
    "int32": FieldDescriptor.TYPE_INT32,
    "int64": FieldDescriptor.TYPE_INT64,
    "uint32": FieldDescriptor.TYPE_UINT32,
    "uint64": FieldDescriptor.TYPE_UINT64,
    "bool": FieldDescriptor.TYPE_BOOL,
    "float": FieldDescriptor.TYPE_FLOAT,
    "double": FieldDescriptor.TYPE_DOUBLE,
    "message": FieldDescriptor.TYPE_MESSAGE,
    "btree_map": FieldDescriptor.TYPE_MESSAGE,
    "enumeration": FieldDescriptor.TYPE_ENUM,
}
# An open enum is the same on the wire as an int32, and keeps numbers this build does not know.
_SAME_ON_THE_WIRE = {FieldDescriptor.TYPE_ENUM: FieldDescriptor.TYPE_INT32}


def _found(pattern: re.Pattern[str]) -> list[ParameterSet]:
    return [pytest.param(name, body, id=name) for name, body in pattern.findall(_SOURCE)]


def _described(name: str) -> Any:
    if name == "Timestamp":
        return Timestamp.DESCRIPTOR
    return next(
        module.DESCRIPTOR.message_types_by_name[name]
        for module in _MODULES
        if name in module.DESCRIPTOR.message_types_by_name
    )


def _enum(name: str) -> Any:
    return next(
        module.DESCRIPTOR.enum_types_by_name[name]
        for module in _MODULES
        if name in module.DESCRIPTOR.enum_types_by_name
    )


def _native_fields(body: str) -> dict[int, tuple[str, int, bool]]:
    """Field number → name, wire type, repeated, as the native structs declare them (oneofs left out)."""
    fields: dict[int, tuple[str, int, bool]] = {}
    for attributes, name in _FIELD.findall(body):
        tag = re.search(r'(?<!\w)tag = "(\d+)"', attributes)
        if tag is not None:
            kind = _KINDS[re.split(r"[ ,=(]", attributes.strip(), maxsplit=1)[0]]
            many = "repeated" in attributes or "map" in attributes
            fields[int(tag.group(1))] = (name, _SAME_ON_THE_WIRE.get(kind, kind), many)
    return fields


def _published_fields(descriptor: Any) -> dict[int, tuple[str, int, bool]]:
    return {
        field.number: (field.name, _SAME_ON_THE_WIRE.get(field.type, field.type), field.is_repeated)
        for field in descriptor.fields
        if field.containing_oneof is None or len(field.containing_oneof.fields) == 1
    }


@pytest.mark.parametrize(("name", "body"), _found(_STRUCT))
def test_native_messages_have_the_published_field_numbers_and_types(name: str, body: str) -> None:
    native, published = _native_fields(body), _published_fields(_described(name))
    assert {number: native[number] for number in native} == {
        number: published.get(number) for number in native
    }
    assert set(published) - set(native) == _NOT_MODELLED.get(name, set())


@pytest.mark.parametrize(("name", "body"), _found(_ENUM))
def test_native_enums_have_the_published_numbers(name: str, body: str) -> None:
    native = sorted(int(number) for number in re.findall(r"= (\d+),", body))
    assert native == sorted(value.number for value in _enum(name).values)


def test_the_native_payloads_have_the_published_numbers() -> None:
    native = {kind: int(number) for number, kind in _PAYLOAD.findall(_SOURCE)}
    payload = BusPacket.DESCRIPTOR.oneofs_by_name["payload"]
    published = {field.message_type.name: field.number for field in payload.fields}
    assert native
    assert native.items() <= published.items()


def _request() -> JobRequest:
    request = fill(JobRequest())
    assert isinstance(request, JobRequest)
    return request


def _canonical_hash(request: JobRequest) -> str:
    """Protocol spec §19, written down a second time."""
    clone = JobRequest.FromString(request.SerializeToString())
    clone.DiscardUnknownFields()
    clone.ClearField("dispatch")
    for key in list(clone.labels):
        if key.lower().startswith("approval_") or key in {"cordum.bus_msg_id", "policy.attachment_id"}:
            del clone.labels[key]
    clone.env.pop("CORDUM_EFFECTIVE_CONFIG", None)
    return hashlib.sha256(clone.SerializeToString(deterministic=True)).hexdigest()


def test_a_full_request_survives_its_stored_form_in_both_directions() -> None:
    request = _request()
    encoded = request.SerializeToString(deterministic=True)
    stored = request_to_json(encoded)
    assert json_format.Parse(stored, JobRequest()) == request
    assert request_from_json(stored) == encoded
    assert request_from_json(json_format.MessageToJson(request).encode()) == encoded


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"team": ""},
        {"": "x"},
        {"": ""},
        {"approval_granted": "true", "APPROVAL_Note": "n", "approval": "kept"},
        {"cordum.bus_msg_id": "approval:j", "policy.attachment_id": "a", "Cordum.bus_msg_id": "kept"},
        {"b": "2", "a": "1", "Ä": "ö"},
    ],
)
def test_the_request_hash_is_the_one_of_the_specification(labels: dict[str, str]) -> None:
    request = _request()
    request.labels.clear()
    request.labels.update(labels)
    request.env["CORDUM_EFFECTIVE_CONFIG"] = "{}"
    encoded = request.SerializeToString()
    assert request_hash(encoded) == _canonical_hash(request)
    assert request_hash(request_from_json(request_to_json(encoded))) == _canonical_hash(request)


def test_fields_a_newer_sender_adds_do_not_change_the_hash() -> None:
    request = _request()
    newer = request.SerializeToString() + b"\xca\x3e\x03new"
    assert request_hash(newer) == _canonical_hash(request)


def test_a_full_result_is_passed_on_as_it_came() -> None:
    result = fill(JobResult())
    assert isinstance(result, JobResult)
    result.status, result.result_ptr = 5, f"redis://res:{result.job_id}"
    packet = BusPacket(trace_id="t", sender_id=result.worker_id, protocol_version=1, job_result=result)
    plan = Planner("test", 4).plan_results([packet.SerializeToString()], 1)
    plan.supply([{"id": result.job_id, "state": "DISPATCHED", "rev": "2"} for _ in plan.reads()])
    assert len(plan.commits(1)) == 1
    moved: list[bytes | int] = [
        b"moved",
        b"SUCCEEDED",
        3,
        1,
        b"job.a",
        b"default",
        b"DISPATCHED",
        1,
        b"w",
        b"p",
    ]
    effects = plan.apply([moved], 2)
    passed_on = BusPacket.FromString(effects.events[0][1])
    assert passed_on.job_result == result
    assert passed_on.trace_id == "t"
