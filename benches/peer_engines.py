"""Adapters of the policy engines in the suite `peers`: load the rules once, decide cases.

None of the packages is a dependency of Cordum; they come with the extra `bench-peers` and are imported when used.
"""

import re
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

__all__ = ["PEERS", "Case", "Decide", "Peer"]


class Case(NamedTuple):
    """One rule of `engine_policy` and the request that it decides."""

    rule_id: str
    decision: str
    pattern: str
    capability: str
    risk_tags: tuple[str, ...]
    topic: str
    request_tags: tuple[str, ...]


class Decide(NamedTuple):
    """Return the id of the deciding rule: of one case, and of many in one call where the engine offers it."""

    one: Callable[[Case], str]
    many: Callable[[Sequence[Case]], list[str]] | None = None


class Peer(NamedTuple):
    """An engine: its name, the distribution it comes in and how it takes the rules."""

    name: str
    distribution: str
    load: Callable[[Sequence[Case]], Decide]
    threads: bool = True
    """Whether two threads may decide at once."""


def _cedar(rules: Sequence[Case]) -> Decide:
    """Cedar has no rule order; these rules never overlap. A hold is a permit, told apart by its policy."""
    cedarpy: Any = import_module("cedarpy")
    texts = []
    for rule in rules:
        effect = "forbid" if rule.decision == "deny" else "permit"
        tags = ", ".join(f'"{tag}"' for tag in rule.risk_tags)
        texts.append(
            f'{effect}(principal, action, resource) when {{ context.capability == "{rule.capability}" && '
            f'context.topic like "{rule.pattern}" && context.risk_tags.containsAny([{tags}]) }};'
        )
    policies = cedarpy.PolicySet.from_str("\n".join(texts))
    entities = cedarpy.Entities.from_json_str("[]")
    ids = {f"policy{number}": rule.rule_id for number, rule in enumerate(rules)}

    def request(case: Case) -> dict[str, Any]:
        context = {"capability": case.capability, "topic": case.topic, "risk_tags": list(case.request_tags)}
        return {
            "principal": 'User::"a"',
            "action": 'Action::"run"',
            "resource": 'Job::"j"',
            "context": context,
        }

    def rule_of(result: Any) -> str:
        reasons = result.diagnostics.reasons
        return ids[reasons[0]] if reasons else ""

    def many(cases: Sequence[Case]) -> list[str]:
        results = cedarpy.is_authorized_batch([request(case) for case in cases], policies, entities)
        return [rule_of(result) for result in results]

    return Decide(lambda case: rule_of(cedarpy.is_authorized(request(case), policies, entities)), many)


_CASBIN_MODEL = """
[request_definition]
r = topic, cap, tags
[policy_definition]
p = pattern, cap, tag_a, tag_b, id, eft
[policy_effect]
e = priority(p.eft) || deny
[matchers]
m = r.cap == p.cap && (p.tag_a in r.tags || p.tag_b in r.tags) && globMatch(r.topic, p.pattern)
"""


def _casbin(rules: Sequence[Case]) -> Decide:
    casbin: Any = import_module("casbin")
    model = casbin.Model()
    model.load_model_from_text(_CASBIN_MODEL)
    enforcer = casbin.Enforcer(model)
    for rule in rules:
        effect = "deny" if rule.decision == "deny" else "allow"
        enforcer.add_policy(rule.pattern, rule.capability, *rule.risk_tags, rule.rule_id, effect)

    def one(case: Case) -> str:
        _, explanation = enforcer.enforce_ex(case.topic, case.capability, list(case.request_tags))
        return str(explanation[4]) if explanation else ""

    return Decide(one)


_REGO = """package bench
import rego.v1
matching := [rule.id | some rule in data.rules
  rule.capability == input.capability
  some tag in input.risk_tags
  tag in rule.risk_tags
  glob.match(rule.pattern, [], input.topic)]
decision := matching[0]
"""


def _rego(rules: Sequence[Case]) -> Decide:
    """Rules are data, as policy authors keep long lists of them; the first in their order decides."""
    regopy: Any = import_module("regopy")
    interpreter = regopy.Interpreter()
    interpreter.add_module("bench.rego", _REGO)
    listed = [
        {"id": r.rule_id, "capability": r.capability, "risk_tags": list(r.risk_tags), "pattern": r.pattern}
        for r in rules
    ]
    interpreter.add_data({"rules": listed})

    def one(case: Case) -> str:
        tags = list(case.request_tags)
        interpreter.set_input({"topic": case.topic, "capability": case.capability, "risk_tags": tags})
        return str(interpreter.query("data.bench.decision").results[0].expressions[0])

    return Decide(one)


def _agent_governance(rules: Sequence[Case]) -> Decide:
    """A rule has one condition there, so the three facts are one text and the rule a regular expression."""
    schema: Any = import_module("agent_os.policies.schema")
    evaluator: Any = import_module("agent_os.policies.evaluator")
    listed = [
        schema.PolicyRule(
            name=rule.rule_id,
            condition=schema.PolicyCondition(field="key", operator="matches", value=_key_pattern(rule)),
            action="deny" if rule.decision == "deny" else "allow",
            priority=len(rules) - number,
        )
        for number, rule in enumerate(rules)
    ]
    policy = schema.PolicyDocument(version="1.0", name="bench", description="", rules=listed)
    engine = evaluator.PolicyEvaluator(policies=[policy])

    def one(case: Case) -> str:
        key = f"{case.capability}|{case.topic}|{','.join(case.request_tags)},"
        return str(engine.evaluate({"key": key}).matched_rule)

    return Decide(one)


def _key_pattern(rule: Case) -> str:
    topic = re.escape(rule.pattern).replace(r"\*", "[^/]*")
    tags = "|".join(re.escape(tag) for tag in rule.risk_tags)
    return rf"^{re.escape(rule.capability)}\|{topic}\|(?:[^|]*,)?(?:{tags}),"


PEERS = (
    Peer("cedarpy", "cedarpy", _cedar),
    # It parses its matcher at every decision, and in CPython 3.11 `ast.parse` of two threads can collide.
    Peer("casbin", "casbin", _casbin, threads=False),
    Peer("regopy", "regopy", _rego, threads=False),  # an interpreter holds one input
    Peer("agent-governance-toolkit-core", "agent-governance-toolkit-core", _agent_governance),
)
