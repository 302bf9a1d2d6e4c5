"""Findings as SARIF 2.1.0, which code hosts show beside the lines."""

from collections.abc import Iterable
from typing import Any, Final

from cordum import __version__
from cordum._core import output_detectors
from cordum.cli.scan_stream import Place

__all__ = ["sarif"]

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS: Final = {"critical": "error", "high": "error", "medium": "warning", "low": "note", "info": "note"}
# Ranks of the code-scanning property `security-severity`.
_RANKS: Final = {"critical": "9.5", "high": "8.0", "medium": "5.5", "low": "3.0", "info": "1.0"}


def sarif(found: Iterable[tuple[str, Place]]) -> dict[str, Any]:
    """Return the log of the findings (address of the file, place)."""
    results = [_result(uri, place) for uri, place in found]
    named = {result["ruleId"] for result in results}
    rules = [
        {
            "id": detector,
            "name": detector,
            "shortDescription": {"text": detail},
            "fullDescription": {"text": description or detail},
            "defaultConfiguration": {"level": _LEVELS[severity]},
            "properties": {"type": kind, "security-severity": _RANKS[severity]},
        }
        for detector, kind, severity, detail, description, _ in output_detectors()
        if detector in named
    ]
    driver = {"name": "cordum", "version": __version__, "rules": rules}
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "utf16CodeUnits", "results": results}],
    }


def _result(uri: str, place: Place) -> dict[str, Any]:
    finding = place.finding
    region = {
        "startLine": place.line,
        "startColumn": place.column,
        "byteOffset": place.offset,
        "byteLength": finding.length,
    }
    location = {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}
    return {
        "ruleId": finding.detector,
        "level": _LEVELS[finding.severity],
        "message": {"text": finding.detail},
        "locations": [location],
        "properties": {"confidence": finding.confidence, "severity": finding.severity, "type": finding.type},
    }
