"""How the client reaches a gateway: address, key, tenant; requests with the retry rule of the CLI spec §3."""

import json
import os
import ssl
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import typer

from cordum import __version__
from cordum.cli.output import Printer, note

if TYPE_CHECKING:
    import httpx

__all__ = ["Connection", "describe", "fail"]

_RETRY_STATUS: Final = frozenset({502, 503, 504})
_RETRY_DELAYS_S: Final = (0.2, 0.8)
_RETRY_AFTER_LIMIT_S: Final = 10.0
_ERROR_BODY_BYTES: Final = 1 << 20


def fail(message: str, code: int = 1) -> typer.Exit:
    """Write the error line to stderr and return the exit to raise."""
    sys.stderr.write(f"error: {message}\n")
    return typer.Exit(code)


@dataclass(frozen=True, slots=True)
class Connection:
    """The gateway a command talks to and how its answers are printed."""

    gateway: str
    api_key: str
    tenant: str
    printer: Printer
    timeout_s: float = 20.0
    cacert: str = ""
    insecure: bool = False
    verbose: bool = False

    @property
    def as_json(self) -> bool:
        """Whether the API's own members are printed."""
        return self.printer.is_data

    def get(self, path: str, **query: Any) -> Any:
        """GET below `/api/v1` and return the decoded body; exits on any error."""
        return self.call("GET", path, query=query)

    def post(self, path: str, body: Any = None, *, idempotent: bool = False) -> Any:
        """POST below `/api/v1`; retried only when the caller gave an idempotency key."""
        return self.call("POST", path, body=body, retry=idempotent)

    def delete(self, path: str) -> Any:
        """DELETE below `/api/v1`."""
        return self.call("DELETE", path)

    def call(
        self, method: str, path: str, *, query: Any = None, body: Any = None, retry: bool | None = None
    ) -> Any:
        """Send one request and return the decoded body, None when empty; any error ends the command."""
        status, answer = self.send(method, path, query=query, body=body, retry=retry)
        if status >= 400:
            raise fail(describe(status, answer, self.api_key))
        return answer

    def send(
        self, method: str, path: str, *, query: Any = None, body: Any = None, retry: bool | None = None
    ) -> tuple[int, Any]:
        """Send one request and return status and decoded body; only a failed connection ends the command."""
        import httpx  # here, so that `--help` stays fast

        may_retry = method == "GET" if retry is None else retry
        headers = {
            "X-API-Key": self.api_key,
            "X-Tenant-ID": self.tenant,
            "User-Agent": f"cordumctl/{__version__}",
            "X-Request-Id": os.urandom(8).hex(),
        }
        parameters = {name: value for name, value in (query or {}).items() if value not in (None, "")}
        url = f"{self.gateway.rstrip('/')}/api/v1{path}"
        delays = list(_RETRY_DELAYS_S) if may_retry else []
        waited_for_limit = False
        with httpx.Client(timeout=self.timeout_s, verify=self._verify(), headers=headers) as client:
            while True:
                started_s = time.monotonic()
                try:
                    reply = client.request(method, url, params=parameters, json=body)
                except httpx.TransportError as error:
                    if delays:
                        time.sleep(delays.pop(0))
                        continue
                    raise fail(self._unreachable(error)) from None
                if self.verbose:
                    _tell(reply, time.monotonic() - started_s)
                if reply.status_code == 429 and not waited_for_limit and "Retry-After" in reply.headers:
                    waited_for_limit = True
                    time.sleep(_retry_after_s(reply.headers["Retry-After"]))
                elif reply.status_code in _RETRY_STATUS and delays:
                    time.sleep(max(delays.pop(0), _retry_after_s(reply.headers.get("Retry-After", "0"))))
                else:
                    return reply.status_code, _decode(reply.content)

    def _verify(self) -> ssl.SSLContext | bool:
        if self.insecure:
            sys.stderr.write("warning: the gateway's certificate is not verified (--insecure)\n")
            return False
        return ssl.create_default_context(cafile=self.cacert) if self.cacert else True

    def _unreachable(self, error: Exception) -> str:
        text = str(error).lower()
        if "certificate" in text:
            hint = "TLS: unknown authority, pass --cacert ./certs/ca/ca.crt"
        elif "refused" in text or "connect" in text:
            hint = "connection refused: is the stack up? cordumctl up"
        else:
            hint = type(error).__name__
        return f"cannot reach {self.gateway}: {hint}"


def describe(status: int, answer: Any, api_key: str = "") -> str:
    """Return the text of an error line; the part `status N:` is stable (CLI spec §4)."""
    body = answer if isinstance(answer, dict) else {}
    text = str(body.get("error") or body.get("detail") or "request failed")
    field = body.get("field")
    if isinstance(field, str) and field not in text:
        text = f"{field}: {text}"
    extra = [f"code {body['code']}"] if body.get("code") else []
    extra += [f"request {body['request_id']}"] if body.get("request_id") else []
    line = f"status {status}: {text}" + (f" ({', '.join(extra)})" if extra else "")
    return line.replace(api_key, "[redacted]") if api_key else line


def _tell(reply: "httpx.Response", elapsed_s: float) -> None:
    """Say what was asked and answered, never headers or bodies (CLI spec §4)."""
    request = reply.request
    number = request.headers.get("X-Request-Id", "-")
    note(
        f"{request.method} {request.url.path}: {reply.status_code} in {elapsed_s * 1e3:.0f} ms, request {number}"
    )


def _retry_after_s(text: str) -> float:
    try:
        return min(_RETRY_AFTER_LIMIT_S, max(0.0, float(text)))
    except ValueError:
        return 1.0


def _decode(content: bytes) -> Any:
    if not content:
        return None
    try:
        return json.loads(content[:_ERROR_BODY_BYTES] if len(content) > 64 * _ERROR_BODY_BYTES else content)
    except ValueError:
        return {"error": content[:200].decode("utf-8", "replace")}
