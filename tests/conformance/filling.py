"""Messages with every field set to something of its own."""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_DEPTH = 3


def fill(message: Message, seed: int = 1, depth: int = _DEPTH) -> Message:
    """Set every field of ``message``, nested ones down to ``depth``; of a oneof the last one wins."""
    for field in message.DESCRIPTOR.fields:
        value = seed * 31 + field.number
        if _is_map(field):
            pairs = getattr(message, field.name)
            pairs.update({f"{field.name}-{value}": "v", "empty": "", "Ümlaut": "ß✓"})
        elif field.is_repeated:
            _fill_repeated(message, field, value, depth)
        elif field.message_type is not None:
            if depth > 0:
                fill(getattr(message, field.name), value, depth - 1)
                getattr(message, field.name).SetInParent()
        else:
            setattr(message, field.name, _scalar(field, value))
    return message


def _fill_repeated(message: Message, field: Any, value: int, depth: int) -> None:
    items = getattr(message, field.name)
    if field.message_type is not None:
        if depth > 0:
            fill(items.add(), value, depth - 1)
    else:
        items.extend([_scalar(field, value), _scalar(field, value + 1)])


def _is_map(field: Any) -> bool:
    kind = field.message_type
    return kind is not None and bool(kind.GetOptions().map_entry)


def _scalar(field: Any, value: int) -> object:
    if field.enum_type is not None:
        return field.enum_type.values[-1].number
    return {
        FieldDescriptor.CPPTYPE_STRING: f"{field.name}-{value}".encode()
        if field.type == FieldDescriptor.TYPE_BYTES
        else f"{field.name}-{value}",
        FieldDescriptor.CPPTYPE_BOOL: True,
        FieldDescriptor.CPPTYPE_FLOAT: value / 4,
        FieldDescriptor.CPPTYPE_DOUBLE: value / 4,
    }.get(field.cpp_type, value)
