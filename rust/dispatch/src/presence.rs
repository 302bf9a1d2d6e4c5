//! Heartbeats and handshakes of a batch, applied to the worker table (scheduler spec §18, protocol spec §15.3).

use std::collections::HashMap;

use cordum_wire::messages::{Handshake, Heartbeat, Payload};

use crate::config::Config;
use crate::grants::Limits;
use crate::intake::decode_presence;
use crate::workers::{Capacity, WorkerTable};

/// Most packets in another name than their sender's remembered until somebody asks.
const MAX_MISNAMED: usize = 100;
/// Role of workers in handshakes.
const WORKER: i32 = 3;

/// One packet, and what is known of its sender.
#[derive(Debug)]
pub struct PresencePacket<'a> {
    pub bytes: &'a [u8],
    /// What the sender is limited to, when it proved who it is.
    pub limits: Option<Limits>,
    /// It shows no session where sessions decide who lives, so it only informs.
    pub informs: bool,
}

/// What a batch of packets changed.
#[derive(Debug, Default)]
pub struct Presence {
    pub capacity: Vec<Capacity>,
    /// Workers with the pools they are in, per heartbeat.
    pub beats: Vec<(String, Vec<String>)>,
    /// Workers with the topics that count and their SDK, per handshake.
    pub shakes: Vec<(String, Vec<String>, String)>,
    /// Positions of packets that are neither.
    pub invalid: Vec<usize>,
    /// Trace ids of what brought workers online.
    pub traces: HashMap<String, String>,
}

impl Presence {
    fn available(&mut self, found: Vec<Capacity>, trace_id: String) {
        if let Some(first) = found.iter().find(|one| one.online) {
            self.traces.insert(first.worker_id.clone(), trace_id);
        }
        self.capacity.extend(found);
    }
}

impl WorkerTable {
    /// Apply heartbeat and handshake packets.
    pub fn presence<'a>(
        &mut self,
        packets: impl Iterator<Item = PresencePacket<'a>>,
        now_us: i64,
        config: &Config,
    ) -> Presence {
        let mut found = Presence::default();
        for (position, packet) in packets.enumerate() {
            match decode_presence(packet.bytes) {
                Some((envelope, Payload::Heartbeat(beat))) => {
                    self.note_sender(&envelope.sender_id, &beat.worker_id);
                    if packet.informs && self.has_session(&beat.worker_id, now_us) {
                        self.inform(&beat);
                        continue;
                    }
                    self.grant_with(&beat.worker_id, packet.limits, now_us);
                    let capacity = self.heartbeat(&beat, envelope.created_us, now_us, config);
                    found.available(capacity, envelope.trace_id);
                    found.beats.extend(self.beat_of(beat));
                }
                Some((envelope, Payload::Handshake(shake))) if shake.role == WORKER => {
                    self.note_sender(&envelope.sender_id, &shake.component_id);
                    if packet.informs && self.has_session(&shake.component_id, now_us) {
                        continue;
                    }
                    self.grant_with(&shake.component_id, packet.limits, now_us);
                    let capacity = self.handshake(&shake, now_us, config);
                    found.available(capacity, envelope.trace_id);
                    if !packet.informs {
                        // Else it is shown, but not remembered as the worker's word.
                        found.shakes.push(self.shake_of(shake));
                    }
                }
                Some(_) => {}
                None => found.invalid.push(position),
            }
        }
        found
    }

    fn note_sender(&mut self, sender_id: &str, named: &str) {
        if sender_id != named && self.misnamed.len() < MAX_MISNAMED {
            self.misnamed.push((sender_id.to_owned(), named.to_owned()));
        }
    }

    /// Senders of packets that name another worker, with that one, since the last call.
    pub fn take_misnamed(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.misnamed)
    }

    fn grant_with(&mut self, worker_id: &str, limits: Option<Limits>, now_us: i64) {
        if let Some(limits) = limits {
            self.grant(worker_id, limits, now_us);
        }
    }

    fn beat_of(&self, beat: Heartbeat) -> Option<(String, Vec<String>)> {
        let pools = self.get(&beat.worker_id)?.pools.clone();
        Some((beat.worker_id, pools))
    }

    fn shake_of(&self, shake: Handshake) -> (String, Vec<String>, String) {
        let topics = self
            .get(&shake.component_id)
            .map(|worker| worker.ready_topics.clone());
        (shake.component_id, topics.unwrap_or_default(), shake.sdk_version)
    }
}
