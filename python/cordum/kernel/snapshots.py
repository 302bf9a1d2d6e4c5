"""The active policy: one pointer to an immutable engine, swapped when new text compiles (policy spec §10).

A load that fails changes nothing. Before the first good load the engine denies everything.
"""

import asyncio
from collections import deque
from typing import Final, Literal

from cordum._core import PolicyEngine, PolicyError, diff_policies, run_policy_tests, validate_policy
from cordum.config.kernel import KernelSettings
from cordum.domain.errors import CordumError, InvalidInput, Unavailable
from cordum.domain.policy_problems import problem_text
from cordum.kernel.bundle_source import BundleSource
from cordum.kernel.decision_report import DecisionReport
from cordum.kernel.metrics import POLICY_INFO, REGEX_REJECTED, RELOADS, SCANNER_FILE_REFUSED
from cordum.kernel.signed_source import TextSource
from cordum.runtime.logs import get_logger
from cordum.runtime.scanner_file import ScannerFile

__all__ = ["LoadResult", "PolicyStore"]

LoadResult = Literal["ok", "unchanged", "error"]
HISTORY: Final = 10
TESTS_MAX_BYTES: Final = 1024 * 1024
"""Of a report of tests; one call to the kernel carries eight times as much."""
NO_TESTS: Final = b'{"passed":0,"failed":0,"cases":[]}'

_log = get_logger()


Sources = tuple[bytes | None, tuple[tuple[str, bytes], ...], bytes | None]
"""The base, if there is one, the bundles, and the scanner file, if there is one."""


class PolicyStore:
    """Holds the engine that answers now. Readers take ``engine`` once per call and keep it to the end."""

    def __init__(
        self,
        source: TextSource,
        bundles: BundleSource | None = None,
        *,
        settings: KernelSettings | None = None,
    ) -> None:
        self.engine: PolicyEngine = PolicyEngine.empty()
        self.is_loaded = False
        self.failure: CordumError | None = None
        """Why the last load failed; None after a good one."""
        self._source = source
        self._bundles = bundles
        self.waits_for_store = False
        """Whether the last load failed because Redis did not answer."""
        self.refused_bundles = False
        """Whether the last load failed although there were bundles to merge."""
        # In production bundles may hold denies, so that a base alone is not the policy.
        self._lone_base = settings is None or not settings.production
        self._tells_delegation = settings is not None and settings.delegation_policy_enabled
        self.report = DecisionReport("", {})
        """Reports decisions of the active policy."""
        self._output_confidence = settings.output_min_confidence if settings is not None else 0.5
        self._scanner_file = ScannerFile(settings.output_scanners_path) if settings is not None else None
        self._skip_malformed = settings is not None and settings.skip_malformed_bundles
        self._history: deque[str] = deque(maxlen=HISTORY)
        self._active: Sources | None = None
        self._refused: tuple[Sources, CordumError] | None = None

    @property
    def base(self) -> bytes | None:
        """The verified base document that decides now; None when there is none."""
        return self._active[0] if self._active is not None else None

    @property
    def base_name(self) -> str:
        """What to call the source of the base: a path or URL."""
        return self._source.name

    async def history(self) -> list[str]:
        """Return the snapshots that were active, newest first, ours before the others (policy spec §9)."""
        shared = await self._bundles.history() if self._bundles is not None else []
        return list(dict.fromkeys([*list(self._history)[:1], *shared, *self._history]))[:HISTORY]

    async def reload(self) -> LoadResult:
        """Read the sources, swap the engine when new text compiles; never raises for bad policy.

        The blocking parts run in a thread; calls must not overlap.
        """
        self.waits_for_store = self.refused_bundles = False
        try:
            bundles = await self._read_bundles()
            self.refused_bundles = bool(bundles)
            result = await asyncio.to_thread(self._load, bundles)
        except CordumError as error:
            if self.failure is None or self.failure.message != error.message:
                _log.error(
                    "policy load error", reason=error.message, hint=error.hint, active=self.engine.snapshot
                )
            self.failure = error
            RELOADS.labels("error").inc()
            return "error"
        self.failure, self.refused_bundles = None, False
        if result is None:
            RELOADS.labels("unchanged").inc()
            return "unchanged"
        self._swap(result)
        RELOADS.labels("ok").inc()
        if self._bundles is not None:
            await self._bundles.remember(result.snapshot)
        return "ok"

    def candidate(self, bundle_id: str, content: bytes) -> PolicyEngine:
        """Compile the sources that decide now with one of them replaced: a bundle, or the base when no id is given.

        Blocking. Raises PolicyError.
        """
        base, bundles, _ = self._active or (None, (), None)
        if not bundle_id:
            return self._compile(content, list(bundles))
        replaced = {**dict(bundles), bundle_id: content}
        return self._compile(base, sorted(replaced.items(), key=lambda item: item[0].encode()))

    def with_bundles(self, bundles: list[tuple[str, bytes]]) -> PolicyEngine:
        """Compile the base that decides now with other bundles. Blocking. Raises PolicyError."""
        base = self._active[0] if self._active is not None else None
        return self._compile(base, bundles) if base is not None or bundles else PolicyEngine.empty()

    def _compile(self, base: bytes | None, bundles: list[tuple[str, bytes]]) -> PolicyEngine:
        return self._compile_with(base, bundles, self._scanners)

    def _compile_with(
        self, base: bytes | None, bundles: list[tuple[str, bytes]], scanners: bytes | None
    ) -> PolicyEngine:
        return PolicyEngine.compile(base, bundles, self._tells_delegation, self._output_confidence, scanners)

    @property
    def _scanners(self) -> bytes | None:
        """The scanner file of the policy that decides now."""
        return self._active[2] if self._active is not None else None

    def tested(self, bundles: list[tuple[str, bytes]]) -> bytes:
        """Run the tests of the base that decides now and of other bundles against both; JSON. Blocking.

        Raises PolicyError.
        """
        base = self._active[0] if self._active is not None else None
        if base is None and not bundles:
            return NO_TESTS
        return run_policy_tests(base, bundles, max_bytes=TESTS_MAX_BYTES, scanners=self._scanners)

    def difference(self, bundles: list[tuple[str, bytes]]) -> bytes:
        """Return as JSON what would change if the base that decides now had other bundles. Blocking.

        Raises PolicyError.
        """
        base, active, scanners = self._active or (None, (), None)
        return diff_policies((base, list(active)), (base, bundles), scanners)

    async def _read_bundles(self) -> tuple[tuple[str, bytes], ...]:
        if self._bundles is None:
            return ()
        try:
            return tuple(await self._bundles.read())
        except Unavailable as error:
            # Bundles may hold denies: once they were read they are never dropped because Redis is away.
            if self._active is None and self._lone_base and self._source.exists():
                _log.warning("policy bundles not read, serving the base alone", reason=error.message)
                return ()
            if self._active is not None and not self._active[1] and self._lone_base:
                return ()
            self.waits_for_store = True
            raise
        except InvalidInput:
            self.refused_bundles = True
            raise

    def _load(self, bundles: tuple[tuple[str, bytes], ...]) -> PolicyEngine | None:
        """Return a new engine, or None when the sources are the active ones."""
        has_base = self._active is not None and self._active[0] is not None
        scanners = self._read_scanners()
        if self._skip_malformed:
            bundles = _well_formed(bundles, scanners)
        # A base that was there once does not just disappear; without one at the start the bundles are the policy.
        base = self._source.read() if has_base or not bundles or self._source.exists() else None
        sources = (base, bundles, scanners)
        if sources == self._active:
            self._refused = None
            return None
        if self._refused is not None and sources == self._refused[0]:
            raise self._refused[1]
        try:
            engine = self._compile_with(base, list(bundles), scanners)
        except PolicyError as error:
            REGEX_REJECTED.inc(sum(message.startswith("invalid pattern") for _, message, _ in error.errors))
            names_base = not all(path.startswith("bundle ") for path, _, _ in error.errors)
            where = f" in `{self._source.name}`" if names_base else ""
            refusal = InvalidInput(f"policy parse error{where}: {_reasons(error)}", code="policy_invalid")
            self._refused = (sources, refusal)
            raise refusal from error
        self._active, self._refused = sources, None
        return engine

    def _read_scanners(self) -> bytes | None:
        file = self._scanner_file
        if file is None:
            return None
        rejected = file.rejected_patterns
        content = file.read()
        REGEX_REJECTED.inc(file.rejected_patterns - rejected)
        SCANNER_FILE_REFUSED.set(file.is_refused)
        return content

    def _swap(self, engine: PolicyEngine) -> None:
        before, self.engine = self.engine, engine
        self.report = DecisionReport(engine.snapshot, engine.delegation_fields, engine.take_scope_counts)
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


def _well_formed(
    bundles: tuple[tuple[str, bytes], ...], scanners: bytes | None
) -> tuple[tuple[str, bytes], ...]:
    """Leave out bundles that do not validate, as `SAFETY_POLICY_MALFORMED_BUNDLE=skip` asks."""
    kept = []
    for name, content in bundles:
        problems = validate_policy(content, scanners)
        if problems:
            path, message, line = problems[0]
            _log.error(
                "policy parse error, bundle skipped",
                bundle=name,
                path=path,
                reason=message,
                line=line or None,
            )
        else:
            kept.append((name, content))
    return tuple(kept)


def _reasons(error: PolicyError) -> str:
    """Return the first five reasons with their place in the document."""
    reasons = [problem_text(problem) for problem in error.errors]
    shown = "; ".join(reasons[:5]) or str(error)
    return shown if len(reasons) <= 5 else f"{shown}; and {len(reasons) - 5} more"
