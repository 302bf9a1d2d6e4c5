"""The document `cfg:system:workers`: worker id to credential (scheduler spec §19.2)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cordum.domain.errors import CordumError
from cordum.domain.worker_credentials import WorkerCredential
from cordum.store.config_documents import ConfigDocuments, Document

__all__ = ["WORKERS_DOCUMENT", "CredentialSet", "load_credentials"]

WORKERS_DOCUMENT: Final = ("system", "workers")


@dataclass(frozen=True, slots=True)
class CredentialSet:
    """All credentials of one revision. ``unreadable`` names records that are none; their workers have no credential."""

    by_worker: Mapping[str, WorkerCredential] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    revision: int = 0

    @classmethod
    def read(cls, document: Document | None) -> "CredentialSet":
        """Read a stored document, record by record."""
        if document is None:
            return cls()
        found: dict[str, WorkerCredential] = {}
        unreadable: list[str] = []
        for worker_id, record in document.data.items():
            try:
                found[worker_id] = WorkerCredential.read(worker_id, record)
            except CordumError:
                unreadable.append(worker_id)
        return cls(found, tuple(sorted(unreadable)), document.revision)


async def load_credentials(documents: ConfigDocuments) -> CredentialSet:
    """Return every credential. Raises Unavailable, CordumError when the stored text is no document."""
    return CredentialSet.read(await documents.get(*WORKERS_DOCUMENT))
