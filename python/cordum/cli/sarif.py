"""Findings as SARIF 2.1.0, which code hosts show beside the lines."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import quote

from cordum import __version__
from cordum._core import Finding, output_detectors
from cordum.cli.scan_stream import Place

__all__ = ["sarif"]

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS: Final = {"critical": "error", "high": "error", "medium": "warning", "low": "note", "info": "note"}
# Ranks of the code-scanning property `security-severity`.
_RANKS: Final = {"critical": "9.5", "high": "8.0", "medium": "5.5", "low": "3.0", "info": "1.0"}


def sarif(found: Iterable[tuple[str, Place]]) -> Iterator[str]:
    """Yield the text of the log of the findings (address of the file, place). They are not kept: the rules, known only
    when all findings are, stand behind them."""
    described = {row[0]: row[4] for row in output_detectors()}
    rules: dict[str, dict[str, Any]] = {}
    yield f'{{"$schema": "{_SCHEMA}", "version": "2.1.0", "runs": [{{"columnKind": "utf16CodeUnits", "results": ['
    separator = "\n"
    for uri, place in found:
        finding = place.finding
        rules.setdefault(finding.detector, _rule(finding, described.get(finding.detector, "")))
        number = list(rules).index(finding.detector)
        yield separator + json.dumps(_result(uri, place, number))
        separator = ",\n"
    driver = {"name": "cordum", "version": __version__, "rules": list(rules.values())}
    yield f'\n], "tool": {json.dumps({"driver": driver}, indent=1)}}}]}}\n'


def _rule(finding: Finding, description: str) -> dict[str, Any]:
    return {
        "id": finding.detector,
        "name": finding.detector,
        "shortDescription": {"text": finding.detail},
        "fullDescription": {"text": description or finding.detail},
        "defaultConfiguration": {"level": _LEVELS[finding.severity]},
        "properties": {"type": finding.type, "security-severity": _RANKS[finding.severity]},
    }


def _result(uri: str, place: Place, rule_index: int) -> dict[str, Any]:
    finding = place.finding
    region = {
        "startLine": place.line,
        "startColumn": place.column,
        "endLine": place.end_line,
        "endColumn": place.end_column,
        "byteOffset": place.offset,
        "byteLength": finding.length,
    }
    location = {"physicalLocation": {"artifactLocation": {"uri": quote(uri)}, "region": region}}
    return {
        "ruleId": finding.detector,
        "ruleIndex": rule_index,
        "level": _LEVELS[finding.severity],
        "message": {"text": finding.detail},
        "locations": [location],
        "properties": {"confidence": finding.confidence, "severity": finding.severity, "type": finding.type},
    }
