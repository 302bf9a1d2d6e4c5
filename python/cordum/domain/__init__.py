"""Enums, dataclasses and errors of the business. No I/O."""
