"""Install the third-party requirements of pyproject.toml without building the project itself."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def requirements() -> list[str]:
    """Return the runtime, embedded and dev requirements; references to our own extras are resolved."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    listed = [*project["dependencies"], *extras["embedded"], *extras["dev"]]
    return [item for item in listed if not item.startswith("cordum[")]


if __name__ == "__main__":
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements()]
    sys.exit(subprocess.run(command, check=False).returncode)
