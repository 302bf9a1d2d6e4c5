"""Who serves what: the stored pools section and the topic registrations (scheduler spec §7, §19.5)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from cordum.config.files import StoredPools, stored_section
from cordum.domain.errors import CordumError
from cordum.domain.topics import registered
from cordum.store.config_documents import ConfigDocuments, Document
from cordum.store.topics import TOPICS

__all__ = ["SYSTEM", "Routing", "load_routing", "read_pools"]

SYSTEM: Final = ("system", "default")
_WILDCARDS: Final = re.compile(r"[*>]")

Pools = tuple[str, ...]


def read_pools(data: Mapping[str, Any]) -> StoredPools:
    """Return the pools section of the system document. Raises CordumError when it is none."""
    try:
        return stored_section(StoredPools, data.get("pools"))
    except ValidationError as error:
        raise CordumError("the stored pools section is invalid") from error


@dataclass(frozen=True, slots=True)
class Routing:
    """Topics with their pools, and the pools."""

    mapped: Mapping[str, Pools]
    registered: Mapping[str, Pools]
    """Pools of the registrations of each topic, of all tenants."""
    pools: Mapping[str, Mapping[str, Any]]
    """What is said of each pool; one that only topics name exists as well."""

    @classmethod
    def of(cls, system: Mapping[str, Any], topics: Mapping[str, Any]) -> "Routing":
        """Read the data of `cfg:system:default` and `cfg:system:topics`. Raises CordumError."""
        section = read_pools(system)
        named: dict[str, Pools] = {}
        for topic in registered(topics):
            pools = named.get(topic.name, ())
            named[topic.name] = (*pools, topic.pool) if topic.pool else pools
        entries = {
            name: entry.model_dump(mode="json", exclude_unset=True) for name, entry in section.pools.items()
        }
        for name in (name for target in section.topics.values() for name in target):
            entries.setdefault(name, {})
        return cls(section.topics, named, entries)

    def knows(self, topic: str) -> bool:
        """Tell whether a topic exists; a pattern stands for topics that may come later and is always fine."""
        return topic in self.mapped or topic in self.registered or _WILDCARDS.search(topic) is not None

    def _served(self) -> Iterable[tuple[str, Pools]]:
        """Topics with the pools that serve them: a mapping counts before registrations."""
        yield from self.mapped.items()
        for topic, pools in self.registered.items():
            if topic not in self.mapped:
                yield topic, pools

    def topics_of(self, pool: str) -> list[str]:
        """Return the topics a pool serves, sorted."""
        return sorted({topic for topic, pools in self._served() if pool in pools})

    def pools_of_ready(self, ready_topics: Iterable[str]) -> frozenset[str]:
        """Return the pools of a worker that names none: those of the topics it is ready for."""
        ready = list(ready_topics)
        return frozenset(
            pool
            for topic, pools in self._served()
            if any(_covers(pattern, topic) for pattern in ready)
            for pool in pools
        )


async def load_routing(documents: ConfigDocuments) -> Routing:
    """Return what is routed now. Raises Unavailable, CordumError when a stored text is no document."""
    system, topics = await documents.get_many((SYSTEM, TOPICS))
    if not isinstance(system, Document):
        raise system
    if not isinstance(topics, Document):
        raise topics
    return Routing.of(system.data, topics.data)


def _covers(pattern: str, topic: str) -> bool:
    """Tell whether a ready topic stands for a topic: the same, or a subject pattern that matches it."""
    if pattern == topic:
        return True
    wanted, given = pattern.split("."), topic.split(".")
    for position, word in enumerate(wanted):
        if word == ">":
            return len(given) > position
        if position >= len(given) or word not in {"*", given[position]}:
            return False
    return len(wanted) == len(given)
