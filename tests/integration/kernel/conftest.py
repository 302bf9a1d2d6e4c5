"""Fixtures of the kernel tests."""

from tests.support.kernel import kernel

__all__ = ["kernel"]
