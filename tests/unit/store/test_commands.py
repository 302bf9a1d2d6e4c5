"""Packed commands against those of the client library."""

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordum import _core

items = st.text(max_size=12) | st.binary(max_size=40) | st.integers() | st.floats(allow_nan=False)


@given(st.lists(st.lists(items, min_size=1, max_size=6).map(tuple), max_size=5))
def test_they_are_those_the_library_packs(commands: list[tuple[str | bytes | int | float, ...]]) -> None:
    assert _core.pack_commands(commands) == b"".join(map(hiredis.pack_command, commands))


@pytest.mark.parametrize("item", [None, True, [], ("a",), memoryview(b"a")])
def test_anything_else_is_refused(item: object) -> None:
    with pytest.raises(TypeError, match="a redis command is made of str, bytes, int and float, got"):
        _core.pack_commands([("SET", "k", item)])
