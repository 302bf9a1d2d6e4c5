"""Values with the alphabets and check digits of their formats, from public descriptions, not from the engine."""

import base64
import hashlib
import json
import zlib
from collections.abc import Callable
from random import Random

from tests.quality import national, wallets

__all__ = ["fill"]

_LOWER, _UPPER, _DIGITS = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
_BASE62 = _DIGITS + _UPPER + _LOWER
_CLASSES = {
    "hex": "0123456789abcdef",
    "b32": _UPPER + "234567",
    "B32": _UPPER + "234567",
    "a32": _LOWER + "234567",
    "B36": _UPPER + _DIGITS,
    "a36": _LOWER + _DIGITS,
    "B26": _UPPER,
    "b58": "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz",
    "b62": _BASE62,
    "alpha": _LOWER + _UPPER,
    "w": _BASE62 + "-_",
    "b64x": _BASE62 + "+/",
    "bcrypt": _BASE62 + "./",
    "crypt": _BASE62 + "./",
    "digits": _DIGITS,
    "nz": "123456789",
    "nanp": "23456789",
}
_WORDS = (
    "anna",
    "bert",
    "carla",
    "dmitri",
    "elena",
    "farid",
    "grace",
    "hiro",
    "ines",
    "jonas",
    "kira",
    "lev",
)


def fill(name: str, rng: Random) -> str:
    """Return the text of one placeholder: ``class:count`` or a function of this module with its argument."""
    kind, _, argument = name.partition(":")
    if kind in _FUNCTIONS:
        return _FUNCTIONS[kind](rng, argument)
    return _characters(rng, kind, int(argument))


def _characters(rng: Random, kind: str, count: int) -> str:
    """Characters of a class; never opening or closing with a sign, and with all the classes a real value would have."""
    alphabet = _CLASSES[kind]
    edge = [c for c in alphabet if c.isalnum()]
    while True:
        text = "".join(rng.choice(alphabet) for _ in range(count))
        if count and (not text[0].isalnum() or not text[-1].isalnum()):
            text = rng.choice(edge) + text[1:-1] + rng.choice(edge) if count > 1 else rng.choice(edge)
        if count < 12 or len(set(text)) >= min(count, len(alphabet)) // 3:
            return text


def _base62(number: int) -> str:
    digits = ""
    while number:
        number, rest = divmod(number, 62)
        digits = _BASE62[rest] + digits
    return digits.rjust(6, "0")


def _with_crc(rng: Random, argument: str) -> str:
    body = _characters(rng, "b62", int(argument))
    return body + _base62(zlib.crc32(body.encode()))


def _with_bad_crc(rng: Random, argument: str) -> str:
    body = _characters(rng, "b62", int(argument))
    return body + _base62(zlib.crc32(body.encode()) ^ 0x5A5A5A)


def _base64(data: bytes, *, url: bool = False) -> str:
    encode = base64.urlsafe_b64encode if url else base64.b64encode
    return encode(data).decode()


def _json_part(value: object) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode(), url=True).rstrip("=")


def _jwt(rng: Random, _: str) -> str:
    claims = {"sub": _characters(rng, "digits", 10), "name": rng.choice(_WORDS), "iat": 1_700_000_000}
    return ".".join(
        [_json_part({"alg": "HS256", "typ": "JWT"}), _json_part(claims), _characters(rng, "w", 43)]
    )


def _not_jwt(rng: Random, _: str) -> str:
    """Three parts of which the first is JSON without ``alg``."""
    return ".".join([_json_part({"note": "just text"}), _json_part({"x": 1}), _characters(rng, "w", 43)])


def _pem(rng: Random, label: str) -> str:
    body = [_characters(rng, "b64x", 64) for _ in range(5)] + [_characters(rng, "b64x", 30) + "=="]
    dashes = "-" * 5
    return "\n".join([f"{dashes}BEGIN {label}{dashes}", *body, f"{dashes}END {label}{dashes}"])


def _ssh2(rng: Random, label: str) -> str:
    """A block as RFC 4716 writes it: four dashes and blanks."""
    body = [_characters(rng, "b64x", 64) for _ in range(5)]
    dashes = "-" * 4
    return "\n".join([f"{dashes} BEGIN {label} {dashes}", *body, f"{dashes} END {label} {dashes}"])


def _discord(rng: Random, _: str) -> str:
    user = str(rng.randrange(10**17, 10**18))
    first = _base64(user.encode(), url=True).rstrip("=")
    return f"{first}.{_characters(rng, 'w', 6)}.{_characters(rng, 'w', 38)}"


def _uuid(rng: Random, _: str) -> str:
    text = _characters(rng, "hex", 32)
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def _mixed(rng: Random, argument: str) -> str:
    """A password as people choose them: all classes of characters."""
    count = int(argument)
    text = [rng.choice(_UPPER), rng.choice(_LOWER), rng.choice(_DIGITS), rng.choice("!#%+*?-")]
    text += [rng.choice(_BASE62 + "!#%+*?-") for _ in range(count - len(text))]
    rng.shuffle(text)
    return rng.choice(_LOWER) + "".join(text)[1:]


_FUNCTIONS: dict[str, Callable[[Random, str], str]] = {
    "crc62": _with_crc,
    "badcrc62": _with_bad_crc,
    "uuid": _uuid,
    "jwt": _jwt,
    "notjwt": _not_jwt,
    "pem": _pem,
    "ssh2": _ssh2,
    "discord": _discord,
    "mixed": _mixed,
    "word": lambda rng, _: rng.choice(_WORDS),
    "octet": lambda rng, _: str(rng.randrange(11, 240)),
    "b64text": lambda rng, _: _base64(_characters(rng, "b62", 18).encode()),
    "basic": lambda rng, _: _base64(f"{rng.choice(_WORDS)}:{_characters(rng, 'b62', 14)}".encode()),
    "b64q": lambda rng, argument: (
        _base64(rng.randbytes(32)).replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    ),
    "sha256": lambda rng, _: hashlib.sha256(rng.randbytes(8)).hexdigest(),
    **national.FUNCTIONS,
    **wallets.FUNCTIONS,
}
