"""Credential records as read and written."""

from typing import Any

import pytest

from cordum.domain.errors import CordumError
from cordum.domain.worker_credentials import WorkerCredential
from cordum.store.config_documents import Document
from cordum.store.worker_credentials import CredentialSet

RECORD = {
    "worker_id": "gpu-7",
    "tenant_id": "acme",
    "credential_hash": "$argon2id$v=19$m=65536,t=3,p=1$c2FsdA$aGFzaA",
    "allowed_pools": ["vision"],
    "allowed_topics": ["job.vision.tag"],
    "pack_id": "",
    "agent_id": "",
    "created_by": "admin",
    "created_at": "2026-01-05T10:00:00Z",
    "revoked_at": "",
}


def test_the_stored_form_is_the_one_of_the_spec() -> None:
    assert WorkerCredential.read("gpu-7", RECORD).record() == RECORD


def test_lists_are_trimmed_sorted_and_without_doubles_and_a_missing_tenant_is_default() -> None:
    read = WorkerCredential.read("w", {"allowed_pools": [" b", "a", "b", ""]})
    assert (read.allowed_pools, read.tenant_id, read.created_by) == (("a", "b"), "default", "api")
    assert read.is_active


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        {**RECORD, "allowed_pools": "vision"},
        {**RECORD, "allowed_topics": [1]},
        {**RECORD, "credential_hash": 7},
        {**RECORD, "worker_id": "gpu-8"},
    ],
)
def test_a_damaged_record_is_no_credential_without_limits(record: Any) -> None:
    with pytest.raises(CordumError):
        WorkerCredential.read("gpu-7", record)
    found = CredentialSet.read(Document("system", "workers", {"gpu-7": record, "ok": {}}, 3))
    assert (list(found.by_worker), found.unreadable, found.revision) == (["ok"], ("gpu-7",), 3)
