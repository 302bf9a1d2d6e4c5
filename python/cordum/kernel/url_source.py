"""The base policy behind a URL (policy spec §10, remote base)."""

from urllib.parse import urlsplit

from cordum.config.kernel import KernelSettings
from cordum.domain.errors import CordumError, InvalidInput, Unavailable
from cordum.security.outbound import OutboundRules, fetch

__all__ = ["UrlSource"]

_TIMEOUT_S = 10.0


class UrlSource:
    """Asks for the text on every look; an unchanged one (304) is not sent again."""

    def __init__(self, settings: KernelSettings) -> None:
        self._url = settings.policy_url
        self._max_bytes = settings.policy_max_bytes
        self._rules = OutboundRules(
            hosts=tuple(settings.policy_url_allowlist),
            allow_private=settings.policy_url_allow_private,
            allow_http=not settings.production,
        )
        parts = urlsplit(self._url)
        self._name = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
        self._tag = ""
        self._content = b""

    @property
    def name(self) -> str:
        """What to call the source in messages: without its query, which may hold a secret."""
        return self._name

    def exists(self) -> bool:
        """A configured URL is always a source: that it does not answer does not mean there is no base."""
        return True

    def read(self) -> bytes:
        """Return the text. Raises Unavailable, TooLarge, InvalidInput, Forbidden."""
        headers = {"if-none-match": self._tag} if self._tag else {}
        try:
            answer = fetch(
                self._url, self._rules, max_bytes=self._max_bytes, timeout_s=_TIMEOUT_S, headers=headers
            )
        except CordumError as error:
            raise type(error)(f"policy `{self._name}`: {error.message}") from error
        if answer.status == 304 and self._tag:
            return self._content
        if not 200 <= answer.status < 300:
            raise Unavailable(f"policy `{self._name}` answered {answer.status}")
        if not answer.body.strip():
            raise InvalidInput(f"policy `{self._name}` is empty")
        self._tag, self._content = answer.headers.get("etag", ""), answer.body
        return answer.body
