"""`cordumctl output scan` and `output redact`: no gateway, streams, formats, exit codes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pytest

from cordum.cli import scan_stream
from cordum.cli.sarif import sarif
from cordum.cli.scan_stream import Advance, Place, Search, places, redacted, windows
from cordum.output import scan

KEY = "AKIA" + "1234567890ABCDEF"


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cordum.cli.main", "output", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def test_records_come_back_in_order_with_their_ids() -> None:
    records = [{"id": 7, "text": f"x {KEY}"}, {"id": {"a": 1}, "text": "clean"}, {"text": "bob@example.org"}]
    done = run("scan", "--jsonl", "-", stdin="\n".join(map(json.dumps, records)))
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["id"] for one in told] == [7, {"a": 1}, None]
    assert [[finding["detector"] for finding in one["findings"]] for one in told] == [
        ["aws_access_key_id"],
        [],
        ["email_address"],
    ]
    assert told[0]["findings"][0] == {
        "detector": "aws_access_key_id",
        "type": "secret_leak",
        "severity": "critical",
        "confidence": 0.9,
        "offset": 2,
        "length": 20,
        "detail": "AWS access key id",
    }
    assert KEY not in done.stdout


@pytest.mark.parametrize(
    "name", ["123456789012345678901234567890", '"a\\ud800"', '"é"', "1.5e300", "[null, true]"]
)
def test_any_id_comes_back_as_it_is(name: str) -> None:
    done = run("scan", "--jsonl", "-", stdin=f'{{"id": {name}, "text": "\\ud800 bob@example.org"}}\n')
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["id"] == json.loads(name)
    assert [finding["detector"] for finding in told["findings"]] == ["email_address"]


@pytest.mark.parametrize("record", ['{"text": 1}', '{"id": NaN, "text": "a"}', "[]", "x"])
def test_a_broken_record_names_its_line(record: str) -> None:
    done = run("scan", "--jsonl", "-", stdin=f'{{"text": "a"}}\n{record}\n')
    assert done.returncode == 1
    assert "line 2" in done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_one_input_gives_one_array() -> None:
    done = run("scan", "--scanners", "pii,secret", stdin=f"mail bob@example.org {KEY}")
    assert [finding["detector"] for finding in json.loads(done.stdout)] == [
        "email_address",
        "aws_access_key_id",
    ]


def test_the_exit_code_follows_the_severity_asked_for() -> None:
    text = "mail bob@example.org"
    assert run("scan", stdin=text).returncode == 0
    assert run("scan", "--fail-on", "high", stdin=text).returncode == 2
    assert run("scan", "--fail-on", "critical", stdin=text).returncode == 0
    assert run("scan", "--scanners", "nope", stdin=text).returncode == 1
    assert run("scan", "/no/such/file").returncode == 1


def test_sarif_names_rule_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(f"one\ntwo {KEY}\n", "utf-8")
    (tmp_path / "b.log").write_text("clean\n", "utf-8")
    done = run("scan", "--format", "sarif", str(tmp_path))
    (log,) = json.loads(done.stdout)["runs"]
    (result,) = log["results"]
    place = result["locations"][0]["physicalLocation"]
    assert result["ruleId"] == "aws_access_key_id"
    assert [rule["id"] for rule in log["tool"]["driver"]["rules"]] == ["aws_access_key_id"]
    assert place["artifactLocation"]["uri"].endswith("a.log")
    assert (place["region"]["startLine"], place["region"]["startColumn"]) == (2, 5)


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (f"é\U0001f600 {KEY}\n".encode(), (1, 5, 1, 25)),
        (f"\ufeffone\né\U0001f600 {KEY}".encode("utf-16-le"), (2, 5, 2, 25)),
        (f"\ufeffone\né\U0001f600 {KEY}".encode("utf-16-be"), (2, 5, 2, 25)),
        (b"\xff\xfd\n" + KEY.encode(), (2, 1, 2, 21)),
    ],
)
def test_columns_are_those_of_an_editor(encoded: bytes, expected: tuple[int, int, int, int]) -> None:
    (place,) = places(BytesIO(encoded), Search(["secret"]), Advance())
    assert (place.line, place.column, place.end_line, place.end_column) == expected


def test_findings_are_printed_while_the_file_is_read() -> None:
    """Nothing is kept: a file may have more findings than memory holds."""
    read: list[int] = []

    def found() -> Iterator[tuple[str, Place]]:
        for number, finding in enumerate(scan(KEY, scanners=["secret"]) * 3):
            read.append(number)
            yield "a.log", Place(finding, 0, 1, 1, 1, 21)

    text = sarif(found())
    head = [next(text) for _ in range(2)]
    assert (read, "results" in head[0]) == ([0], True)
    log = json.loads("".join([*head, *text]))
    assert len(log["runs"][0]["results"]) == 3
    assert [rule["id"] for rule in log["runs"][0]["tool"]["driver"]["rules"]] == ["aws_access_key_id"]


def test_sarif_is_what_code_hosts_read(tmp_path: Path) -> None:
    (tmp_path / "a b.log").write_text(f"one\ntwo {KEY} {KEY}\nbob@example.org\n", "utf-8")
    done = run("scan", "--format", "sarif", str(tmp_path / "a b.log"))
    log = json.loads(done.stdout)
    assert (log["version"], log["$schema"]) == ("2.1.0", "https://json.schemastore.org/sarif-2.1.0.json")
    (only,) = log["runs"]
    rules = only["tool"]["driver"]["rules"]
    assert only["tool"]["driver"]["name"] == "cordum"
    assert only["columnKind"] == "utf16CodeUnits"
    for result in only["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] == rules[result["ruleIndex"]]["defaultConfiguration"]["level"] == "error"
        assert result["message"]["text"]
        location = result["locations"][0]["physicalLocation"]
        assert location["artifactLocation"]["uri"].endswith("/a%20b.log")
    assert [result["locations"][0]["physicalLocation"]["region"] for result in only["results"]] == [
        region(2, 5, 25, 8, 20),
        region(2, 26, 46, 29, 20),
        region(3, 1, 16, 50, 15),
    ]
    assert KEY not in done.stdout


def region(line: int, column: int, end_column: int, offset: int, length: int) -> dict[str, int]:
    return {
        "startLine": line,
        "startColumn": column,
        "endLine": line,
        "endColumn": end_column,
        "byteOffset": offset,
        "byteLength": length,
    }


def test_a_scanner_file_adds_patterns(tmp_path: Path) -> None:
    file = tmp_path / "scanners.yaml"
    file.write_text("scanners: {house: {patterns: [{name: code, regex: 'HOUSE-[0-9]+'}]}}", "utf-8")
    done = run("scan", "--scanner-file", str(file), stdin=f"HOUSE-1 {KEY}")
    assert [finding["detector"] for finding in json.loads(done.stdout)] == ["code", "aws_access_key_id"]
    done = run("scan", "--scanner-file", str(file), "--scanners", "house", stdin=f"HOUSE-1 {KEY}")
    assert [finding["type"] for finding in json.loads(done.stdout)] == ["house"]
    done = run("scan", "--scanner-file", str(file), "--format", "sarif", stdin="HOUSE-1")
    (rule,) = json.loads(done.stdout)["runs"][0]["tool"]["driver"]["rules"]
    assert (rule["id"], rule["fullDescription"]["text"]) == ("code", "code")
    assert run("redact", "--scanner-file", str(file), stdin="a HOUSE-1").stdout == "a [REDACTED]"


def test_a_scanner_file_with_faults_tells_all_of_them(tmp_path: Path) -> None:
    file = tmp_path / "scanners.yaml"
    file.write_text("scanners: {a: {patterns: [{regex: '(a'}, {regex: 'b*'}]}}", "utf-8")
    done = run("scan", "--scanner-file", str(file), stdin="x")
    assert done.returncode == 1
    assert f"{file}: scanners.a.patterns[0].regex: invalid pattern: unclosed group" in done.stderr
    assert f"{file}: scanners.a.patterns[1].regex: invalid pattern: matches the empty string" in done.stderr
    assert run("scan", "--scanner-file", "/no/such/file", stdin="x").returncode == 1


def test_records_need_no_other_files_beside_them() -> None:
    done = run("scan", "--jsonl", "-", "somewhere", stdin="")
    assert done.returncode == 1
    assert "--jsonl" in done.stderr


def test_redact_writes_a_clean_copy(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text(json.dumps({"a": f"x {KEY}", "b": 1}), "utf-8")
    assert run("redact", str(tmp_path / "in.json"), "--out", str(tmp_path / "out.json")).returncode == 0
    assert json.loads((tmp_path / "out.json").read_text("utf-8")) == {"a": "x [REDACTED]", "b": 1}


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_stream, "OVERLAP_BYTES", 256)
    monkeypatch.setattr(scan_stream, "MARGIN_BYTES", 128)


def split(data: bytes) -> list[scan_stream.Window]:
    return list(windows(BytesIO(data), 700))


@pytest.mark.usefixtures("small_windows")
def test_windows_share_out_every_byte() -> None:
    data = b"".join(f"line {number} of the log\n".encode() for number in range(400))
    shares = split(data)
    assert len(shares) > 10
    assert shares[0].start == 0
    assert shares[-1].end == len(data)
    assert all(one.end == other.start for one, other in pairwise(shares))


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("shift", range(0, 300, 37))
def test_a_value_across_windows_is_found_and_masked_once(shift: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_stream, "WINDOW_BYTES", 700)
    original = windows

    def shorter(stream: BytesIO) -> object:
        return original(stream, 700)

    monkeypatch.setattr(scan_stream, "windows", shorter)
    filler = b"x" * shift + b"\n"
    lines = [f'{{"n": {number}, "t": "key {KEY}"}}\n'.encode() for number in range(100)]
    data = filler + b"".join(lines)
    found = list(places(BytesIO(data), Search(["secret"]), Advance()))
    assert [place.line for place in found] == list(range(2, 102))
    assert all(data[place.offset :].startswith(KEY.encode()) for place in found)
    copy = b"".join(redacted(BytesIO(data), Search(["secret"]), Advance()))
    assert copy == data.replace(KEY.encode(), b"[REDACTED]")
    assert all(json.loads(line) for line in copy.splitlines()[1:])
