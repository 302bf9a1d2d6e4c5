"""Sign `config/safety.yaml` with a key made for this once and thrown away; only its public half is kept, for tests.

Run after every change of the shipped policy. Operators sign their own policy with their own key.
"""

import json
from pathlib import Path

from cordum.security.policy_signatures import Signer, generate_key

ROOT = Path(__file__).resolve().parent.parent
POLICY = ROOT / "config/safety.yaml"
PUBLIC_KEY = ROOT / "tests/golden/keys/default_policy.pem"


def main() -> None:
    """Write `config/safety.yaml.sig` and the public key that verifies it."""
    private, public = generate_key("ecdsa-p256-sha256")
    signature = Signer.read(private.decode(), "default").sign(POLICY.read_bytes())
    POLICY.with_name("safety.yaml.sig").write_text(json.dumps(signature, separators=(",", ":")) + "\n")
    PUBLIC_KEY.parent.mkdir(parents=True, exist_ok=True)
    PUBLIC_KEY.write_bytes(public)


if __name__ == "__main__":
    main()
