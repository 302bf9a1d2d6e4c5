"""The documentation agrees with the code: dependencies, error codes, links."""

import ast
import re
import tomllib
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from cordum.gateway.errors import slug

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
ERRORS = DOCS / "errors"
PAGES = sorted(path.stem for path in ERRORS.glob("*.md") if path.stem != "README")
# Answers of the router and of the last-resort handler, which have no exception of their own.
ROUTER_STATUS = (404, 405, 426, 500, 502, 503)


def python_dependencies() -> set[str]:
    """Return the names of every requirement of pyproject.toml but our own extras."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = document["project"]
    listed = [*document["build-system"]["requires"], *project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        listed += extra
    names = {re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0] for requirement in listed}
    return names - {project["name"]}


def rust_dependencies() -> set[str]:
    """Return the names of every crate our workspace asks for but its own members."""
    names: set[str] = set()
    for path in (ROOT / "Cargo.toml", *ROOT.glob("rust/*/Cargo.toml")):
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        for tables in (document, document.get("workspace", {})):
            for kind in ("dependencies", "dev-dependencies", "build-dependencies"):
                names |= set(tables.get(kind, {}))
    return {name for name in names if not name.startswith("cordum-")}


def documented(*headings: str) -> set[str]:
    """Return the names in the first column of the tables below these headings."""
    page = (DOCS / "dependencies.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    return {
        name
        for heading in headings
        for name, reason in re.findall(r"^\| `(.+?)` \| (.+) \|$", sections[heading], re.MULTILINE)
        if reason.strip()
    }


def test_every_python_dependency_has_a_reason() -> None:
    listed = documented("Python, at run time", "Python, optional", "Python, for development")
    assert listed == python_dependencies()


def test_every_crate_has_a_reason() -> None:
    assert documented("Rust") == rust_dependencies()


def raised_codes(tree: ast.AST) -> Iterator[str]:
    """Yield the code words of one module: `code="…"`, `default_code = "…"`, `{"code": "…"}`."""
    for node in ast.walk(tree):
        values: list[ast.expr | None] = []
        if isinstance(node, ast.Call):
            values = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
        elif isinstance(node, ast.Assign):
            named = [target.id for target in node.targets if isinstance(target, ast.Name)]
            values = [node.value] if "default_code" in named else []
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            values = [node.value] if node.target.id == "default_code" else []
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            values = [value for key, value in pairs if isinstance(key, ast.Constant) and key.value == "code"]
        for value in values:
            if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
                yield value.value


def all_codes() -> set[str]:
    """Return every stable code the code base can answer with."""
    codes = {
        code
        for path in (ROOT / "python" / "cordum").rglob("*.py")
        for code in raised_codes(ast.parse(path.read_text(encoding="utf-8")))
    }
    for path in (ROOT / "rust" / "wire" / "src" / "submit").glob("*.rs"):
        text = path.read_text(encoding="utf-8")
        codes |= set(re.findall(r'\bcode: "(\w+)"', text))
        codes |= set(re.findall(r'Refusal::forbidden\(\s*"(\w+)"', text))
    words = {500: "internal error", 502: "upstream service error"}
    codes |= {slug(words.get(status, HTTPStatus(status).phrase)) for status in ROUTER_STATUS}
    return codes


def test_every_error_code_has_a_page_and_every_page_a_code() -> None:
    assert sorted(all_codes()) == PAGES


@pytest.mark.parametrize("code", PAGES)
def test_error_page_tells_meaning_cause_and_fix(code: str) -> None:
    page = (ERRORS / f"{code}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {code}\n\nStatus: ")
    sections = re.findall(r"^## (\w+)\n\n(\S)", page, re.MULTILINE)
    assert [name for name, _ in sections] == ["Meaning", "Cause", "Fix"]


def test_every_relative_link_leads_somewhere() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in (*DOCS.rglob("*.md"), *ROOT.glob("*.md"))
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
        if "://" not in target and not (path.parent / target).exists()
    ]
    assert broken == []


def test_every_metric_the_guides_name_is_exported() -> None:
    source = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "python" / "cordum").rglob("*.py")
    )
    named = {
        name
        for path in DOCS.rglob("*.md")
        for name in re.findall(r"`(cordum_[a-z_]+_(?:total|jobs|pending))", path.read_text(encoding="utf-8"))
    }
    assert named
    assert sorted(name for name in named if f'"{name}"' not in source) == []
