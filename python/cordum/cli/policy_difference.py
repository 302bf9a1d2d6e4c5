"""`cordumctl policy diff OLD NEW`: which requests two policy files decide otherwise, proved without a server."""

import json
import sys
from pathlib import Path
from typing import Any

from cordum._core import PolicyError, diff_policies
from cordum.cli.exits import CommandExit
from cordum.cli.policy_analysis import note_problems, read_policy

__all__ = ["difference", "print_difference"]


def difference(old: Path, new: Path, scanners: bytes | None = None) -> dict[str, Any]:
    """Compare two policy files. Exits 2 when one cannot be read or is no valid policy."""
    before, after = _valid(old, scanners), _valid(new, scanners)
    report: dict[str, Any] = json.loads(diff_policies((before, []), (after, []), scanners))
    return report


def _valid(file: Path, scanners: bytes | None) -> bytes:
    content = read_policy(file)
    try:
        diff_policies((content, []), (content, []), scanners)
    except PolicyError as error:
        note_problems(str(file), error.errors)
        raise CommandExit(1) from error
    return content


def print_difference(report: dict[str, Any], *, top: int) -> None:
    """Print the verdict, then each class of requests with a request of it, what becomes looser first."""
    changes, undecided = report["changes"], report["undecided"]
    if report["equivalent"]:
        lines = ["equivalent: every request keeps its verdict"]
    elif report["equivalent"] is None:
        lines = [f"no change found, {len(undecided)} questions undecided"]
    else:
        count = len(changes) + report["omitted"]
        lines = [f"{count} {'class' if count == 1 else 'classes'} of requests change verdict"]
    for change in changes[:top]:
        lines += _change(change)
    if len(changes) > top:
        lines.append(f"\n{len(changes) - top} more; see --top and --json")
    for entry in undecided[:top]:
        sides = " -> ".join(_rule(entry[side]) for side in ("old", "new") if entry[side])
        lines.append(f"\nundecided: {entry['part']} {sides}: {entry['reason']}")
    # Control characters in policy text must not drive the terminal.
    text = "\n".join(lines)
    sys.stdout.write("".join(c if c.isprintable() or c == "\n" else "?" for c in text) + "\n")


def _change(change: dict[str, Any]) -> list[str]:
    witness = change["witness"]
    old, new = witness["old"], witness["new"]
    lines = [f"\n{change['direction']}: {_verdict(old)} -> {_verdict(new)}  [{change['part']}]"]
    if change["class"]:
        conditions = "; ".join(change["class"]["conditions"]) or "any request"
        lines.append(f"  where    {conditions}")
        lines += [f"  except   {_exception(entry)}" for entry in change["class"]["except"]]
        if more := change["class"]["except_more"]:
            lines.append(f"  except   what {more} more rules take")
    lines.append(f"  request  {json.dumps(witness['request'], ensure_ascii=False)}")
    if exceeded := witness.get("exceeded"):
        names = {side: ", ".join(exceeded[side]) or "none" for side in ("old", "new")}
        lines.append(f"  counters exceeded: {names['old']} before, {names['new']} after")
    return lines


def _exception(entry: dict[str, Any]) -> str:
    rule = f"`{entry['rule']}`" + ("" if entry["policy"] == "both" else f" of the {entry['policy']} policy")
    conditions = "; ".join(entry["conditions"])
    return f"{conditions}  ({rule})" if conditions else f"what {rule} takes"


def _verdict(verdict: dict[str, Any]) -> str:
    return f"{verdict['decision']} by {verdict['rule_id'] or 'no rule'}"


def _rule(rule: dict[str, Any]) -> str:
    return str(rule.get("id") or rule.get("path") or "no rule")
