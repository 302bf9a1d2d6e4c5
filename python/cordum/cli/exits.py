"""Exit codes that a command defines for itself (CLI spec §5)."""

__all__ = ["CommandExit"]


class CommandExit(SystemExit):
    """Ends the program with a code of the command's own table."""
