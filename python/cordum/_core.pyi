"""Native engines (crate ``rust/python``). Bytes in and out, one call per batch, the GIL released while
working."""

from collections.abc import Mapping, Sequence

__version__: str
build_profile: str

def job_partition(job_id: str, partitions: int) -> int:
    """Return CRC-32 of ``job_id`` modulo ``partitions`` (scheduler spec §30)."""

def request_hash(job_request: bytes) -> str:
    """Return the canonical hash of a serialized ``JobRequest`` (protocol spec §19); raises ValueError when
    it does not decode."""

class PacketSealer:
    """Adds the token and the signature of a service to its packets; packets of trust handshakes stay as they are."""

    def __new__(cls, private_key: bytes | None = None, sender: tuple[str, str] | None = None) -> PacketSealer:
        """``private_key``: P-256 in PKCS #8; ``sender``: the sender id to replace, and by what. Raises ValueError."""

    def seal(self, packets: list[bytes], token: str) -> list[bytes]:
        """Without a key packets stay unsigned, an empty token is left out. Raises ValueError when signing fails."""

def packet_claims(packets: list[bytes]) -> list[tuple[str, str, str, str, str, str, str]]:
    """What packets say about their senders: kind, sender, worker, job, tenant of a request or pool of a heartbeat,
    session token, credential token.

    Kinds are `heartbeat`, `handshake` (of a worker), `result`, `progress`, `request`, `cancel`; else empty.
    """

def publish_frames(
    messages: list[tuple[str, bytes, str | None, Mapping[str, str] | None]],
    reply_prefix: str = "",
    batch_id: str = "",
) -> tuple[list[bytes], list[int]]:
    """Frames of messages (subject, payload, message id, headers) in chunks for the socket, and the indexes of those
    whose subject or reply is not one printable word: they have no frame.

    ``reply_prefix`` and a message's index are its reply subject. ``batch_id`` makes all of them the first of one
    atomic batch.
    """

def delivered_messages(
    buffer: bytes,
) -> tuple[list[tuple[int, bytes, bytes, bytes, bytes | None, tuple[int, int, int] | None]], int, int]:
    """Whole messages a buffer begins with as (subscription, subject, reply, payload, headers, position), their bytes in
    all, and how many bytes the message after them has at least: 0 when nothing or something else follows.

    The position of what a durable consumer delivered: deliveries so far, sequence in the stream, Unix time in µs.
    """

def pack_commands(commands: list[tuple[str | bytes | float, ...]]) -> bytes:
    """Return redis commands of str, bytes, int and float as they go over the wire (RESP), all in one buffer.

    Raises TypeError for anything else in them.
    """

def request_to_store(text: bytes) -> bytes:
    """Return the stored form of a request given in protojson, without its job id; what is none is returned as it is."""

def stored_requests_json(rows: list[tuple[str, bytes | None]]) -> list[bytes | None]:
    """Return the protojson of requests as the store keeps them, given with their job ids; of a damaged one what is
    stored."""

def stored_event_json(job_id: str, entry: bytes, record: Mapping[str, str]) -> str | None:
    """Return the JSON of an event list entry, None when it is in no binary form; ``record`` has the job's `topic`,
    `principal`, `actor_id`, `capability`, `risk_tags`, `worker_id` (scheduler spec §3.3)."""

def request_to_json(job_request: bytes) -> bytes:
    """Return the protojson of a serialized ``JobRequest`` with every field; raises ValueError."""

def request_from_json(text: bytes) -> bytes:
    """Return the canonically serialized ``JobRequest`` of stored protojson; raises ValueError naming the
    field."""

class Schema:
    """A compiled JSON Schema, drafts 4 to 2020-12. Nothing is ever fetched for it."""

    @staticmethod
    def compile(text: bytes, documents: list[tuple[str, bytes]]) -> Schema:
        """Compile a schema with the documents it may refer to, by URL.

        Raises ValueError("invalid", detail), or ValueError("missing", url) for a document that was not given.
        """

class Boundary:
    """Topic registrations, their input schemas and what a bad payload means, as one immutable snapshot."""

    def __new__(cls, mode: str, registrations: bytes | None, schemas: dict[str, Schema | str]) -> Boundary:
        """``mode`` is `off`, `warn` or `enforce`; ``registrations`` the JSON data of `cfg:system:topics`, None while it
        was never read; a schema that is none is `not_found`, `invalid` or `unavailable`. Raises ValueError."""

class Planner:
    """Routing, time-outs and the worker table of one scheduler process; makes the plans of its batches."""

    def __new__(cls, instance: str, partitions: int) -> Planner: ...
    def configure(self, document: bytes, boundary: Boundary | None = None) -> None:
        """Swap routing and time-outs; ``document`` is JSON with topics, pools, timeouts. Raises ValueError.

        ``boundary`` holds the topic registrations; without one topics are not checked.
        """

    def set_replicas(self, count: int) -> None: ...
    def presence(
        self,
        packets: list[bytes],
        now_us: int,
        proofs: list[tuple[list[str], list[str]] | None] | None = None,
        telemetry: list[bool] | None = None,
    ) -> tuple[
        list[tuple[str, str, bool]],
        list[tuple[str, list[str]]],
        list[tuple[str, list[str], str]],
        list[int],
        dict[str, str],
    ]:
        """Apply heartbeat and handshake packets.

        Returns capacities (pool, worker id, came online), heartbeats taken (worker id, its pools), handshakes (worker
        id, ready topics, sdk version) and the positions of unusable packets. ``telemetry`` marks packets that only
        inform of a worker, because they show no session where sessions decide who lives.
        """

    def set_sessions(
        self, live: list[tuple[str, int]], whole: bool, now_us: int
    ) -> list[tuple[str, str, bool]]:
        """Note until when (µs) sessions of workers are known to be live; ``whole``: all others are not. Return
        capacities as `presence` does."""

    def disagreements(self, now_us: int) -> list[tuple[str, str]]:
        """Return (worker id, direction) of workers whose session and heartbeats disagree."""

    def authenticate(
        self, worker_id: str, pools: list[str], topics: list[str], ready_topics: list[str], now_us: int
    ) -> tuple[list[tuple[str, str, bool]], list[str]]:
        """Apply an authenticated handshake; return capacities as `presence` does, and the topics that count."""

    def take_refused(self) -> list[str]:
        """Return the workers that the licence refused since the last call."""

    def take_misnamed(self) -> list[tuple[str, str]]:
        """Return (sender, worker named) of heartbeats and handshakes that name another one since the last call."""

    def worker_ages(self, now_us: int) -> list[tuple[str, float]]:
        """Return (worker id, seconds since its last sign of life)."""

    def is_live_pool(self, pool: str) -> bool:
        """Tell whether the routing table knows the pool and it is not inactive."""

    def attested_workers(self, now_us: int) -> list[str]:
        """Workers that proved who they are within their time to live."""

    def unattested(self, ids: list[str], now_us: int) -> list[str]:
        """Those of ``ids`` that did not."""

    def withdraw(self, worker_id: str) -> None:
        """Forget what a worker proved; its limits stay."""

    def limit_worker(self, worker_id: str, pools: list[str], topics: list[str]) -> None:
        """Take over the limits of a changed credential; an empty list is no limit."""

    def lacking_topics(self, ids: list[str]) -> list[str]: ...
    def remember_topics(self, worker_id: str, topics: list[str]) -> None: ...
    def expire(self, now_us: int) -> list[str]: ...
    def worker_entries(self, now_us: int) -> bytes: ...
    def overview(self, now_us: int) -> bytes:
        """Return pools with workers and topics with a pool as the snapshot document shows them (JSON object)."""

    def restore_workers(self, entries: bytes, elapsed_us: int, now_us: int) -> None: ...
    def alive(self, worker_id: str, pool: str, now_us: int) -> bool: ...
    def room(self, pool: str) -> int: ...
    def looked_at_line(self, pool: str, front: int | None) -> None:
        """Note the place of whoever is first in a pool's line; None when nobody waits."""

    def route_delay_us(self, failures: int, seed: int) -> int:
        """Return the delay of the attempt after so many routing failures, in µs."""

    def pools_of(self, topic: str) -> list[str]: ...
    def running_timeout_us(self, topic: str) -> int: ...
    def metric_topic(self, topic: str) -> str: ...
    def retry_scope(self, fields: dict[str, str]) -> tuple[str, str, str, str] | None:
        """Return the scope whose configuration may hold the retry budget of a record; None: the budget is known."""

    def retry_plan(self, fields: dict[str, str], limit: int | None, seed: int) -> tuple[str, int]:
        """Return `again` and the delay, `engine` and its time-out, both in µs, or `exhausted` and 0, for a job whose
        attempt was lost. ``limit`` is `retry.max_retries` of its configuration."""

    def take_running(self, now_us: int) -> list[tuple[int, list[bytes], list[str]]]:
        """Return packed changes, per partition, of dispatched jobs that heartbeats since the last call show to run."""

    def rebuild_dispatch(
        self, fields: dict[str, str], request: bytes, config: str, now_us: int
    ) -> tuple[tuple[str, bytes, str, str], str | None]:
        """Return the dispatch and, when the configuration travels by pointer, the key to store it under first."""

    def plan_submit(
        self, messages: list[bytes], delivered: list[int], due: list[str], seed: int
    ) -> SubmitPlan: ...
    def plan_results(self, messages: list[bytes], seed: int) -> ResultPlan: ...
    def plan_stored_results(self, rows: list[tuple[dict[str, str], str]], seed: int) -> ResultPlan:
        """Return the plan of results kept with their jobs: (record, serialized `JobResult` in base64)."""

def config_scope(request_json: bytes) -> tuple[str, str, str, str]:
    """Return (tenant, team, workflow, step) whose configuration applies to a stored request. Raises ValueError."""

def policy_check(request_json: bytes, payload: tuple[bytes, int] | None, config: bytes) -> bytes:
    """Return the serialized `PolicyCheckRequest` of a stored request, its payload (first bytes, full length)
    and its effective configuration.

    Raises ValueError when the text is not a request."""

class SubmitPlan:
    """One batch of submits and due retries: reads → creates → policy → reservations → commits → effects."""

    def reads(self) -> list[str]: ...
    def supply(self, rows: list[tuple[dict[str, str] | None, bytes | None]], now_us: int) -> None: ...
    def creates(self, now_us: int) -> list[tuple[int, int, bytes, str, str, str]]:
        """Return records to create first: (item, partition, packed change, tenant, job id, trace id)."""

    def created(self, outcomes: list[tuple[int, bool]], now_us: int) -> None: ...
    def admit(self) -> list[tuple[str, str, str, str, str, bool, list[tuple[str, str]]]]:
        """Check topics, and schemas as far as no payload is needed: jobs that do not pass fail.

        Return what is to be told: (job id, tenant, topic, schema id, code, whether the job fails, violations). Call
        it once, before policy is asked.
        """

    def unchecked(self) -> list[tuple[int, str]]:
        """Payloads to be read for their schema: (item, key)."""

    def check_payloads(
        self, payloads: list[tuple[int, tuple[bytes, int] | None]]
    ) -> list[tuple[str, str, str, str, str, bool, list[tuple[str, str]]]]:
        """Check payloads, given as (item, first bytes and full length); None when the key is gone. As `admit`."""

    def config_scopes(self) -> list[tuple[str, str, str, str]]:
        """Distinct (tenant, team, workflow, step) of the jobs to be judged."""

    def supply_configs(self, configs: list[tuple[str, bytes]]) -> None:
        """Supply (JSON for the worker, JSON for policy) in the order of `config_scopes`."""

    def policy_requests(self) -> list[bytes]: ...
    def claims_approval(self) -> bool: ...
    def judge_approved(self, current: str) -> list[tuple[str, str, str, str, str, str]]:
        """Settle what stored approvals settle under the policy ``current`` (empty: unknown, those jobs wait).

        Return those that do not count: (cause, job id, tenant, topic, stored snapshot, asserted snapshot). Call it
        once, before the policy requests.
        """

    def expect_content(self, topics: set[str]) -> None: ...
    def content_keys(self) -> list[tuple[int, str]]: ...
    def supply_content(self, payloads: list[tuple[int, tuple[bytes, int] | None]]) -> None: ...
    def content_topics(self) -> list[str]: ...
    @property
    def snapshot(self) -> str: ...
    def is_undecided(self) -> bool: ...
    def give_up(self, reason: str, outage: bool) -> None:
        """Leave every undecided job without an answer; only after an ``outage`` a fail mode may admit it."""

    def bypassable(self) -> list[str]: ...
    def bypass(self, tenants: list[str]) -> None: ...
    def decide(self, answers: list[bytes | None], reason: str = "") -> bool:
        """Supply the answers of the last `policy_requests`; tell whether the kernel is well."""

    def reservations(self, now_us: int) -> list[tuple[str, int, list[str]]]:
        """Return (tenant, limit, job ids) in the order in which slots are given."""

    def refused(self, ids: list[str]) -> None: ...
    def commits(self, entropy: bytes, now_us: int) -> list[tuple[int, list[bytes]]]: ...
    def admissions(self) -> list[tuple[str, str, bool, bool]]:
        """Return (tenant, job id, open, active) of the planned dispatches, to be written in the same step as
        the commits."""

    def apply(self, replies: list[list[bytes | int]], now_us: int) -> SubmitEffects: ...
    def verdicts(self) -> list[tuple[int, float]]: ...
    def invalid(self) -> list[tuple[int, str]]:
        """Return (position, reason) of the messages that break a rule of the protocol."""

    def trace(self, position: int, context: str) -> None:
        """Keep the W3C trace headers of the message at a position with its job."""

    def job_of(self, position: int) -> str:
        """Return the job of a message; empty when it is not part of the plan."""

    def reports(self) -> list[tuple[str, str, str, str, str]]:
        """Return forged or conflicting submits, once: (kind, job id, tenant, topic, sender)."""

    def owed(self) -> list[str]:
        """Return ended jobs submitted again whose dead-letter event is still owed."""

    def strays(self) -> list[str]:
        """Return due entries of jobs that wait for nothing."""

class SubmitEffects:
    """What follows from a committed submit batch."""

    dispatches: list[tuple[str, bytes, str, str]]
    events: list[tuple[str, bytes, str, str]]
    tenants: list[tuple[str, str, bool, bool]]
    touched: list[tuple[str, str]]
    """(tenant, job id) of all jobs that changed, but for the dispatched ones."""
    dead_letters: list[tuple[str, str]]
    assignments: list[tuple[str, str]]
    duties: list[tuple[str, int]]
    waiting: list[str]
    counts: list[tuple[str, str]]
    arrivals: list[tuple[str, int]]
    contested: list[tuple[str, str]]
    """(tenant, job id) of admitted jobs that somebody else moved first: read their state before listing them."""
    bypassed: list[tuple[str, str, str, str]]
    """(job id, tenant, topic label, reason) of jobs that run without a policy answer."""
    released: list[tuple[str, str]]
    """(tenant, job id) of jobs that got a slot of their tenant and wait all the same."""
    undo: list[tuple[str, str, int, int]]
    """Per dispatch (job id, topic label, routing failures since the last confirmed one, revision that names it)."""
    configs: list[tuple[str, str, str]]
    """(key, job id, JSON) to store before the dispatch of the job, which points to it, is published."""
    traces: list[tuple[str, str]]
    """(job id, W3C trace headers) of dispatches that carry some, see `cordum.bus.messages.trace_headers`."""

class ResultPlan:
    """One batch of results: reads → commits → effects."""

    def reads(self) -> list[str]: ...
    def supply(self, records: list[dict[str, str] | None]) -> None: ...
    def retry_scopes(self) -> list[tuple[str, str, str, str]]:
        """Return (tenant, team, workflow, step) of the jobs whose configuration may hold their retry budget."""

    def supply_retry_limits(self, limits: list[int | None]) -> None:
        """Supply `retry.max_retries` in the order of `retry_scopes`."""

    def ignored(self) -> list[str]:
        """Return why results had no effect, as far as no script call was needed for it."""

    def artifact_reads(self) -> list[tuple[str, str]]:
        """Return the artifacts that results point at instead of a result of their own, as job and key."""

    def accept_artifacts(self, own: Sequence[tuple[str, str]]) -> None:
        """Say which of `artifact_reads` are those of their jobs' tenants (protocol spec §10)."""

    def output_reads(self) -> list[tuple[str, str]]:
        """Return the jobs whose results are to be checked (output policy spec §2.3), and the key of their content;
        empty of a job that failed, whose error text is checked (§2.6)."""

    def supply_outputs(self, rows: list[tuple[dict[str, str] | None, bytes | None, bytes, int]]) -> None:
        """Supply per job of `output_reads`: record, stored request, first bytes of the content, bytes stored."""

    def output_batches(self) -> list[tuple[int, bytes]]:
        """Return serialized `BatchRequest`s, each with the number of its requests."""

    def output_answers(self, answers: list[tuple[int, bytes | None]], reason: str) -> bool:
        """Take the answers to `output_batches`, None where there was none because of ``reason``; tell whether the
        kernel is well."""

    def copies(self) -> list[tuple[str, bytes]]:
        """Make the masked copies and return (key, copy)."""

    def copy_batches(self) -> list[tuple[int, bytes]]:
        """Return serialized `BatchRequest`s about the copies."""

    def copy_answers(self, answers: list[tuple[int, bytes | None]], reason: str) -> tuple[list[str], bool]:
        """Take the answers to `copy_batches`; return the keys of copies that nobody may use, and whether the kernel is
        well."""

    def unanswered(self) -> list[str]:
        """Return the tenants of results without a full answer."""

    def fail_open(self, tenants: list[str]) -> None:
        """Let the results of these tenants pass without one."""

    def pass_errors(self) -> None:
        """Let error texts of failed jobs pass that nobody checked: no rule asks for errors."""

    def output_topics(self) -> list[tuple[str, int]]:
        """Return the metric labels of the results under check, each with their number."""

    def copy_topics(self) -> list[tuple[str, int]]:
        """Return the same of those with a masked copy."""

    def output_duration(self, duration_ms: int) -> None: ...
    def commits(self, now_us: int) -> list[tuple[int, list[bytes]]]: ...
    def apply(self, replies: list[list[bytes | int]], now_us: int) -> ResultEffects: ...
    def verdicts(self) -> list[tuple[int, float]]: ...
    def invalid(self) -> list[tuple[int, str]]: ...
    def misnamed(self) -> list[tuple[str, str]]:
        """Return (sender, worker named) of results that name another worker."""

class ResultEffects:
    """What follows from a committed result batch."""

    events: list[tuple[str, bytes, str, str]]
    tenants: list[tuple[str, str, bool, bool]]
    touched: list[tuple[str, str]]
    """(tenant, job id) of all jobs that changed."""
    retrying: list[tuple[str, str, int]]
    """Jobs that give their slot back: tenant, job id, time of the dispatch that ended."""
    dead_letters: list[tuple[str, str]]
    duties: list[tuple[str, int]]
    sagas: list[str]
    """Jobs with a saga duty, which is performed before their duties are done."""
    result_keys: list[str]
    capacity: list[tuple[str, str, bool]]
    counts: list[tuple[str, str]]
    audits: list[tuple[str, bytes, str, str]]
    """Core messages, best effort."""
    scans: list[tuple[str, int]]
    """Jobs whose content is to be scanned, with their revision."""
    withheld: list[str]
    """Jobs whose result waits for another check."""
    evidence: list[str]
    """Keys of results kept as evidence."""
    checks: list[tuple[str, str, str, str, str, int, int, list[tuple[str, str]]]]
    """Tenant, job id, topic label, decision, rule id, ms, µs of evaluation, findings as (detector, severity)."""

def saga_template(request_json: bytes) -> bytes:
    """Return the template (canonical protobuf) of the job that undoes a stored request. Raises ValueError when there
    can be none."""

def saga_compensation(
    template: bytes, job_id: str, trace_id: str, now_us: int, refusal: str | None = None
) -> Compensation:
    """Return the job a template becomes; with a ``refusal`` its record is denied and dead-lettered from the start.
    Raises ValueError when the bytes are no template."""

class Compensation:
    """A job that undoes another one."""

    topic: str
    tenant: str
    parent_job_id: str
    request_json: bytes
    create: bytes
    """Packed transition for `job_create`."""
    packet: bytes
    """Bus packet for `sys.job.submit`."""

def is_tenant_id(text: str) -> bool:
    """Tell whether ``text`` is a tenant id (security spec §7)."""

def split_jobs(body: bytes, max_items: int) -> list[bytes]:
    """Return the raw items of `{"jobs": [...]}`; raises ValueError with the HTTP status and error body."""

class SubmitBatch:
    """Job submissions that share their network steps (gateway spec §14.1). Use: claims, rename or answer,
    policy_request, plan."""

    def __init__(
        self,
        items: list[tuple[bytes, tuple[str, str, bool, str, bool, str, bool], str, str, str]],
        context_bytes: int,
        prompt_chars: int,
        now_us: int,
    ) -> None:
        """Parse and validate every item; a bad one is answered, the others go on.

        An item is ``(body, (tenant, principal, body_may_name_principal, key_fingerprint, cross_tenant,
        bound_principal, may_speak_for_any_agent), job_id, trace_id, idempotency_key)``; ``context_bytes`` and
        ``prompt_chars`` are the limits of the context document and the prompt.
        """

    @staticmethod
    def again(
        request_json: bytes,
        context: bytes,
        job_id: str,
        trace_id: str,
        submitted_by: str,
        labels: dict[str, str],
        env: dict[str, str],
        now_us: int,
    ) -> SubmitBatch:
        """Return a batch of one stored request (protojson) to judge and run under ``job_id``; approvals,
        dispatch identity and
        idempotency key do not carry over. Raises ValueError when the request does not parse."""

    def check(self, boundary: Boundary) -> list[tuple[str, str, str, str, bool, list[tuple[str, str]]]]:
        """Answer jobs on topics that are none and, where that is enforced, payloads that do not fit.

        Return what is to be told of payloads: (tenant, topic, schema id, code, whether refused, violations).
        """

    def claims(self) -> list[tuple[int, str, str, str, str]]:
        """Return ``(index, tenant, key, job_id, request_hash)`` of the open items that carry an idempotency
        key."""

    def agents(self) -> list[tuple[int, str, str, str]]:
        """Return ``(index, tenant, agent_id, principal)`` of the open items whose caller must be shown to own the
        agent of label `agent_id`."""

    def rename(self, index: int, job_id: str) -> None:
        """Go on under the id that the item's key already stands for."""

    def trace(self, index: int, context: str) -> None:
        """Keep the W3C trace headers of an item's request with its job, see `cordum.bus.messages.trace_text`."""

    def answer(
        self, index: int, status: int, body: bytes, trace_id: str = "", retry_after_s: int = 0
    ) -> None:
        """Answer an item without judging it."""

    def open_jobs(self) -> list[tuple[int, str, str]]:
        """Return (index, tenant, job id) of each open item."""

    def config_scopes(self) -> list[tuple[str, str, str, str]]:
        """Return (tenant, team, workflow, step) of each open item."""

    def policy_request(self, configs: list[bytes]) -> bytes:
        """Return the serialized ``BatchRequest`` of the open items; empty when there is none. ``configs`` are their
        effective configurations for policy, in the order of `config_scopes`."""

    def plan(
        self, answer: bytes | None, partitions: int
    ) -> tuple[
        list[tuple[int, list[int], list[bytes]]],
        list[tuple[int, str, str, str, str, bytes]],
        list[tuple[int, str, bytes]],
        list[tuple[int, bytes, str, int]],
    ]:
        """Decide every item by a serialized ``BatchResponse``; None means unreachable: accepted as PENDING.

        Returns groups ``(partition, indexes, packed job_create transitions)``, jobs ``(index, job_id,
        tenant, trace_id, state,
        context document)``, messages for `sys.job.submit` ``(index, message id, packet)`` and one outcome
        per item ``(status,
        body, trace_id, retry_after_s)``. May be called once; every method raises ValueError afterwards.
        """

class PolicyError(ValueError):
    """A policy document was refused; ``errors`` lists (path, message, line); line 0: not known."""

    errors: list[tuple[str, str, int]]

class PolicyEvaluation:
    """A batch under evaluation: read `needs`, give `answer`, until there are none, then take `response`."""

    @property
    def needs(self) -> list[tuple[int, str, str, str, int, int]]:
        """(item, rule id, key suffix, member, max requests, window in seconds) of each missing count."""

    def answer(self, answers: list[int]) -> None:
        """One number per need: 0 within, 1 exceeded, 2 failed (asks a human), 3 failed open (rule skipped).
        Raises ValueError for another number or another count of answers."""

    def response(self) -> bytes:
        """Return the serialized `BatchResponse`. Raises ValueError while counts are missing."""

    def explain(self) -> bytes:
        """Return what was looked at for the first request and why, as JSON, with the counts given. Raises
        ValueError when that request does not decode or names an agent that was not looked up."""

_AgentRecord = tuple[str, tuple[str, str, str, list[str]] | None]
"""Id of an agent and, unless there is no such agent, its tenant, status, risk tier and data classifications."""

class PolicyEngine:
    """One immutable compiled policy (policy spec §2 to §9); safe to share between threads."""

    @staticmethod
    def compile(
        source: bytes | None = None,
        bundles: list[tuple[str, bytes]] = [],
        delegation: bool = False,
        output_confidence: float | None = None,
        scanners: bytes | None = None,
    ) -> PolicyEngine:
        """Compile a base document and enabled bundles (id, document). Without ``delegation`` every call is direct.
        Findings in outputs below ``output_confidence`` (0.5) are ignored where the documents say nothing. Rules may
        name what the scanner file ``scanners`` defines. Raises PolicyError with every problem."""

    @staticmethod
    def empty() -> PolicyEngine:
        """Return the policy that denies everything because none is loaded."""

    @property
    def snapshot(self) -> str: ...
    @property
    def warnings(self) -> list[str]: ...
    @property
    def rule_count(self) -> int: ...
    @property
    def reads_job_ids(self) -> bool:
        """Whether some rule or default is for single jobs or sessions."""

    @property
    def delegation_fields(self) -> dict[str, list[str]]:
        """Per rule id, the delegation keys of the rule, for rules that have some."""

    def take_scope_counts(self) -> tuple[list[int], list[tuple[str, str, int]]] | None:
        """What scope rules counted since this was last asked: evaluations (allow, deny, error), findings as (intent,
        type, count). None without such rules."""

    def evaluate(self, request: bytes, agents: list[_AgentRecord] | None = None) -> bytes:
        """Serialized `PolicyCheckRequest` → `PolicyCheckResponse`. Raises ValueError when it does not decode, or
        names an agent that is not among ``agents``; without ``agents`` every agent is unknown."""

    def evaluate_batch(self, batch: bytes, agents: list[_AgentRecord] | None = None) -> bytes:
        """Serialized `BatchRequest` → `BatchResponse`; a request of an agent that was not looked up has code 14.
        Raises ValueError: not a batch, or more than 512 items."""

    @property
    def has_velocity(self) -> bool:
        """Whether some rule counts requests (policy spec §13)."""

    def begin(self, batch: bytes, agents: list[_AgentRecord] | None = None) -> PolicyEvaluation:
        """Start a serialized `BatchRequest` whose counts the caller supplies. Raises ValueError as
        `evaluate_batch`, which itself treats every count as failed."""

    def explain(self, request: bytes, agents: list[_AgentRecord] | None = None) -> bytes:
        """Return what was looked at and why, as JSON; every count failed. Raises ValueError as `evaluate`."""

_HeldDecision = tuple[str, str, str, int, str, int]
_Tally = tuple[list[int], tuple[int, int], int, list[_HeldDecision]]

def tally_decisions(requests: bytes, response: bytes, held_max: int) -> _Tally:
    """Count a serialized `BatchResponse` to a serialized `BatchRequest`: items per `DecisionType` number (0 to 5),
    defaults (allow, deny), items without a decision, the first ``held_max`` decisions that were no plain allow as
    (job id, tenant, topic, decision number, rule id, µs). Raises ValueError."""

def tally_decision(request: bytes, response: bytes, us: int) -> _Tally:
    """The same for one serialized request and response. Raises ValueError."""

def named_agents(batch: bytes) -> list[str]:
    """Return the agents that a serialized `BatchRequest` names in its labels, each once. Raises ValueError."""

def validate_policy(source: bytes, scanners: bytes | None = None) -> list[tuple[str, str, int]]:
    """Return every problem of one document as (path, message, line); line 0: not known. Empty when it is valid. Its
    rules may name what the scanner file ``scanners`` defines."""

def policy_warnings(source: bytes) -> list[str]:
    """Return what is worth saying about a valid document."""

def policy_rules(source: bytes) -> bytes:
    """Return the rules of one document as a JSON list of {section, rule as written, tier, selector, enabled}; tier and
    selector as they apply. Raises PolicyError with every problem when the document is not valid."""

def analyze_policy(
    base: bytes | None = None, bundles: list[tuple[str, bytes]] = ..., scanners: bytes | None = None
) -> bytes:
    """Return findings about the policy these sources make, as JSON: snapshot, rules, input_rules (how many), findings,
    undecided, omitted.

    Takes at most ten seconds; what is open then is undecided. Raises PolicyError."""

def diff_policies(
    old: tuple[bytes | None, list[tuple[str, bytes]]],
    new: tuple[bytes | None, list[tuple[str, bytes]]],
    scanners: bytes | None = None,
) -> bytes:
    """Return what changes from the policy of the ``old`` base and bundles to the ``new`` one, as JSON: equivalent
    (null when not decided), old, new (snapshots), changes, undecided, omitted.

    Takes at most ten seconds; what is open then is undecided. Raises PolicyError."""

def run_policy_tests(
    base: bytes | None = None,
    bundles: list[tuple[str, bytes]] = ...,
    extra: list[tuple[str, bytes]] = ...,
    max_bytes: int = ...,
    scanners: bytes | None = None,
) -> bytes:
    """Run the tests of a base, bundles (id, document) and files of tests (name, document) against the merged policy.

    Return JSON of about ``max_bytes``: passed, failed, omitted (cases not listed, failed ones last), cases (source,
    name, passed, expected, got, differs, error), coverage (rules, covered, uncovered, by_rule). Raises PolicyError."""

def encode_test_request(case: bytes) -> bytes:
    """Return the serialized `PolicyCheckRequest` of the ``{"request": ...}`` of a test. Raises PolicyError."""

def record_decisions(calls: list[tuple[bytes, bytes, int, bool]]) -> list[tuple[str, int, bytes]]:
    """Encode answered policy calls (serialized request, serialized answer, time in µs, whether both are batches)
    as compact columns: (tenant, rows, segment), at least one per tenant. Content is not kept; calls that do not
    decode and items that failed are left out."""

def scan_decisions(segments: list[bytes], filter: bytes, limit: int, before: int | None = None) -> bytes:
    """Return a JSON list of the decisions in ``segments`` (newest segment first, newest row first) that pass
    ``filter`` (JSON: since_us, until_us exclusive, topic or glob, rule_id, decision, agent_id, jobs_only).

    ``before`` excludes rows from that number on in the first segment. Items name their ``segment`` (index) and
    ``row``. Raises ValueError for a bad filter or a damaged segment.
    """

class PolicyReplay:
    """A replay of a policy over past decisions; feed it segments from the newest to the oldest. ``spec`` is JSON:
    filter (as for `scan_decisions`), max_jobs (0: 4 000 000), max_changes. Raises ValueError."""

    def __new__(cls, engine: PolicyEngine, spec: bytes) -> PolicyReplay: ...
    def add(self, segments: list[bytes]) -> int:
        """Judge the rows of ``segments``; return how many segments could not be read."""

    @property
    def is_full(self) -> bool: ...
    def result(self) -> bytes:
        """Return JSON: summary, rule_hits, groups, changes, is_cut."""

def check_outputs(
    policy: PolicyEngine,
    batch: bytes,
    read: list[tuple[int, tuple[bytes, bytes, int] | None, int, str]] = ...,
    artifacts: list[tuple[int, tuple[bytes, bytes, int] | None, int, str]] = ...,
) -> bytes:
    """Return the serialized `BatchResponse` to a `BatchRequest` of `OutputCheckRequest`s (output policy spec §10).

    ``read`` says what a pointer of `output_pointers` gave, ``artifacts`` what those of `output_artifacts` gave: its
    index and (start, end, bytes stored), the end empty when the start is all, or else a gRPC status number and what
    is wrong. Raises ValueError when the batch does not decode.
    """

def output_artifacts(policy: PolicyEngine, batch: bytes) -> list[tuple[int, str, str, str]]:
    """Return (index, job id, tenant, pointer) of the artifacts a rule asks for. Raises ValueError."""

def output_pointers(policy: PolicyEngine, batch: bytes) -> list[tuple[int, str, str, str]]:
    """Return (index, job id, tenant, pointer) of the requests whose content a rule asks for. Raises ValueError."""

def output_scan_request(request_json: bytes, result: bytes, content: bytes, size: int) -> bytes:
    """Return the serialized `OutputCheckRequest` of a later scan: stored request, serialized `JobResult`, content read
    (empty: by pointer), bytes stored. Raises ValueError."""

def output_settings(policy: PolicyEngine) -> tuple[bool, str | None, bool]:
    """Return whether outputs are checked at all, the fail mode the documents ask for, if they do, and whether a rule
    asks for errors, so that error texts of failed jobs are checked."""

def redact_output(content: bytes, spans: list[tuple[int, int]]) -> bytes | None:
    """Return the content with the spans (offset, length) masked, all of it without a usable span; JSON stays JSON.

    None: no such copy can be made (output policy spec §7)."""

def simulate_output(policy: PolicyEngine, request: bytes) -> bytes:
    """Return as JSON what would be decided about an `OutputCheckRequest` and how each rule took part.

    Raises ValueError."""

class Scanners:
    """The built-in detectors and those of a scanner file (YAML or JSON); it never changes."""

    def __new__(cls, source: bytes) -> Scanners:
        """Raises PolicyError, whose ``errors`` are (path, message, line), for a file with faults."""

    @property
    def names(self) -> list[str]:
        """Scanners that the file names."""

    @property
    def slow(self) -> list[str]:
        """Ids of patterns that have no literal to search for, so that they read every content."""

class Finding:
    """One place a detector reports; never what stands there. Offset and length are in bytes. Compared by value."""

    @property
    def detector(self) -> str: ...
    @property
    def type(self) -> str:
        """Group: ``secret_leak``, ``pii``, ``code_injection``, ``prompt_injection``."""

    @property
    def scanner(self) -> str: ...
    @property
    def severity(self) -> str: ...
    @property
    def confidence(self) -> float:
        """0 to 1."""

    @property
    def offset(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def detail(self) -> str:
        """Label for people."""

def output_detectors() -> list[tuple[str, str, str, str, str, str]]:
    """Return (id, type, severity, detail, description, source) of every built-in detector."""

def output_examples(seed: int) -> list[tuple[str, str, bool]]:
    """Return (detector, text, whether it is to be reported) of every example of the catalogue."""

def redact_values_in(data: bytes | str, spans: list[tuple[int, int]]) -> bytes | None:
    """Return the data with the values of the spans (offset, length) masked wherever they occur; JSON stays JSON.

    None: no such copy can be made."""

def scan_output(
    data: bytes | str,
    *,
    scanners: list[str] | None = None,
    min_confidence: float | None = None,
    is_distinct: bool = True,
    custom: Scanners | None = None,
) -> list[Finding]:
    """Return what the detectors find, by offset. ``is_distinct``: a value that occurs again is reported once;
    ``custom``: what a scanner file adds.

    Raises ValueError for an unknown scanner name or a confidence outside of 0 to 1, RuntimeError for data made to
    exhaust the scanner."""
