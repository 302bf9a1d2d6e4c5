"""Every Redis key of Cordum (scheduler spec §3.2, §30; configuration spec §5.1). Nobody builds a key
anywhere else.

Partitioned keys carry the hash tag ``{jNN}`` of their job; ``tag`` arguments are such tags with braces, as
`tag_of` gives them.
Keys that the scripts in ``store/lua`` derive themselves follow the same patterns; a test compares both.
"""

from zlib import crc32

JOB_LAYOUT = "cordum:job:layout"
WORKERS_SNAPSHOT = "sys:workers:snapshot"
LOCK_RECONCILER = "cordum:reconciler:default"
LOCK_REPLAYER = "cordum:replayer:pending"
LOCK_SNAPSHOT_WRITER = "cordum:scheduler:snapshot:writer"
LOCK_DLQ_CLEANUP = "cordum:dlq:cleanup"
BREAKER_SAFETY = "cordum:cb:safety:"
BREAKER_OUTPUT = "cordum:cb:safety:output:"
INPUT_FAIL_OPEN = "cordum:scheduler:input_fail_open_total"
SCHEMA_INDEX = "schema:index"
"""Zset of schema ids, score: time of the last write in µs; no TTL: one member per schema."""
LOCK_POOL_DRAIN = "cordum:pool:drain"
WORKERS_COUNT = "cordum:workers:count"
"""Zset of known workers, score: last heartbeat in seconds; its size is what a licence limits."""
HEARTBEAT_MODE = "cordum:scheduler:heartbeat_mode"
"""By what the last scheduler that started judges which workers live; no TTL: the next start compares with it."""
POLICIES_MIRROR = "cordum:policies"
SAFETY_SNAPSHOTS = "cordum:safety:snapshots"

TENANTS = "job:tenants"
"""Set of tenants with jobs, read by the repair of their sets; no TTL: one small member per tenant."""


def partition_of(job_id: str, partitions: int) -> int:
    """Return the partition number of a job: CRC-32 modulo the number of partitions."""
    return crc32(job_id.encode()) % partitions


def partition_name(partition: int) -> str:
    """Return `jNN`, two hex digits."""
    return f"j{partition:02x}"


def tag_of(partition: int) -> str:
    """Return the hash tag `{jNN}`."""
    return f"{{j{partition:02x}}}"


def job_anchor(tag: str) -> str:
    """Return the key that only names a partition's slot; it is never written."""
    return f"job:anchor:{tag}"


def job_meta(tag: str, job_id: str) -> str:
    """Return the hash with a job's record."""
    return f"job:meta:{tag}:{job_id}"


def job_request(tag: str, job_id: str) -> str:
    """Return the string with the protojson of a job's request."""
    return f"job:req:{tag}:{job_id}"


def job_events(tag: str, job_id: str) -> str:
    """Return the list of a job's transitions."""
    return f"job:events:{tag}:{job_id}"


def job_decisions(tag: str, job_id: str) -> str:
    """Return the list of a job's policy decisions, newest first."""
    return f"job:decisions:{tag}:{job_id}"


def job_output(tag: str, job_id: str) -> str:
    """Return the string with a job's output record."""
    return f"job:output:{tag}:{job_id}"


def job_index(tag: str, state: str) -> str:
    """Return the zset of jobs in one state, score `updated_at`."""
    return f"job:index:{tag}:{state.lower()}"


def job_recent(tag: str) -> str:
    """Return the zset of the newest jobs, score `updated_at`."""
    return f"job:recent:{tag}"


def job_deadline(tag: str) -> str:
    """Return the zset of deadlines in µs."""
    return f"job:deadline:{tag}"


def job_due(tag: str) -> str:
    """Return the zset of dispatch, running and retry-state time-outs in µs."""
    return f"job:due:{tag}"


def job_retry(tag: str) -> str:
    """Return the zset of next attempts of parked jobs in µs."""
    return f"job:retry:{tag}"


def job_parked(tag: str) -> str:
    """Return the hash with the number of parked jobs per cause; exact, kept by the job scripts."""
    return f"job:parked:{tag}"


def job_wait(tag: str, pool: str) -> str:
    """Return the zset of parked jobs that wait for a pool."""
    return f"job:wait:{tag}:{pool}"


def job_disp(tag: str) -> str:
    """Return the zset of dispatched jobs whose publish is not confirmed."""
    return f"job:disp:{tag}"


def job_after(tag: str) -> str:
    """Return the zset of jobs with post-commit duties left."""
    return f"job:after:{tag}"


def dlq_entry(tag: str, job_id: str) -> str:
    """Return the string with a dead-letter entry (JSON)."""
    return f"dlq:entry:{tag}:{job_id}"


def dlq_index(tag: str) -> str:
    """Return the zset of dead letters, score in Unix seconds."""
    return f"dlq:index:{tag}"


def dlq_tenant(tenant: str) -> str:
    """Return the zset of one tenant's dead letters, score in Unix seconds."""
    return f"dlq:tenant:{{{tenant}}}"


def tenant_active(tenant: str) -> str:
    """Return the zset of a tenant's SCHEDULED, DISPATCHED and RUNNING jobs."""
    return f"job:tenant:active:{{{tenant}}}"


def tenant_open(tenant: str) -> str:
    """Return the zset of a tenant's non-terminal jobs."""
    return f"job:tenant:open:{{{tenant}}}"


def tenant_recent(tenant: str) -> str:
    """Return the zset of a tenant's newest jobs, score `updated_at`."""
    return f"job:tenant:recent:{{{tenant}}}"


def idempotency(tenant: str, key: str) -> str:
    """Return the string that maps a caller's idempotency key to a job id."""
    return f"job:idempotency:{{{tenant}}}:{key}" if tenant else f"job:idempotency:{key}"


def idempotency_hash(tenant: str, key: str) -> str:
    """Return the string with the request hash a caller's idempotency key was first used for."""
    return f"job:idempotency:hash:{{{tenant}}}:{key}"


def trace(trace_id: str) -> str:
    """Return the set of a trace's job ids."""
    return f"trace:{trace_id}"


def worker_jobs(worker_id: str) -> str:
    """Return the zset of a worker's newest jobs."""
    return f"worker:jobs:{worker_id}"


def worker_handshake(worker_id: str) -> str:
    """Return the string with a worker's last handshake."""
    return f"cordum:worker:handshake:{worker_id}"


def worker_session(worker_id: str) -> str:
    """Return the hash of a worker's session (protocol spec §15.1)."""
    return f"session:worker:{worker_id}"


def session_revoked(tenant: str, jti: str) -> str:
    """Return the string that says that a session was revoked."""
    return f"session:revoked:{tenant}:{jti}"


def handshake_nonce(worker_id: str, nonce: str) -> str:
    """Return the string that a client nonce (hex) was used."""
    return f"session:nonce:{worker_id}:{nonce}"


def handshake_request(worker_id: str, request_id: str) -> str:
    """Return the string that a request id was used."""
    return f"session:req:{worker_id}:{request_id}"


def handshake_challenge(challenge_id: str) -> str:
    """Return the string with the bytes of a challenge nobody answered yet."""
    return f"session:challenge:{challenge_id}"


def context_blob(job_id: str) -> str:
    """Return the literal key of a job's context (workers read it)."""
    return f"ctx:{job_id}"


def result_blob(job_id: str) -> str:
    """Return the literal key of a job's result (workers write it)."""
    return f"res:{job_id}"


def redacted_blob(job_id: str, digest: str) -> str:
    """Return the literal key of a masked copy of a job's result; ``digest`` is the start of the copy's SHA-256."""
    return f"res:{job_id}:redacted:{digest}"


def output_stats(tenant: str, hour: str) -> str:
    """Return the hash with a tenant's output checks of one hour, `yyyymmddhh` in UTC."""
    return f"cordum:output:stats:{tenant}:{hour}"


def output_rule(rule: str) -> str:
    """Return the zset of jobs an output rule decided about, score in Unix seconds."""
    return f"cordum:output:rule:{rule.lower()}"


def artifact_meta(artifact_id: str) -> str:
    """Return the string with an artifact's metadata (JSON)."""
    return f"art:meta:{artifact_id}"


def config_document(scope: str, scope_id: str) -> str:
    """Return the string with a configuration document."""
    return f"cfg:{scope}:{scope_id}"


def instances(service: str) -> str:
    """Return the zset of a service's live processes, score: last sign of life in seconds."""
    return f"cordum:instances:{service}"


def schema(schema_id: str) -> str:
    """Return the string with a registered schema (JSON)."""
    return f"schema:{schema_id}"


def schema_url(url: str) -> str:
    """Return the string that maps the `$id` of a schema to its id."""
    return f"schema:url:{url}"


def instance(service: str, instance_id: str) -> str:
    """Return the string that shows a living process."""
    return f"cordum:instance:{service}:{instance_id}"


def job_lock(job_id: str) -> str:
    """Return the lock of a job's slow paths."""
    return f"cordum:scheduler:job:{job_id}"


def saga(scope: str, part: str) -> str:
    """Return a key of a saga: `stack`, `seen`, `inflight`, `rolled`, `tenant` or `lock` of a run or workflow (scheduler
    spec §14). Braces in the scope would move the hash tag, so they are escaped."""
    return f"saga:{{{scope.replace('{', '%7B').replace('}', '%7D')}}}:{part}"


def velocity(key_suffix: str) -> str:
    """Return the zset of one velocity bucket; ``key_suffix`` is `<rule id>:<bucket>` as the engine escapes it
    (policy spec §13.1)."""
    return f"cordum:velocity:{key_suffix}"


def velocity_hits(rule: str) -> str:
    """Return the hash of a velocity rule's exceeded evaluations per hour."""
    return f"cordum:velocity:hits:{rule}"


def velocity_index(rule: str) -> str:
    """Return the zset of a velocity rule's active buckets, score: last use in Unix seconds."""
    return f"cordum:velocity:index:{rule}"


def agent_identity(agent_id: str) -> str:
    """Return the string with the identity record of an agent (JSON)."""
    return f"agent:identity:{agent_id}"


def decision_log(tenant: str) -> str:
    """Return the stream of a tenant's past decisions, one segment of columns per entry."""
    return f"gov:dec:{{{tenant}}}:seg"


def decision_log_size(tenant: str) -> str:
    """Return the number of bytes in a tenant's decision log."""
    return f"gov:dec:{{{tenant}}}:size"


def audit_chain(tenant: str) -> str:
    """Return the stream of a tenant's audit events, in chain order (security spec §19.3)."""
    return f"audit:chain:{{{tenant}}}"


def audit_head(tenant: str) -> str:
    """Return the string `<seq>:<event hash>:<mac>` of a tenant's newest audit event."""
    return f"audit:chain:head:{{{tenant}}}"


def audit_seen(tenant: str) -> str:
    """Return the zset of a tenant's event ids of the last 24 h, score in ms."""
    return f"audit:seen:{{{tenant}}}"


def audit_sources(tenant: str) -> str:
    """Return the hash of the last event id taken over from each outbox; no TTL: one small field per outbox."""
    return f"audit:sources:{{{tenant}}}"


def workflow_run(run_id: str) -> str:
    """Return the key of a workflow run (hash; workflow spec §16)."""
    return f"wf:run:{run_id}"
