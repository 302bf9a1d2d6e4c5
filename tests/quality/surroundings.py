"""The same samples in harder surroundings: encoded, wrapped, in tables; and everyday text that only resembles them."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import escape
from random import Random

from tests.quality.samples import Sample, samples
from tests.quality.values import fill

__all__ = ["COLUMNS", "EDGES", "ENCODINGS", "TABLES", "assignments", "edged", "encoded", "table"]


def _base64_lines(data: bytes) -> bytes:
    """Base64 in lines of 76 characters, as mail and the command of that name write it."""
    return base64.encodebytes(data)


def _hex_lines(data: bytes) -> bytes:
    """Sixty digits per line, as ``xxd -p`` writes."""
    text = data.hex()
    return "\n".join(text[at : at + 60] for at in range(0, len(text), 60)).encode()


def _entities(data: bytes) -> bytes:
    return "".join(f"&#{ord(character)};" for character in data.decode()).encode()


def _unicode(data: bytes) -> bytes:
    text = data.decode()
    return "".join(
        f"\\u{ord(character):04x}" if place % 3 == 0 else character for place, character in enumerate(text)
    ).encode()


def _percent(data: bytes) -> bytes:
    return b"".join(b"%%%02X" % byte if place % 2 else bytes([byte]) for place, byte in enumerate(data))


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "base64": base64.b64encode,
    "base64url": lambda data: base64.urlsafe_b64encode(data).rstrip(b"="),
    "base64 in lines": _base64_lines,
    "base64 in JSON": lambda data: json.dumps({"body": _base64_lines(data).decode()}).encode(),
    "base64 twice": lambda data: base64.b64encode(base64.b64encode(data)),
    "hex": lambda data: data.hex().encode(),
    "hex in lines": _hex_lines,
    "entities": _entities,
    "unicode escapes": _unicode,
    "percent": _percent,
    "UTF-16": lambda data: b"\xff\xfe" + data.decode().encode("utf-16-le"),
    "diff": lambda data: b"@@ -1,2 +1,3 @@\n" + b"\n".join(b"+" + line for line in data.split(b"\n")),
    "JSON in JSON": lambda data: json.dumps({"out": json.dumps({"line": data.decode()})}).encode(),
    "CSV": lambda data: b'1,"' + data.replace(b'"', b'""') + b'",2\n',
    "bytes like a mark": lambda data: b"\xff\xfe\xfd raw: " + data + b" \x80\n",
    "HTML": lambda data: f"<td>{escape(data.decode(), quote=False)}</td>".encode(),
}


def encoded(name: str) -> Iterator[Sample]:
    """One text per template of a secret that is written in one line, in an encoding."""
    encode = ENCODINGS[name]
    for sample in samples():
        body = sample.data[sample.start : sample.end]
        if sample.group != "secret_leak" or sample.wrapping != "plain" or not sample.is_hit or b"\n" in body:
            continue
        # What names the value belongs to it; the frame of the sample does not.
        line = sample.data.split(b"\n", 1)[1].rsplit(b"\n", 2)[0]
        if b"\n" in line:
            continue
        data = b"x " + encode(b"note: " + line + b" end of it") + b"\n"
        if name in ("UTF-16", "base64 in JSON", "JSON in JSON", "bytes like a mark"):
            data = encode(b"note: " + line + b" end of it")
        yield replace(sample, wrapping=name, data=data, start=0, end=len(data))


EDGES = {
    "added line": "+{}\n",
    "removed line": "@@ -1,2 +1,1 @@\n-{}\n",
    "colours": "\x1b[32mINFO\x1b[0m \x1b[1m{}\x1b[0m done\n",
    "end of a sentence": "The result is {}.",
    "cell": "1,{},x\n",
    "typographic quotes": "\u201c{}\u201d",
    "full stop of another script": "\u7ed3\u679c {}\u3002",
}
"""What may stand right beside a value."""


def edged(name: str) -> Iterator[Sample]:
    """One text per template of a secret that is written in one line, with other characters beside it."""
    for sample in samples():
        if sample.group != "secret_leak" or sample.wrapping != "plain" or not sample.is_hit:
            continue
        line = sample.data.split(b"\n", 1)[1].rsplit(b"\n", 2)[0]
        if b"\n" not in line:
            data = EDGES[name].format(line.decode()).encode()
            yield replace(sample, wrapping=name, data=data, start=0, end=len(data))


COLUMNS = {
    "us_ssn": ("ssn", "{ssn:}"),
    "date_of_birth": ("date_of_birth", "1984-0{nz:1}-1{digits:1}"),
    "phone_number": ("Phone", "{nanp:3}{nanp:3}{digits:4}"),
    "uk_nhs": ("NHS number", "{nhsdashes}"),
    "pl_pesel": ("pesel", "{pesel}"),
    "in_aadhaar": ("aadhaar", "{aadhaar}"),
    "nl_bsn": ("BSN", "{bsn}"),
    "us_bank_routing": ("routing_number", "{routing}"),
}
"""Numbers that need their names, and what heads their columns."""

TABLES = {
    "comma": ("{0},{1},{2}", ""),
    "semicolon": ('"{0}";"{1}";"{2}"', ""),
    "tab": ("{0}\t{1}\t{2}", ""),
    "markdown": ("| {0} | {1} | {2} |", "|---|---|---|\n"),
}


def table(detector: str, kind: str, rows: int) -> tuple[bytes, list[bytes]]:
    """A table with a column of such numbers, and the numbers."""
    rng, (heading, template) = Random(f"{detector}/{kind}"), COLUMNS[detector]
    form, rule = TABLES[kind]
    values: list[str] = []
    while len(values) < rows:
        name, _, argument = template.strip("{}").partition(":")
        is_one = template.startswith("{") and template.count("{") == 1
        value = fill(f"{name}:{argument}", rng) if is_one else _filled(template, rng)
        values.append(value)
    lines = [form.format(number, rng.choice(["Ana", "Bo"]), value) for number, value in enumerate(values)]
    text = "Export of today:\n" + form.format("id", "name", heading) + "\n" + rule + "\n".join(lines) + "\n"
    return text.encode(), [value.encode() for value in values]


def _filled(template: str, rng: Random) -> str:
    parts = template.split("{")
    filled = [parts[0]]
    for part in parts[1:]:
        name, _, rest = part.partition("}")
        filled.append(fill(name, rng) + rest)
    return "".join(filled)


_NAMES = (
    "password",
    "api_key",
    "secret",
    "token",
    "client_secret",
    "DB_PASSWORD",
    "apiKey",
    "accessKey",
    "privateKey",
    "auth_key",
    "credentials",
)
_NO_VALUES = (
    "${DB_PASSWORD}",
    "{{ vault.secret }}",
    "os.environ['X_SECRET_VALUE']",
    'os.Getenv("PASSWORD_VALUE")',
    "process.env.MY_SECRET_VALUE",
    '"changeme"',
    '"********"',
    "null",
    "getPassword()",
    "config.password.value",
    '"[REDACTED]"',
    '"your-api-key-here"',
    "$(cat /run/secrets/x)",
    "%DB_PASSWORD%",
    "self.password_field",
    "req.body.password",
    "vault:secret/data/app#password",
    "!Ref DatabasePassword",
    "${{ secrets.MY_TOKEN }}",
    "Optional[str]",
    "str = Field(...)",
    '"Password must be at least 8 characters"',
    '"Forgot your password?"',
    "/run/secrets/db_password",
    "hash_password(plain)",
    "ENC[AES256_GCM,data:]",
    'f"{token}"',
    "${var.db_password}",
    "file:///etc/secret",
    "await getToken()",
    "Symbol('token')",
    "lambda x: x",
    "'INSERT_TOKEN_HERE'",
    "'REPLACE_ME_PLEASE'",
)


def assignments() -> Iterator[str]:
    """Secret names with references, placeholders and types in the place of a value."""
    for name in _NAMES:
        for value in _NO_VALUES:
            yield f"{name} = {value}"
            yield f"{name}: {value}"
