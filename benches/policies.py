"""Policies and requests of the benchmarks, in the shape the Rust benchmark of the engine uses too."""

from benches.peer_engines import Case
from cordum.protocol.cap import PolicyCheckRequest

__all__ = [
    "CAPABILITY",
    "RISK_TAGS",
    "TOPICS",
    "engine_case",
    "engine_policy",
    "engine_request",
    "pipeline_policy",
    "pools_file",
]

TOPICS = tuple(f"job.bench.t{number:02d}" for number in range(64))
CAPABILITY = "bench.work"
RISK_TAGS = ("network", "write")
POOLS = 8
_TEAMS = 200
_DECISIONS = ("allow", "deny", "require_approval")


def engine_policy(rules: int) -> bytes:
    """Return ``rules`` rules of "topic glob and two attributes"."""
    lines = ["version: bench", "rules:"]
    lines += (
        f"  - {{id: r{i}, decision: {_DECISIONS[i % 3]}, reason: rule {i}, match: {{"
        f'topics: ["job.team{i % _TEAMS}.*"], capabilities: [cap{i}], risk_tags: [tag{i % 7}, money]}}}}'
        for i in range(rules)
    )
    return "\n".join(lines).encode()


def engine_request(rule: int) -> bytes:
    """Return a serialized request that rule number ``rule`` of `engine_policy` decides."""
    request = PolicyCheckRequest(
        job_id=f"job-{rule}",
        topic=f"job.team{rule % _TEAMS}.apply",
        tenant="default",
        labels={"env": "prod", "_source": "api"},
    )
    request.meta.capability = f"cap{rule}"
    request.meta.risk_tags.append(f"tag{rule % 7}")
    encoded: bytes = request.SerializeToString(deterministic=True)
    return encoded


def engine_case(rule: int) -> Case:
    """Return rule number ``rule`` of `engine_policy` with the request of `engine_request` as plain values."""
    return Case(
        rule_id=f"r{rule}",
        decision=_DECISIONS[rule % 3],
        pattern=f"job.team{rule % _TEAMS}.*",
        capability=f"cap{rule}",
        risk_tags=(f"tag{rule % 7}", "money"),
        topic=f"job.team{rule % _TEAMS}.apply",
        request_tags=(f"tag{rule % 7}",),
    )


def pipeline_policy() -> str:
    """Return 100 rules: 36 about other topics, then one that allows each of `TOPICS`."""
    lines = ['version: "1"', "default_tenant: default", "default_decision: deny", "rules:"]
    lines += (
        f'  - {{id: other-{i}, decision: deny, reason: other, match: {{topics: ["job.other{i}.*"], '
        f"capabilities: [{CAPABILITY}], risk_tags: [{RISK_TAGS[0]}]}}}}"
        for i in range(100 - len(TOPICS))
    )
    lines += (
        f"  - {{id: allow-{i}, decision: allow, reason: benchmark, match: {{topics: [{topic}], "
        f"capabilities: [{CAPABILITY}], risk_tags: [{RISK_TAGS[0]}]}}}}"
        for i, topic in enumerate(TOPICS)
    )
    return "\n".join(lines) + "\n"


def pools_file() -> str:
    """Return `pools.yaml` that spreads `TOPICS` over `POOLS` pools."""
    lines = ["topics:"]
    lines += (f"  {topic}: {pool_name(number)}" for number, topic in enumerate(TOPICS))
    lines += ["pools:"]
    lines += (f"  {pool_name(number)}: {{}}" for number in range(POOLS))
    return "\n".join(lines) + "\n"


def pool_name(number: int) -> str:
    """Return the pool that the topic or worker ``number`` belongs to."""
    return f"bench-{number % POOLS}"
