"""Which pools and topics there are, from the stored documents (configuration spec §5.1, scheduler spec §19.5)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cordum.domain.errors import CordumError
from cordum.store.config_documents import ConfigDocuments, Document

__all__ = ["Routing", "load_routing"]

_DOCUMENTS: Final = (("system", "default"), ("system", "topics"))
_WILDCARDS: Final = re.compile(r"[*>]")


@dataclass(frozen=True, slots=True)
class Routing:
    """Names of pools and topics."""

    pools: frozenset[str]
    topics: frozenset[str]

    def knows(self, topic: str) -> bool:
        """Tell whether a topic exists; a pattern stands for topics that may come later and is always fine."""
        return topic in self.topics or _WILDCARDS.search(topic) is not None


async def load_routing(documents: ConfigDocuments) -> Routing:
    """Return what is routed now. Raises Unavailable, CordumError when a stored text is no document."""
    default, registered = await documents.get_many(_DOCUMENTS)
    for document in (default, registered):
        if isinstance(document, CordumError):
            raise document
    routed = _member(default, "pools")
    mapped = _mapping(routed.get("topics"))
    pools = set(_mapping(routed.get("pools")))
    topics = set(mapped)
    for names in mapped.values():
        pools |= _texts(names)
    for record in _data(registered).values():
        entry = _mapping(record)
        topics |= _texts(entry.get("name"))
        pools |= _texts(entry.get("pool"))
    return Routing(frozenset(pools), frozenset(topics))


def _data(document: Document | CordumError) -> Mapping[str, object]:
    return document.data if isinstance(document, Document) else {}


def _member(document: Document | CordumError, name: str) -> Mapping[str, object]:
    return _mapping(_data(document).get(name))


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _texts(value: object) -> set[str]:
    items = value if isinstance(value, list) else [value]
    return {item for item in items if isinstance(item, str) and item}
