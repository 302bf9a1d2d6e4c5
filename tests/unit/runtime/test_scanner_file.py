"""The scanner file on disk: what counts when it is missing, broken, changed or gone."""

from pathlib import Path

from structlog.testing import capture_logs

from cordum.runtime.scanner_file import ScannerFile

GOOD = b"scanners: {house: {patterns: [{name: code, regex: 'HOUSE-[0-9]+'}]}}"
ROOT = Path(__file__).resolve().parents[3]


def test_the_last_content_without_faults_counts(tmp_path: Path) -> None:
    path = tmp_path / "scanners.yaml"
    file = ScannerFile(str(path))
    with capture_logs() as logs:
        assert file.read() is None
        assert file.read() is None
        path.write_bytes(b"scanners: {house: {patterns: [{regex: '(a'}]}}")
        assert file.read() is None
        assert (file.is_refused, file.rejected_patterns) == (True, 1)
        path.write_bytes(GOOD)
        assert file.read() == GOOD
        assert not file.is_refused
        path.write_bytes(b"scanners: 1")
        assert file.read() == GOOD
        assert file.read() == GOOD
        assert (file.is_refused, file.rejected_patterns) == (True, 1)
        path.unlink()
        assert file.read() is None
    told = [(entry["log_level"], entry["event"], entry.get("reason", "")) for entry in logs]
    assert told == [
        ("warning", "scanner file not found, built-in detectors only", ""),
        (
            "error",
            "scanner file refused, built-in detectors only",
            "scanners.house.patterns[0].regex: invalid pattern: unclosed group",
        ),
        ("error", "scanner file refused, the former content stays", "scanners: must be a mapping"),
        ("warning", "scanner file not found, built-in detectors only", ""),
    ]


def test_a_file_that_cannot_be_read_or_is_too_large_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "scanners.yaml"
    path.write_bytes(GOOD)
    file = ScannerFile(str(path))
    assert file.read() == GOOD
    path.write_bytes(b"#" * (1024 * 1024 + 1))
    with capture_logs() as logs:
        assert file.read() == GOOD
        path.unlink()
        path.mkdir()
        assert file.read() == GOOD
    assert [entry["reason"] for entry in logs] == [
        "larger than 1048576 bytes",
        "cannot be read: is a directory",
    ]


def test_patterns_that_read_every_content_are_named(tmp_path: Path) -> None:
    path = tmp_path / "scanners.yaml"
    path.write_bytes(b"scanners: {x: {patterns: [{name: any_number, regex: '[0-9]{9}'}]}}")
    with capture_logs() as logs:
        assert ScannerFile(str(path)).read() is not None
    assert [(entry["log_level"], entry["patterns"]) for entry in logs] == [("warning", "any_number")]


def test_the_shipped_file_has_no_faults_and_adds_nothing() -> None:
    shipped = ROOT / "config/output_scanners.yaml"
    with capture_logs() as logs:
        assert ScannerFile(str(shipped)).read() is None
    assert logs == []
    embedded = ROOT / "python/cordum/embedded/defaults/output_scanners.yaml"
    assert embedded.read_bytes() == shipped.read_bytes()


def test_the_examples_of_the_shipped_file_work(tmp_path: Path) -> None:
    shipped = (ROOT / "config/output_scanners.yaml").read_text("utf-8")
    path = tmp_path / "scanners.yaml"
    path.write_text(shipped.replace("scanners: {}", "scanners:").replace("\n#  ", "\n  "), "utf-8")
    assert ScannerFile(str(path)).read() is not None
