"""The topic registry, document `cfg:system:topics` (scheduler spec §19.5, packs spec §11)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cordum.domain.topics import seeded
from cordum.store.config_documents import ConfigDocuments, Document

__all__ = ["TOPICS", "is_unseeded", "seed_topics"]

TOPICS: Final = ("system", "topics")
SEEDED: Final = "seeded_from"


def is_unseeded(document: Document) -> bool:
    """Tell whether nothing was ever registered: then the topics of the pools section are taken over, once."""
    return not document.data and SEEDED not in document.meta


async def seed_topics(
    documents: ConfigDocuments, topics: Mapping[str, Sequence[str]], *, updated_at: str
) -> bool:
    """Register routed topics, given with their pools, where nothing was ever registered; tell whether that was now.

    Raises Conflict, CordumError when the document is none, Unavailable.
    """
    records = seeded(topics)
    document = await documents.get(*TOPICS)
    if not records or not is_unseeded(document or Document(*TOPICS)):
        return False
    written = False

    def take_over(current: Document) -> dict[str, Any] | None:
        nonlocal written
        written = is_unseeded(current)
        return records if written else None

    await documents.update(*TOPICS, take_over, updated_at=updated_at, meta={SEEDED: "pools"})
    return written
