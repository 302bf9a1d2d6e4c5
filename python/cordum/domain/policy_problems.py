"""What is wrong with a policy document, as people and programs read it (policy spec §3)."""

from typing import Any

__all__ = ["Problem", "problem_json", "problem_text"]

Problem = tuple[str, str, int]
"""Path, message and line of the document; 0: the line is not known."""


def problem_json(path: str, message: str, line: int) -> dict[str, Any]:
    """Return a problem as the API shows it; a line that is not known is left out."""
    return {"path": path, "message": message} | ({"line": line} if line > 0 else {})


def problem_text(problem: Problem) -> str:
    """Return a problem as logs show it, with its line."""
    path, message, line = problem
    # A syntax error says its line itself.
    is_told = line <= 0 or path.endswith("yaml")
    return (f"{path}: " if path else "") + message + ("" if is_told else f" (line {line})")
