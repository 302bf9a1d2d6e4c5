"""The tree keeps its own rules: sizes, names, generated files, entry points."""

import importlib
import importlib.util
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import cordum
from cordum import _core

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("python", "rust", "tests", "tools", "docs", "examples", "benches", "config", "proto")
TEXT = frozenset({".py", ".pyi", ".rs", ".lua", ".md", ".yaml", ".yml", ".toml", ".proto", ".sh"})
CODE = frozenset({".py", ".rs", ".lua"})
MAX_LINES = 500
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def repository_files(suffixes: frozenset[str]) -> Iterator[Path]:
    """Yield our files of these kinds, without what builds and caches leave behind."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    found += [path for path in ROOT.iterdir() if path.is_file()]
    for path in found:
        parts = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") and part != ".ci" for part in parts[:-1])
        if path.suffix in suffixes and path.is_file() and not hidden and "target" not in parts:
            yield path


def load_tool(name: str) -> ModuleType:
    """Import a script of tools/."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_source_files_stay_short() -> None:
    too_long = {
        str(path.relative_to(ROOT))
        for path in repository_files(CODE)
        if "cordum/v1/" not in path.as_posix()
        and len(path.read_text(encoding="utf-8").splitlines()) >= MAX_LINES
    }
    assert too_long == set()


def test_no_file_names_a_path_of_somebody_s_machine() -> None:
    words = re.compile("|".join(("/" + "root/", "/" + "home/", "/" + "work/", "C:" + r"\\Users")))
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in repository_files(TEXT)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if words.search(line)
    ]
    assert found == []


def test_readme_names_both_commands_and_make_knows_them() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("demo", "test"):
        assert re.search(rf"^make {target}\b", readme, re.MULTILINE)
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_every_folder_of_the_readme_exists() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Where things live")[2]
    named = [name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in row.split(", ")]
    assert named
    assert [name for name in named if not (ROOT / name.strip("`")).is_dir()] == []


def test_generated_messages_are_current(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(ROOT / "tools/generate_protos.py"), str(tmp_path)], check=True)
    fresh = sorted((tmp_path / "cordum" / "v1").iterdir())
    assert fresh
    for path in fresh:
        kept = ROOT / "python" / "cordum" / "v1" / path.name
        assert kept.read_text(encoding="utf-8") == path.read_text(encoding="utf-8"), path.name


def test_settings_page_is_current() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    # A message of one line: the page itself would drown what to do.
    assert page == load_tool("generate_settings_reference").render(), (
        "run tools/generate_settings_reference.py"
    )


def test_package_exports_its_version_only() -> None:
    assert cordum.__all__ == ["__version__"]


def test_package_native_module_and_workspace_have_one_version() -> None:
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]
    assert cordum.__version__ == _core.__version__ == workspace["package"]["version"]


def test_every_exported_name_exists() -> None:
    own = [str(ROOT / "python" / "cordum")]
    missing: list[str] = []
    for info in pkgutil.walk_packages(own, "cordum."):
        if info.name.startswith("cordum.agent"):
            continue
        module = importlib.import_module(info.name)
        names = getattr(module, "__all__", [])
        missing += [f"{info.name}.{name}" for name in names if not hasattr(module, name)]
    assert missing == []


@pytest.mark.parametrize("script", sorted(PROJECT["scripts"]))
def test_console_script_can_be_imported(script: str) -> None:
    module, _, function = PROJECT["scripts"][script].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize("service", ["workflow", "context"])
def test_service_of_a_later_release_says_so_in_one_line(service: str) -> None:
    command = [sys.executable, "-m", f"cordum.{service}.main"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    expected = f"cordum-{service}-engine: not part of this release\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", expected)
