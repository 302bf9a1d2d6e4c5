"""Key material of a test's system and of its workers."""

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cordum.security.policy_signatures import generate_key

KEY_ID = "scheduler-proof-v1"
SCHEDULER = "cordum-scheduler"


@dataclass(frozen=True)
class TrustKeys:
    """Files of one system: the scheduler's proof key and the key of session tokens."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "TrustKeys":
        """Write fresh keys."""
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(folder)
        made.replace_proof_key()
        private, _ = generate_key("ed25519")
        (folder / "session.pem").write_bytes(private)
        return made

    def replace_proof_key(self) -> None:
        """Put another pair into the files."""
        private, public = generate_key("ecdsa-p256-sha256")
        (self.folder / "proof.pem").write_bytes(private)
        (self.folder / "proof.pub.pem").write_bytes(public)

    @property
    def scheduler_key(self) -> ec.EllipticCurvePrivateKey:
        """The proof key that is in the files now."""
        key = load_pem_private_key((self.folder / "proof.pem").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key

    @property
    def proof_environment(self) -> dict[str, str]:
        """Variables that make the scheduler sign."""
        return {
            "CORDUM_HANDSHAKE_SCHEDULER_KEY_ID": KEY_ID,
            "CORDUM_HANDSHAKE_PRIVATE_KEY_FILE": str(self.folder / "proof.pem"),
            "CORDUM_HANDSHAKE_PUBLIC_KEY_FILE": str(self.folder / "proof.pub.pem"),
        }

    def environment(self, mode: str = "") -> dict[str, str]:
        """Variables of a system whose workers shake hands."""
        return {
            **self.proof_environment,
            "CORDUM_POLICY_SIGNING_KEY_PATH": str(self.folder / "session.pem"),
            "CORDUM_POLICY_SIGNING_KEY_ID": "session-v1",
            **({"CORDUM_SDK_HANDSHAKE": mode} if mode else {}),
        }
