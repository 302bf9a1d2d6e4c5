"""`cordumctl policy evaluate`, `simulate` and `explain`: what the running policy decides (CLI spec §12).

Exit codes: 0 answered, 1 any error or another decision than `--expect` names.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from cordum.cli.connection import Connection, fail
from cordum.cli.jobs import json_argument, labels_argument, words
from cordum.cli.output import Form, note
from cordum.cli.policy_bundles import bundle_path
from cordum.cli.policy_impact import read_text

__all__ = ["evaluate", "explain", "simulate"]

_DECISIONS: Final = ("ALLOW", "DENY", "REQUIRE_APPROVAL", "THROTTLE", "ALLOW_WITH_CONSTRAINTS")
_ACTORS: Final = ("human", "service")
_SHOWN_CHARACTERS: Final = 120

Topic = Annotated[str, typer.Option(help="Topic of the request, e.g. job.pay.refund.")]
Capability = Annotated[str, typer.Option(help="What the job is to do, e.g. payment.send.")]
RiskTags = Annotated[list[str] | None, typer.Option(help="Comma list or repeated.")]
Labels = Annotated[str, typer.Option(help='JSON object of texts, e.g. {"env":"prod"}.')]
Input = Annotated[str, typer.Option(help="What content rules read: JSON, a file with JSON, or - for stdin.")]
Requires = Annotated[list[str] | None, typer.Option(help="What the worker must offer; comma list.")]
PackId = Annotated[str, typer.Option(help="Pack the job belongs to.")]
ActorId = Annotated[str, typer.Option(help="Who acts.")]
ActorType = Annotated[str, typer.Option(help="human or service.")]
Expect = Annotated[str, typer.Option(help="Exit 1 unless this is decided, e.g. DENY.")]


def evaluate(
    context: typer.Context,
    topic: Topic,
    capability: Capability = "",
    risk_tags: RiskTags = None,
    labels: Labels = "",
    input: Input = "",
    requires: Requires = None,
    pack_id: PackId = "",
    actor_id: ActorId = "",
    actor_type: ActorType = "",
    expect: Expect = "",
) -> None:
    """Decide a request as a job would be. It counts: rules with `velocity` see it.

    Example: cordumctl policy evaluate --topic job.pay.refund --labels '{"amount_eur":"300"}'
    """
    wanted = _decision(expect)
    request = _request(topic, capability, risk_tags, labels, input, (requires, pack_id, actor_id, actor_type))
    _print_decision(context.obj, context.obj.post("/policy/evaluate", request), wanted)


def simulate(
    context: typer.Context,
    topic: Topic,
    capability: Capability = "",
    risk_tags: RiskTags = None,
    labels: Labels = "",
    input: Input = "",
    requires: Requires = None,
    pack_id: PackId = "",
    actor_id: ActorId = "",
    actor_type: ActorType = "",
    expect: Expect = "",
    bundle: Annotated[
        str, typer.Option(help="Decide as if this bundle were enabled; with --content, as if it held that.")
    ] = "",
    content: Annotated[Path | None, typer.Option(help="File with another text of --bundle.")] = None,
) -> None:
    """Say what would be decided; nothing is counted.

    Example: cordumctl policy simulate --topic job.sql.run --input '{"q":"drop schema x"}' --expect DENY
    """
    wanted = _decision(expect)
    request = _request(topic, capability, risk_tags, labels, input, (requires, pack_id, actor_id, actor_type))
    if content is not None and not bundle:
        raise fail("--content: expected --bundle with it, the bundle that would hold this text")
    if bundle:
        body = {"request": request, "content": read_text(content) if content is not None else ""}
        answer = context.obj.post(f"{bundle_path('--bundle', bundle)}/simulate", body)
    else:
        answer = context.obj.post("/policy/simulate", request)
    _print_decision(context.obj, answer, wanted)


def explain(
    context: typer.Context,
    topic: Topic,
    capability: Capability = "",
    risk_tags: RiskTags = None,
    labels: Labels = "",
    input: Input = "",
    requires: Requires = None,
    pack_id: PackId = "",
    actor_id: ActorId = "",
    actor_type: ActorType = "",
    expect: Expect = "",
) -> None:
    """Say what would be decided, and of each rule that was looked at why it did or did not match.

    Example: cordumctl policy explain --topic job.docs.build --capability docs.build
    """
    wanted = _decision(expect)
    request = _request(topic, capability, risk_tags, labels, input, (requires, pack_id, actor_id, actor_type))
    _print_decision(context.obj, context.obj.post("/policy/explain", request), wanted, with_trace=True)


def _request(
    topic: str,
    capability: str,
    risk_tags: list[str] | None,
    labels: str,
    input_: str,
    more: tuple[list[str] | None, str, str, str],
) -> dict[str, Any]:
    """Return the body of the three routes (policy spec §17.1); exits naming the option that is wrong."""
    requires, pack_id, actor_id, actor_type = more
    if not topic.strip():
        raise fail("--topic: expected a topic, got nothing")
    if actor_type and actor_type.lower() not in _ACTORS:
        raise fail(f"--actor-type: expected one of {', '.join(_ACTORS)}, got `{actor_type}`")
    meta = {
        "capability": capability,
        "risk_tags": words(risk_tags),
        "requires": words(requires),
        "pack_id": pack_id,
        "actor_id": actor_id,
        "actor_type": actor_type.lower(),
    }
    request: dict[str, Any] = {
        "topic": topic,
        "labels": labels_argument(labels),
        "meta": {name: value for name, value in meta.items() if value},
    }
    if input_:
        value = json_argument("--input", input_)
        if isinstance(value, dict):
            request["context"] = value
        else:
            # The gateway takes objects as context only; other JSON is content all the same.
            request |= {
                "input_content": json.dumps(value, ensure_ascii=False),
                "input_content_type": "application/json",
            }
    return request


def _decision(text: str) -> str:
    """Return the name of the expected decision, written as answers or policies do; empty for none."""
    name = text.strip().upper().replace("-", "_")
    if text and name not in _DECISIONS:
        raise fail(f"--expect: expected one of {', '.join(_DECISIONS)}, got `{text}`")
    return name


def _print_decision(
    connection: Connection, answer: dict[str, Any], wanted: str, *, with_trace: bool = False
) -> None:
    """Print the answer; what else it says goes to stderr. Exits 1 when another decision was expected."""
    decision, rule = answer["decision"], answer.get("rule_id") or ""
    printer = connection.printer
    if printer.is_data:
        printer.data(answer)
    else:
        row = [decision, rule, answer.get("reason")]
        printer.items([answer], ["DECISION", "RULE", "REASON"], [row], key="rule_id")
        _note_rest(answer)
    if with_trace and printer.form is Form.TABLE:
        _print_trace(connection, answer.get("evaluation_path") or [])
    if wanted and decision != wanted:
        raise fail(f"expected {wanted}, got {decision} by {f'rule `{rule}`' if rule else 'no rule'}")


def _print_trace(connection: Connection, path: list[dict[str, Any]]) -> None:
    rows = [
        [e.get("rule_id"), e.get("decision"), "yes" if e.get("matched") else "no", _conditions(e)]
        for e in path
    ]
    sys.stdout.write("\n")
    connection.printer.table(["RULE", "DECISION", "MATCHED", "BECAUSE"], rows)


def _note_rest(answer: Mapping[str, Any]) -> None:
    for warning in answer.get("warnings") or ():
        note(f"warning: {warning}")
    if answer.get("constraints"):
        note(f"constraints: {json.dumps(answer['constraints'], ensure_ascii=False)}")
    for remedy in answer.get("remediations") or ():
        text = ": ".join(remedy[name] for name in ("title", "summary") if remedy.get(name))
        note(f"remediation {remedy.get('id', '-')}: {text or '-'}")


def _conditions(element: Mapping[str, Any]) -> str:
    """Return what decided about a rule: the conditions that failed, else those that held, else its reason."""
    conditions = element.get("conditions") or []
    failed = [condition for condition in conditions if not condition["passed"]]
    shown = [_condition(condition) for condition in failed or conditions]
    return "; ".join(shown) or str(element.get("reason") or "")


def _condition(condition: Mapping[str, Any]) -> str:
    texts = [json.dumps(condition[name], ensure_ascii=False) for name in ("actual", "expected")]
    actual, expected = (t if len(t) <= _SHOWN_CHARACTERS else f"{t[:_SHOWN_CHARACTERS]}…" for t in texts)
    word = "is" if condition["passed"] else "is not"
    return f"{condition['field']} {actual} {word} {condition['operator']} {expected}"
