"""The wheel installs into an empty environment and works there."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from cordum import __version__

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(*command: str, cwd: Path) -> str:
    """Run a command outside the source tree and return what it printed; fail with its output."""
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel() -> Path:
    """Return the wheel in `dist/`, built now when there is none or the sources are newer."""
    found = sorted((ROOT / "dist").glob("cordum-*.whl"), key=lambda path: path.stat().st_mtime)
    sources = [*(ROOT / "python").rglob("*.py"), *(ROOT / "rust").rglob("*.rs")]
    if found and found[-1].stat().st_mtime > max(path.stat().st_mtime for path in sources):
        return found[-1]
    maturin = Path(sys.executable).parent / "maturin"
    if shutil.which("cargo") is None or not maturin.exists():
        pytest.skip("cargo or maturin is missing, no wheel can be built")
    run(str(maturin), "build", "--release", "-q", "-o", str(ROOT / "dist"), cwd=ROOT)
    return max((ROOT / "dist").glob("cordum-*.whl"), key=lambda path: path.stat().st_mtime)


def test_the_wheel_runs_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    scripts = tmp_path / "env" / "bin"
    run(
        str(scripts / "python"),
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        str(wheel),
        cwd=tmp_path,
    )
    assert run(str(scripts / "cordumctl"), "version", cwd=tmp_path) == f"cordumctl {__version__}\n"
    program = (
        "import cordum, cordum._core\n"
        "from importlib.resources import files\n"
        "assert (files('cordum.embedded') / 'defaults' / 'safety.yaml').is_file()\n"
        "assert (files('cordum.store') / 'lua' / 'job_create.lua').is_file()\n"
        "import cordum.protocol.cap\n"
        "print(cordum.__file__)\n"
    )
    assert str(tmp_path) in run(str(scripts / "python"), "-c", program, cwd=tmp_path)


@pytest.mark.parametrize("service", ["gateway", "scheduler", "kernel", "cli"])
def test_the_console_scripts_name_modules_of_the_wheel(wheel: Path, service: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = next(name for name in names if name.endswith("entry_points.txt"))
        assert f"=cordum.{service}.main:main" in archive.read(entry_points).decode()
    assert f"cordum/{service}/main.py" in names
