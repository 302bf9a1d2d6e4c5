"""`cordum-workflow-engine`: reserved for a later release."""

import sys

__all__ = ["main"]


def main() -> None:
    """Say that this service does not exist yet and exit with 1."""
    sys.stderr.write("cordum-workflow-engine: not part of this release\n")
    sys.exit(1)


if __name__ == "__main__":
    main()
