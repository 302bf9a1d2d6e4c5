"""Encodings, tables and redaction (output policy spec §7, §16.6): what is found is found whole, wherever it stands."""

import json
from random import Random

import pytest

from cordum.output import redact, scan
from tests.quality.samples import Sample, filled, samples
from tests.quality.surroundings import (
    COLUMNS,
    EDGES,
    ENCODINGS,
    TABLES,
    assignments,
    edged,
    encoded,
    table,
)

_SCANNER = {"secret_leak": "secret", "pii": "pii"}


@pytest.mark.parametrize("name", ENCODINGS)
def test_encoded_secrets_are_found(name: str) -> None:
    texts = list(encoded(name))
    missed = [
        sample.label
        for sample in texts
        if all(found.detector != sample.detector for found in scan(sample.data, scanners=["secret"]))
    ]
    assert len(texts) > 100
    assert len(missed) <= len(texts) * 0.02, missed


@pytest.mark.parametrize("name", EDGES)
def test_what_stands_beside_a_secret_hides_nothing(name: str) -> None:
    texts = list(edged(name))
    missed = [
        sample.label
        for sample in texts
        if all(found.detector != sample.detector for found in scan(sample.data, scanners=["secret"]))
    ]
    assert len(texts) > 100
    assert missed == []


@pytest.mark.parametrize(
    "text",
    [
        'password:\n  "{}"\n',
        '{{"password":\r\n "{}"}}',
        "password: |\n  {}\n",
        "token: >-\n    {}\n",
        "api_key = \\\n  '{}'",
        '<string name="api_key">{}</string>',
        "headers: {{ Authorization: `Bearer {}` }}",
    ],
)
def test_a_value_below_its_name_or_between_its_tags_is_found(text: str) -> None:
    value = "Xk29fjQ0" + "vTr8zzPq1LmW9bC4"
    found = [text.format(value).encode()[one.offset :][: one.length] for one in scan(text.format(value))]
    assert found == [value.encode()]
    assert scan(text.format("${{SECRET}}")) == []


@pytest.mark.parametrize("mark", ["+", "-", "# ", "> ", ""])
def test_a_manifest_with_a_sign_before_each_line_is_one(mark: str) -> None:
    lines = [
        "apiVersion: v1",
        "kind: Secret",
        "type: Opaque",
        "stringData:",
        "  answer: c29tZXRoaW5nCg",
        "kind: X",
    ]
    text = "@@ -1 +1,6 @@\n" + "".join(f"{mark}{line}\n" for line in lines)
    found = [text.encode()[one.offset :][: one.length] for one in scan(text, scanners=["kubernetes_secret"])]
    assert found == [b"c29tZXRoaW5nCg"]


def test_a_list_below_a_name_is_no_value() -> None:
    assert scan("tokens:\n  - Xk29fjQ0vTr8\npassword:\n  type: string\n  minLength: 8\n") == []
    assert scan("NAMES = [\n    'sodium_crypto_secret',\n    'xchacha20poly1305_Keygen',\n]\n") == []


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("detector", COLUMNS)
def test_a_column_is_named_by_its_head(detector: str, kind: str) -> None:
    text, values = table(detector, kind, rows=40)
    copy = redact(text, scan(text, scanners=[detector]))
    assert [value for value in values if value in copy] == []
    unnamed = text.replace(COLUMNS[detector][0].encode(), b"number", 1)
    assert scan(unnamed, scanners=[detector]) == []


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


def _left_over(sample: Sample) -> bool:
    value = sample.data[sample.start : sample.end]
    found = scan(sample.data, scanners=[sample.detector])
    copy = redact(sample.data, found)
    return bool(found) and (value in copy or (_is_json(sample.data) and not _is_json(copy)))


@pytest.mark.parametrize("group", _SCANNER)
def test_a_redacted_copy_holds_no_value_and_stays_json(group: str) -> None:
    hits = [sample for sample in samples() if sample.group == group and sample.is_hit]
    assert [sample.label for sample in hits if _left_over(sample)] == []


def test_references_and_placeholders_are_no_secrets() -> None:
    texts = list(assignments())
    assert len(texts) > 500
    assert [text for text in texts if scan(text, scanners=["secret"])] == []


@pytest.mark.parametrize(
    ("text", "detector"),
    [
        ("@@ -1 +1 @@\n+{}\n", "credit_card"),
        ("@@ -1 +1 @@\n-{}\n", "credit_card"),
        ("\x1b[1m{}\x1b[0m\n", "credit_card"),
        ("id=7&note={}&text=a%2Cb", "credit_card"),
        ("1,{},2\r\n", "us_ssn"),
        ("@@ -1 +1 @@\n+{}\n", "us_ssn"),
        ("\x1b[32m{}\x1b[0m\n", "us_ssn"),
        ("id,{},2\n", "br_cpf"),
        ("@@ -1 +1 @@\n+{}\n", "phone_number"),
        ("@@ -1 +1 @@\n-{}\n", "phone_number"),
    ],
)
def test_numbers_are_found_beside_signs_colours_and_commas(text: str, detector: str) -> None:
    rng = Random(f"{text}/{detector}")
    forms = {
        "credit_card": ("{card:37:15}", "{cardgroups:4:16}"),
        "us_ssn": ("{ssn:-}",),
        "br_cpf": ("{digits:3}.{digits:3}.{digits:3}-{digits:2}",),
        "phone_number": ("({nanp:3}) {nanp:3}-{digits:4}",),
    }
    for form in forms[detector]:
        value = "760.806.006-92" if detector == "br_cpf" else filled(form, rng)
        written = value.replace(" ", "+") if "id=7&" in text else value
        found = [one.detector for one in scan(text.format(written), scanners=["pii"])]
        assert detector in found, (value, found)
