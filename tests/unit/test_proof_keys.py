"""The proof key is replaced while the scheduler runs, and a broken pair of files changes nothing."""

import logging
from pathlib import Path

import pytest
from cap.packet_boundary import verify_packet
from cryptography.hazmat.primitives.asymmetric import ec

from cordum.config.worker_trust import WorkerTrustSettings
from cordum.domain.errors import ConfigError
from cordum.protocol.cap import BusPacket
from cordum.protocol.sealing import PacketSeal
from cordum.scheduler.proof_keys import ProofKeys
from tests.support.trust_keys import SCHEDULER, TrustKeys


def signed_with(seal: PacketSeal, key: ec.EllipticCurvePrivateKey) -> bool:
    (sealed,) = seal([BusPacket(sender_id=SCHEDULER, job_cancel={"job_id": "j"}).SerializeToString()])
    pins = {SCHEDULER: key.public_key()}
    return bool(verify_packet(BusPacket.FromString(sealed), pins, logging.getLogger("test")))


def settings(keys: TrustKeys, monkeypatch: pytest.MonkeyPatch) -> WorkerTrustSettings:
    for name, value in keys.proof_environment.items():
        monkeypatch.setenv(name, value)
    return WorkerTrustSettings.load()


def test_new_files_are_used_and_half_replaced_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = TrustKeys.make(tmp_path)
    seal = PacketSeal()
    used = ProofKeys(settings(keys, monkeypatch), seal)
    first = keys.scheduler_key
    public = (tmp_path / "proof.pub.pem").read_bytes()
    keys.replace_proof_key()
    second_public = (tmp_path / "proof.pub.pem").read_bytes()
    (tmp_path / "proof.pub.pem").write_bytes(public)
    used.reload()
    assert signed_with(seal, first)
    (tmp_path / "proof.pub.pem").write_bytes(second_public)
    used.reload()
    assert signed_with(seal, keys.scheduler_key)
    assert not signed_with(seal, first)


def test_a_part_of_the_key_alone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = TrustKeys.make(tmp_path)
    for name in keys.proof_environment:
        with monkeypatch.context() as patch:
            loaded = {**keys.proof_environment, name: ""}
            for variable, value in loaded.items():
                patch.setenv(variable, value)
            with pytest.raises(ConfigError, match="expected all or none"):
                WorkerTrustSettings.load()
