"""The stored form of a request equals protobuf's own JSON mapping."""

from typing import Any

import orjson
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from cordum._core import request_from_json, request_hash, request_to_json
from cordum.protocol.cap import JobRequest

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
LABELS = st.dictionaries(TEXT, TEXT, max_size=4)


@st.composite
def requests(draw: st.DrawFn) -> Any:
    """Build requests that touch every kind of field."""
    request = JobRequest(
        job_id=draw(TEXT),
        topic=draw(TEXT),
        priority=draw(st.integers(0, 5)),
        env=draw(LABELS),
        labels=draw(LABELS),
        step_index=draw(st.integers(-(2**31), 2**31 - 1)),
    )
    if draw(st.booleans()):
        request.budget.deadline_ms = draw(st.integers(-(2**63), 2**63 - 1))
    if draw(st.booleans()):
        request.meta.actor_type = draw(st.integers(0, 3))
        request.meta.risk_tags.extend(draw(st.lists(TEXT, max_size=3)))
    if draw(st.booleans()):
        request.compensation.topic = draw(TEXT)
        request.compensation.meta.labels.update(draw(LABELS))
    if draw(st.booleans()):
        request.dispatch.attempt = draw(st.integers(0, 2**64 - 1))
        request.context_hints.allow_retrieval = draw(st.booleans())
    if draw(st.booleans()):
        request.context_ref.sha256 = draw(st.binary(max_size=33))
        request.context_ref.expires_at.FromMicroseconds(draw(st.integers(0, 4_000_000_000_000_000)))
    return request


@given(requests())
def test_the_stored_form_is_protobufs_json_with_every_field(request: Any) -> None:
    stored = request_to_json(request.SerializeToString())
    expected = json_format.MessageToDict(request, always_print_fields_with_no_presence=True)
    assert orjson.loads(stored) == expected


@given(requests())
def test_a_request_survives_storage_with_its_hash(request: Any) -> None:
    encoded = request.SerializeToString(deterministic=True)
    again = request_from_json(request_to_json(encoded))
    assert JobRequest.FromString(again) == request
    assert request_hash(again) == request_hash(encoded)


def test_text_that_is_not_a_request_names_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="not JSON"):
        request_from_json(b"{")
    with pytest.raises(ValueError, match="`labels`: expected a map of strings"):
        request_from_json(b'{"labels":[]}')
