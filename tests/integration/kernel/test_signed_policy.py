"""Signed base policies with real kernel processes (policy spec §11.1, §25.5)."""

import re
import subprocess
import sys
from pathlib import Path

import grpc
import grpc.aio
import pytest

from cordum.protocol.cap import safety_pb2_grpc
from cordum.security.policy_signatures import Signer
from tests.integration.kernel.test_kernel_service import ALLOW, make_certificate, request
from tests.support.kernel import ALLOW_ECHO, KernelProcess
from tests.support.processes import wait_until


def cordumctl(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "cordum.cli.main", "policy", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key pair made by the command line, the public half in `key.pem.pub`."""
    made = cordumctl(tmp_path, "keygen", "--out", "key.pem", "--algorithm", "p256")
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    return tmp_path / "key.pem"


def refusals(kernel: KernelProcess) -> bool:
    pattern = r'cordum_policy_signature_failures_total\{[^}]*reason="invalid_signature"[^}]*\} [1-9]'
    return re.search(pattern, kernel.metrics()) is not None


def sign(folder: Path, key: Path) -> None:
    signed = cordumctl(folder, "sign", "--in", "safety.yaml", CORDUM_POLICY_SIGNING_KEY_PATH=str(key))
    assert signed.returncode == 0, signed.stderr


def test_the_command_line_tells_valid_invalid_and_unusable_apart(tmp_path: Path, key: Path) -> None:
    policy = tmp_path / "safety.yaml"
    policy.write_text(ALLOW_ECHO)
    sign(tmp_path, key)
    public = {"SAFETY_POLICY_PUBLIC_KEY": f"{key}.pub"}
    assert cordumctl(tmp_path, "verify", "--in", "safety.yaml", **public).returncode == 0
    assert cordumctl(tmp_path, "verify", "--in", "safety.yaml").returncode == 2
    assert cordumctl(tmp_path, "verify", "--in", "absent.yaml", **public).returncode == 2
    policy.write_text(ALLOW_ECHO + "#\n")
    changed = cordumctl(tmp_path, "verify", "--in", "safety.yaml", **public)
    assert (changed.returncode, changed.stdout) == (1, "")
    assert cordumctl(tmp_path, "keygen", "--out", "key.pem").returncode == 1


async def test_production_starts_with_a_signed_policy_and_keeps_it_when_an_unsigned_one_follows(
    tmp_path: Path, key: Path
) -> None:
    certificate, tls_key = make_certificate()
    (tmp_path / "cert.pem").write_bytes(certificate)
    (tmp_path / "tls.pem").write_bytes(tls_key)
    kernel = KernelProcess(
        tmp_path,
        CORDUM_ENV="production",
        SAFETY_KERNEL_METRICS_PUBLIC="true",
        SAFETY_KERNEL_TLS_CERT=str(tmp_path / "cert.pem"),
        SAFETY_KERNEL_TLS_KEY=str(tmp_path / "tls.pem"),
        SAFETY_POLICY_PUBLIC_KEY=f"{key}.pub",
    )
    sign(tmp_path, key)
    kernel.start()
    try:
        async with grpc.aio.secure_channel(
            f"localhost:{kernel.port}", grpc.ssl_channel_credentials(certificate)
        ) as channel:
            stub = safety_pb2_grpc.SafetyKernelStub(channel)
            assert (await stub.Check(request(), timeout=5)).decision == ALLOW
            kernel.write_policy("default_decision: deny\n")
            await wait_until(lambda: refusals(kernel))
            assert (await stub.Check(request(), timeout=5)).decision == ALLOW
            assert kernel.probe("readyz") == 200
    finally:
        kernel.stop()


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"SAFETY_POLICY_SIGNATURE_REQUIRED": "true"}, "SAFETY_POLICY_PUBLIC_KEY is required"),
        (
            {"SAFETY_POLICY_SIGNATURE_REQUIRED": "true", "SAFETY_POLICY_PUBLIC_KEY": "KEY"},
            "signature required",
        ),
        (
            {
                "SAFETY_POLICY_SIGNATURE_REQUIRED": "true",
                "SAFETY_POLICY_PUBLIC_KEY": "KEY",
                "SAFETY_POLICY_SIGNATURE": "AA==",
            },
            "does not verify",
        ),
        ({"SAFETY_POLICY_PUBLIC_KEY": "nonsense"}, "expected an ECDSA P-256"),
    ],
)
def test_a_missing_key_or_signature_stops_the_start_with_one_reason(
    tmp_path: Path, key: Path, environment: dict[str, str], text: str
) -> None:
    values = {name: f"{key}.pub" if value == "KEY" else value for name, value in environment.items()}
    kernel = KernelProcess(tmp_path, **values)
    assert kernel.launch().wait(30) != 0
    assert text in kernel.log_path.read_text()


def test_a_signature_beside_the_file_must_hold_once_a_key_is_configured(tmp_path: Path, key: Path) -> None:
    kernel = KernelProcess(tmp_path, SAFETY_POLICY_PUBLIC_KEY=f"{key}.pub")
    stranger = Signer.from_seed("stranger").sign(ALLOW_ECHO.encode())
    (tmp_path / "safety.yaml.sig").write_text(str(stranger["value"]))
    kernel.start()
    try:
        assert kernel.probe("readyz") == 503
    finally:
        kernel.stop()
