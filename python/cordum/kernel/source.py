"""Where policy text comes from. For now: one file, of bounded size (policy spec §8.1, §10)."""

from pathlib import Path

from cordum.domain.errors import InvalidInput, TooLarge, Unavailable

__all__ = ["FileSource"]


class FileSource:
    """The base policy in a file, read whole on every look: mounted files change by symlink and keep times."""

    def __init__(self, path: str, max_bytes: int) -> None:
        self.path = Path(path)
        self._max_bytes = max_bytes

    def exists(self) -> bool:
        """Tell whether there is a file; when that cannot be told, yes."""
        try:
            self.path.stat()
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    @property
    def name(self) -> str:
        """What to call the source in messages."""
        return str(self.path)

    def read(self) -> bytes:
        """Return the bytes of the file.

        Raises Unavailable when it cannot be read, TooLarge above the limit, InvalidInput when it is empty.
        """
        try:
            with self.path.open("rb") as file:
                content = file.read(self._max_bytes + 1)
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise Unavailable(f"policy file `{self.path}` cannot be read: {reason}") from error
        if len(content) > self._max_bytes:
            raise TooLarge(
                f"policy file `{self.path}` is too large: expected at most {self._max_bytes} bytes",
                hint="raise SAFETY_POLICY_MAX_BYTES or split the policy",
            )
        if not content.strip():
            raise InvalidInput(f"policy file `{self.path}` is empty")
        return content
