"""Lists of jobs with filters and a cursor (gateway spec §8, §14.2)."""

from dataclasses import dataclass

from cordum.domain.states import TERMINAL_STATES, JobState
from cordum.store import keys
from cordum.store.index_walk import IndexWalk, Member
from cordum.store.jobs import JobStore, Record

__all__ = ["JobQuery", "list_jobs"]

_OPEN_STATES = frozenset(state.value for state in JobState if state not in TERMINAL_STATES)


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Filters of a job list; None means any. ``after_us``, ``before_us`` and ``cursor`` bound `updated_at`
    inclusively."""

    tenant: str | None = None
    state: str | None = None
    topic: str | None = None
    team: str | None = None
    trace_id: str | None = None
    after_us: int | None = None
    before_us: int | None = None
    limit: int = 50
    cursor: int | None = None
    was_held: bool = False
    """Only jobs that waited for a person at some time."""
    looked_at_max: int | None = None
    """A page that would need more records ends early."""

    def matches(self, record: Record) -> bool:
        """Tell whether a record passes the filters that an index does not answer."""
        wanted = (
            ("tenant", self.tenant),
            ("state", self.state),
            ("topic", self.topic),
            ("team", self.team),
            ("trace_id", self.trace_id),
        )
        if self.was_held and not record.get("approval_status"):
            return False
        return all(value is None or record.get(name, "") == value for name, value in wanted)

    @property
    def max_score(self) -> int | None:
        """Return the newest `updated_at` of this page."""
        bounds = [bound for bound in (self.cursor, self.before_us) if bound is not None]
        return min(bounds) if bounds else None


async def list_jobs(store: JobStore, query: JobQuery) -> tuple[list[Record], int | None]:
    """Return a page of records, newest first, and the cursor of the next page (None at the end).

    A page ends with a whole group of equal `updated_at`, so it may exceed the limits. Raises Unavailable.
    """
    if query.trace_id is not None:
        return await _list_trace(store, query)
    walk = IndexWalk(
        store.client,
        _indexes(store, query),
        max_score=query.max_score,
        min_score=query.after_us,
        page=query.limit,
    )
    page: list[Record] = []
    looked_at, last = 0, None
    while batch := await walk.next():
        records = await store.get_many([job_id for _, job_id in batch])
        for (score, _), record in zip(batch, records, strict=True):
            is_full = len(page) >= query.limit or looked_at >= (query.looked_at_max or looked_at + 1)
            if is_full and last is not None and score != last:
                return page, last - 1
            if record is not None and query.matches(record):
                page.append(record)
            looked_at, last = looked_at + 1, score
    return page, None


def _indexes(store: JobStore, query: JobQuery) -> list[str]:
    """Choose the smallest index: a non-terminal state is rarer than a tenant's history, a terminal one is
    not."""
    if query.state in _OPEN_STATES or (query.state and query.tenant is None):
        return [keys.job_index(tag, query.state) for tag in store.tags]
    if query.tenant is not None:
        return [keys.tenant_recent(query.tenant)]
    return [keys.job_recent(tag) for tag in store.tags]


async def _list_trace(store: JobStore, query: JobQuery) -> tuple[list[Record], int | None]:
    matching: list[tuple[Member, Record]] = []
    for record in await store.trace(query.trace_id or ""):
        score = int(record.get("updated_at", "0"))
        too_new = query.max_score is not None and score > query.max_score
        too_old = query.after_us is not None and score < query.after_us
        if query.matches(record) and not too_new and not too_old:
            matching.append(((score, record["id"]), record))
    matching.sort(key=lambda item: item[0], reverse=True)
    end = query.limit
    while 0 < end < len(matching) and matching[end][0][0] == matching[end - 1][0][0]:
        end += 1
    next_cursor = matching[end - 1][0][0] - 1 if 0 < end < len(matching) else None
    return [record for _, record in matching[:end]], next_cursor
