"""Secrets, personal data and injected instructions in any text: find them, mask them. Works without a Cordum system."""

from cordum.output.scanning import Finding, Scanners, redact, scan

__all__ = ["Finding", "Scanners", "redact", "scan"]
