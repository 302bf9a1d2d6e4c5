"""A base policy behind a URL, with real servers and kernel processes (policy spec §10)."""

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc.aio
import pytest

from cordum.domain.errors import CordumError, Forbidden, TooLarge, Unavailable
from cordum.protocol.cap import safety_pb2_grpc
from cordum.security.outbound import OutboundRules, fetch
from tests.integration.kernel.test_kernel_service import ALLOW, DENY, request
from tests.support.kernel import ALLOW_ECHO, KernelProcess
from tests.support.processes import wait_until

_FAILED_RELOADS = re.compile(r'policy_reload_total\{[^}]*result="error"[^}]*\} [1-9]')
LOCAL = OutboundRules(allow_private=True, allow_http=True)


@dataclass
class Site:
    """A web server whose answers a test sets."""

    port: int = 0
    status: int = 200
    body: bytes = ALLOW_ECHO.encode()
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/policy.yaml?token=hush"


@pytest.fixture
def site() -> Iterator[Site]:
    here = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here.asked.append({name.lower(): value for name, value in self.headers.items()})
            tag = here.headers.get("ETag")
            is_known = tag is not None and self.headers.get("If-None-Match") == tag
            self.send_response(304 if is_known else here.status)
            for name, value in here.headers.items():
                self.send_header(name, value)
            body = b"" if is_known else here.body
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield here
    server.shutdown()
    server.server_close()
    thread.join()


def get(url: str, rules: OutboundRules = LOCAL, max_bytes: int = 10_000) -> bytes:
    return fetch(url, rules, max_bytes=max_bytes, timeout_s=5).body


def test_a_private_address_is_not_asked_unless_allowed(site: Site) -> None:
    assert get(site.url) == site.body
    with pytest.raises(Forbidden, match="may not be reached"):
        get(site.url, OutboundRules(allow_http=True))
    with pytest.raises(Forbidden, match="may not be reached"):
        get(f"http://localhost:{site.port}/", OutboundRules(allow_http=True))
    assert len(site.asked) == 1


def test_redirects_are_followed_a_few_times_and_checked_each_time(site: Site) -> None:
    site.status, site.headers = 302, {"Location": "/again"}
    with pytest.raises(Unavailable, match="more than 5 redirects"):
        get(site.url)
    assert len(site.asked) == 6
    for target in ("http://169.254.169.254/latest", "http://user:word@127.0.0.1/", "file:///etc/passwd"):
        site.headers = {"Location": target}
        with pytest.raises(CordumError):
            get(site.url)
    assert len(site.asked) == 9


def test_a_long_answer_is_cut_off(site: Site) -> None:
    site.body = b"x" * 10_001
    with pytest.raises(TooLarge, match="at most 10000 bytes"):
        get(site.url)


async def test_the_kernel_follows_its_url_and_keeps_the_last_good_policy(tmp_path: Path, site: Site) -> None:
    site.headers = {"ETag": '"one"'}
    kernel = KernelProcess(
        tmp_path, policy=None, SAFETY_POLICY_URL=site.url, SAFETY_POLICY_URL_ALLOW_PRIVATE="true"
    )
    kernel.start()
    try:
        async with grpc.aio.insecure_channel(kernel.address) as channel:
            stub = safety_pb2_grpc.SafetyKernelStub(channel)

            async def decision() -> int:
                return int((await stub.Check(request("job.demo.echo"))).decision)

            assert await decision() == ALLOW
            await wait_until(lambda: site.asked[-1].get("if-none-match") == '"one"')

            site.status, site.headers, site.body = 500, {}, b"broken"
            await wait_until(lambda: _FAILED_RELOADS.search(kernel.metrics()))
            assert await decision() == ALLOW

            site.status, site.body = 200, b"default_decision: deny\n"

            async def is_denied() -> bool:
                return await decision() == DENY

            await wait_until(is_denied)
        assert [line for line in kernel.log_path.read_text().splitlines() if "hush" in line] == []
    finally:
        kernel.stop()


def test_the_kernel_denies_everything_when_its_url_may_not_be_asked(tmp_path: Path, site: Site) -> None:
    kernel = KernelProcess(tmp_path, policy=None, SAFETY_POLICY_URL=site.url)
    kernel.start()
    try:
        assert kernel.probe("readyz") != 200
        assert "may not be reached" in kernel.log_path.read_text()
        assert site.asked == []
    finally:
        kernel.stop()
