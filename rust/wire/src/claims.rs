//! What a packet says about its sender, for admission before anything else is done with it (protocol spec §15).

use prost::Message;

use crate::messages::{BusPacket, Payload};
use crate::tenant_of;

/// Claims of one packet. Nothing here is proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// `heartbeat`, `handshake`, `result`, `progress`, `request`, `cancel`; empty when the packet is none of these.
    pub kind: &'static str,
    pub sender_id: String,
    /// Worker or component the payload speaks of; empty for requests, progress and cancels, which name none.
    pub subject_id: String,
    pub job_id: String,
    /// Tenant of a request, or pool of a heartbeat.
    pub scope: String,
    /// `BusPacket.auth_token`.
    pub session: String,
    /// `Heartbeat.auth_token`.
    pub credential: String,
}

/// Component role of a worker.
const WORKER: i32 = 3;

impl Claim {
    /// Read the claims of a packet; those of one that does not decode are empty.
    pub fn read(bytes: &[u8]) -> Self {
        let Ok(packet) = BusPacket::decode(bytes) else {
            return Claim::default();
        };
        let claim = Claim {
            sender_id: packet.sender_id,
            session: packet.auth_token,
            ..Claim::default()
        };
        match packet.payload {
            Some(Payload::Heartbeat(beat)) => Claim {
                kind: "heartbeat",
                subject_id: beat.worker_id,
                scope: beat.pool,
                credential: beat.auth_token,
                ..claim
            },
            Some(Payload::Handshake(shake)) if shake.role == WORKER => Claim {
                kind: "handshake",
                subject_id: shake.component_id,
                ..claim
            },
            Some(Payload::JobResult(result)) => Claim {
                kind: "result",
                subject_id: result.worker_id,
                job_id: result.job_id,
                ..claim
            },
            Some(Payload::JobProgress(progress)) => Claim {
                kind: "progress",
                job_id: progress.job_id,
                ..claim
            },
            Some(Payload::JobRequest(request)) => Claim {
                kind: "request",
                scope: tenant_of(&request).to_owned(),
                job_id: request.job_id,
                ..claim
            },
            Some(Payload::JobCancel(cancel)) => Claim {
                kind: "cancel",
                job_id: cancel.job_id,
                ..claim
            },
            _ => claim,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{Handshake, Heartbeat};

    fn packet(payload: Payload) -> Vec<u8> {
        BusPacket {
            sender_id: "w-1".into(),
            auth_token: "session".into(),
            payload: Some(payload),
            ..BusPacket::default()
        }
        .encode_to_vec()
    }

    #[test]
    fn a_heartbeat_claims_a_worker_a_pool_and_two_tokens() {
        let beat = Heartbeat {
            worker_id: "w-2".into(),
            pool: "p".into(),
            auth_token: "credential".into(),
            ..Heartbeat::default()
        };
        let claim = Claim::read(&packet(Payload::Heartbeat(beat)));
        assert_eq!((claim.kind, claim.sender_id.as_str()), ("heartbeat", "w-1"));
        assert_eq!((claim.subject_id.as_str(), claim.scope.as_str()), ("w-2", "p"));
        assert_eq!(
            (claim.session.as_str(), claim.credential.as_str()),
            ("session", "credential")
        );
    }

    #[test]
    fn only_workers_shake_hands_here_and_garbage_claims_nothing() {
        let shake = Handshake {
            component_id: "gateway".into(),
            role: 1,
            ..Handshake::default()
        };
        assert_eq!(Claim::read(&packet(Payload::Handshake(shake))).kind, "");
        assert_eq!(Claim::read(b"\xff\xff"), Claim::default());
    }
}
