"""The active policy: one pointer to an immutable engine, swapped when new text compiles (policy spec §10).

A load that fails changes nothing. Before the first good load the engine denies everything.
"""

import asyncio
from collections import deque
from typing import Final, Literal

from cordum._core import PolicyEngine, PolicyError
from cordum.domain.errors import CordumError, InvalidInput
from cordum.kernel.metrics import POLICY_INFO, RELOADS
from cordum.kernel.signed_source import TextSource
from cordum.runtime.logs import get_logger

__all__ = ["LoadResult", "PolicyStore"]

LoadResult = Literal["ok", "unchanged", "error"]
HISTORY: Final = 10

_log = get_logger()


class PolicyStore:
    """Holds the engine that answers now. Readers take ``engine`` once per call and keep it to the end."""

    def __init__(self, source: TextSource) -> None:
        self.engine: PolicyEngine = PolicyEngine.empty()
        self.is_loaded = False
        self.failure: CordumError | None = None
        """Why the last load failed; None after a good one."""
        self._source = source
        self._history: deque[str] = deque(maxlen=HISTORY)
        self._active: bytes | None = None
        self._refused: tuple[bytes, CordumError] | None = None

    @property
    def history(self) -> list[str]:
        """Snapshots this process has served, the active one first."""
        return list(self._history)

    async def reload(self) -> LoadResult:
        """Read the source, swap the engine when new text compiles; never raises for bad policy.

        The blocking parts run in a thread; calls must not overlap.
        """
        try:
            result = await asyncio.to_thread(self._load)
        except CordumError as error:
            if self.failure is None or self.failure.message != error.message:
                _log.error(
                    "policy load error", reason=error.message, hint=error.hint, active=self.engine.snapshot
                )
            self.failure = error
            RELOADS.labels("error").inc()
            return "error"
        self.failure = None
        if result is None:
            RELOADS.labels("unchanged").inc()
            return "unchanged"
        self._swap(result)
        RELOADS.labels("ok").inc()
        return "ok"

    def candidate(self, bundle_id: str, content: bytes) -> PolicyEngine:
        """Compile the sources that decide now with one of them replaced: a bundle, or the base when no id is given.

        Blocking. Raises PolicyError.
        """
        if not bundle_id:
            return PolicyEngine.compile(content)
        return PolicyEngine.compile(self._active, [(bundle_id, content)])

    def _load(self) -> PolicyEngine | None:
        """Return a new engine, or None when the text is the active one."""
        text = self._source.read()
        if text == self._active:
            self._refused = None
            return None
        if self._refused is not None and text == self._refused[0]:
            raise self._refused[1]
        try:
            engine = PolicyEngine.compile(text)
        except PolicyError as error:
            refusal = InvalidInput(
                f"policy parse error in `{self._source.name}`: {_reasons(error)}", code="policy_invalid"
            )
            self._refused = (text, refusal)
            raise refusal from error
        self._active, self._refused = text, None
        return engine

    def _swap(self, engine: PolicyEngine) -> None:
        before, self.engine = self.engine, engine
        self.is_loaded = True
        if before.snapshot:
            POLICY_INFO.remove(before.snapshot)
        POLICY_INFO.labels(engine.snapshot).set(1)
        if engine.snapshot in self._history:
            self._history.remove(engine.snapshot)
        self._history.appendleft(engine.snapshot)
        _log.info("policy active", snapshot=engine.snapshot, rules=engine.rule_count, before=before.snapshot)
        for warning in engine.warnings:
            _log.warning("policy warning", reason=warning)


def _reasons(error: PolicyError) -> str:
    """Return the first five reasons with their place in the document."""
    reasons = [f"{path}: {message}" if path else message for path, message in error.errors]
    shown = "; ".join(reasons[:5]) or str(error)
    return shown if len(reasons) <= 5 else f"{shown}; and {len(reasons) - 5} more"
