"""What a service adds to every packet it publishes: its token and its signature (protocol spec §15.2, §16.1)."""

from collections.abc import Callable, Sequence

from cordum._core import PacketSealer
from cordum.domain.errors import CordumError

__all__ = ["PacketSeal"]


def _no_token() -> str:
    return ""


class PacketSeal:
    """Seals packets. ``token`` is asked once per call; a key may be replaced at any time."""

    def __init__(self, private_key: bytes | None = None, sender: tuple[str, str] | None = None) -> None:
        self._sender = sender
        self._sealer = PacketSealer(private_key, sender)
        self.token: Callable[[], str] = _no_token

    def use_key(self, private_key: bytes) -> None:
        """Sign with another key from now on: PKCS #8 in DER."""
        self._sealer = PacketSealer(private_key, self._sender)

    def __call__(self, packets: Sequence[bytes]) -> list[bytes]:
        """Return the packets with token and signature. Raises CordumError when one cannot be signed."""
        try:
            return self._sealer.seal(list(packets), self.token())
        except ValueError as error:
            raise CordumError(str(error)) from error
