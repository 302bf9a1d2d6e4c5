"""`cordumctl policy`: the command group; sign, verify and make keys (policy spec §11.4, CLI spec §12).

Exit codes of `verify`: 0 valid, 1 invalid, 2 no usable key or unreadable file.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cordum.cli import policy_analysis, policy_bundles, policy_decisions, policy_impact, policy_tests
from cordum.cli.exits import CommandExit
from cordum.cli.output import note
from cordum.config.signing import SigningSettings
from cordum.domain.errors import ConfigError
from cordum.security.policy_signatures import (
    SIGNATURE_MAX_BYTES,
    Algorithm,
    SignatureRefused,
    Signer,
    TrustedKey,
    TrustedKeys,
    generate_key,
)

__all__ = ["app"]

app = typer.Typer(help="Ask, publish, sign, check and compare policies.", no_args_is_help=True)
app.command("evaluate")(policy_decisions.evaluate)
app.command("simulate")(policy_decisions.simulate)
app.command("explain")(policy_decisions.explain)
app.command("bundles")(policy_bundles.bundles)
app.command("get")(policy_bundles.get)
app.command("publish")(policy_bundles.publish)
app.command("rollback")(policy_bundles.rollback)
app.command("snapshots")(policy_bundles.snapshots)
app.command("diff")(policy_impact.diff)
app.command("lint")(policy_analysis.lint)
app.command("test")(policy_tests.run_tests)

_POLICY_MAX_BYTES = 64 * 1024 * 1024
_ALGORITHMS: dict[str, Algorithm] = {
    "p256": "ecdsa-p256-sha256",
    "p384": "ecdsa-p384-sha384",
    "ed25519": "ed25519",
}
_SIGNING = "CORDUM_POLICY_SIGNING_KEY"


@app.command()
def sign(
    policy: Annotated[Path, typer.Option("--in", help="Policy file.")],
    out: Annotated[Path | None, typer.Option(help="Signature file; default <policy>.sig.")] = None,
    key_env: Annotated[str, typer.Option(help="Variable with the private key.")] = "",
    key_id: Annotated[str, typer.Option(help="Id of the key; default CORDUM_POLICY_SIGNING_KEY_ID.")] = "",
    show: Annotated[
        bool, typer.Option("--print", help="Print the value for SAFETY_POLICY_SIGNATURE.")
    ] = False,
) -> None:
    """Sign a policy file. The signature covers its exact bytes.

    Example: cordumctl policy sign --in safety.yaml
    """
    content = _read(policy, _POLICY_MAX_BYTES)
    try:
        signature = _signer(key_env, key_id).sign(content)
    except ConfigError as error:
        raise _stop(error.message) from error
    text = json.dumps(signature, separators=(",", ":"))
    target = out or Path(f"{policy}.sig")
    _write_private(target, text.encode() + b"\n")
    note(f"{target}: signed with {signature['algorithm']}, key `{signature['key_id']}`")
    if show:
        sys.stdout.write(text + "\n")


@app.command()
def verify(
    policy: Annotated[Path, typer.Option("--in", help="Policy file.")],
    sig: Annotated[Path | None, typer.Option(help="Signature file; default <policy>.sig.")] = None,
    public_key_env: Annotated[
        str, typer.Option(help="Variable with the public key.")
    ] = "SAFETY_POLICY_PUBLIC_KEY",
    key_id: Annotated[str, typer.Option(help="Id of the key; default SAFETY_POLICY_PUBLIC_KEY_ID.")] = "",
) -> None:
    """Check the signature of a policy file.

    Example: cordumctl policy verify --in safety.yaml --sig safety.yaml.sig
    """
    value = os.environ.get(public_key_env, "")
    if not value.strip():
        raise _stop(f"{public_key_env}: expected a public key", 2)
    identity = key_id or os.environ.get("SAFETY_POLICY_PUBLIC_KEY_ID") or "default"
    trusted = TrustedKeys(identity)
    try:
        trusted.add(TrustedKey.read(value, identity, name=public_key_env))
    except ConfigError as error:
        raise _stop(error.message, 2) from error
    content = _read(policy, _POLICY_MAX_BYTES, 2)
    signature = _read(sig or Path(f"{policy}.sig"), SIGNATURE_MAX_BYTES, 2)
    try:
        key = trusted.verify(content, signature)
    except SignatureRefused as refusal:
        raise _stop(f"invalid: {refusal}") from refusal
    sys.stdout.write(f"valid: signed by key `{key}`\n")


@app.command()
def keygen(
    out: Annotated[Path, typer.Option(help="File for the private key; the public one gets the suffix .pub.")],
    algorithm: Annotated[str, typer.Option(help="p256, p384 or ed25519.")] = "p256",
) -> None:
    """Make a key pair for policy signatures; existing files are kept.

    Example: cordumctl policy keygen --out policy-key.pem
    """
    chosen = _ALGORITHMS.get(algorithm.lower())
    if chosen is None:
        raise _stop(f"--algorithm: expected one of {', '.join(_ALGORITHMS)}, got `{algorithm}`")
    public_path = Path(f"{out}.pub")
    for path in (out, public_path):
        if path.exists():
            raise _stop(f"{path} exists already, it was not touched")
    private, public = generate_key(chosen)
    _write_private(out, private)
    public_path.write_bytes(public)
    note(f"{out}: private key, keep it secret\n{public_path}: public key, for SAFETY_POLICY_PUBLIC_KEY")


def _signer(key_env: str, key_id: str) -> Signer:
    """Return the signer of ``key_env``, else of the signing variables. Raises ConfigError."""
    environment = os.environ
    identity = key_id or environment.get("CORDUM_POLICY_SIGNING_KEY_ID") or "default"
    for variable in [key_env] if key_env else [_SIGNING, f"{_SIGNING}_PATH"]:
        if environment.get(variable, "").strip():
            return Signer.read(environment[variable], identity, name=variable)
    seed = "" if key_env else SigningSettings.load().dev_signing_seed.get_secret_value()
    if seed:
        note("signed with a development key, which production does not accept")
        return Signer.from_seed(seed, identity)
    raise ConfigError(f"{key_env or _SIGNING}: expected a private key")


def _read(path: Path, limit: int, code: int = 1) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise _stop(f"{path}: {(error.strerror or type(error).__name__).lower()}", code) from error
    if len(content) > limit:
        raise _stop(f"{path}: expected at most {limit} bytes", code)
    return content


def _write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads (CLI spec §12)."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(content)
    except OSError as error:
        raise _stop(f"{path}: {(error.strerror or type(error).__name__).lower()}") from error


def _stop(message: str, code: int = 1) -> CommandExit:
    note(message)
    return CommandExit(code)
