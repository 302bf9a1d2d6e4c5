//! Decoding and validation of inbound packets (scheduler spec §4, protocol spec §5).

use cordum_wire::messages::{BusPacket, JobRequest, JobResult, Payload};
use prost::Message;

/// Most labels, risk tags or requirements of one request.
const MAX_LIST: usize = 1000;
/// Largest token budget.
const MAX_TOKENS: i64 = 10_000_000_000;

/// What became of one message's bytes.
#[derive(Debug)]
pub enum Intake<T> {
    /// Usable.
    Accepted { packet: Envelope, body: T },
    /// Decodes, but breaks a rule: acknowledged without effect. The word is the metric label.
    Invalid {
        reason: &'static str,
        detail: String,
        /// Of a request that was readable.
        about: Option<Box<About>>,
    },
    /// Does not decode.
    Corrupt,
}

/// What a refused request was about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    pub job_id: String,
    pub tenant: String,
    pub topic: String,
    pub sender: String,
}

/// The parts of the envelope the pipelines use.
#[derive(Debug, Default)]
pub struct Envelope {
    pub trace_id: String,
    pub sender_id: String,
    pub created_us: i64,
}

/// Decode one message of `sys.job.submit`.
pub fn decode_request(bytes: &[u8]) -> Intake<JobRequest> {
    let (envelope, payload) = match open(bytes) {
        Ok(opened) => opened,
        Err(intake) => return intake.cast(),
    };
    let Payload::JobRequest(mut request) = payload else {
        return invalid("unknown_payload", "no job request");
    };
    request.job_id = request.job_id.trim().to_owned();
    request.topic = request.topic.trim().to_owned();
    match request_fault(&request) {
        Some((reason, detail)) => Intake::Invalid {
            reason,
            detail: detail.to_owned(),
            about: Some(Box::new(About {
                job_id: request.job_id,
                tenant: request.tenant_id,
                topic: request.topic,
                sender: envelope.sender_id,
            })),
        },
        None => Intake::Accepted {
            packet: envelope,
            body: request,
        },
    }
}

/// Decode one message of `sys.job.result`.
pub fn decode_result(bytes: &[u8]) -> Intake<JobResult> {
    let (envelope, payload) = match open(bytes) {
        Ok(opened) => opened,
        Err(intake) => return intake.cast(),
    };
    let Payload::JobResult(result) = payload else {
        return invalid("unknown_payload", "no job result");
    };
    let fault = if result.job_id.is_empty() {
        Some("job_id is empty")
    } else if result.worker_id.is_empty() {
        Some("worker_id is empty")
    } else if result.status == 0 {
        Some("status is unspecified")
    } else if result.execution_ms < 0 {
        Some("execution_ms is negative")
    } else {
        None
    };
    match fault {
        Some(detail) => invalid("invalid", detail),
        None => Intake::Accepted {
            packet: envelope,
            body: result,
        },
    }
}

fn request_fault(request: &JobRequest) -> Option<(&'static str, &'static str)> {
    let budget_ok = request.budget.as_ref().is_none_or(|budget| {
        let tokens = [
            budget.max_input_tokens,
            budget.max_output_tokens,
            budget.max_total_tokens,
        ];
        tokens.iter().all(|value| (0..=MAX_TOKENS).contains(value)) && budget.deadline_ms >= 0
    });
    let lists_ok = request
        .meta
        .as_ref()
        .is_none_or(|meta| meta.risk_tags.len() <= MAX_LIST && meta.requires.len() <= MAX_LIST);
    let env_tenant = request.env.get("tenant_id").map_or("", String::as_str);
    let detail = if request.job_id.is_empty() {
        "job_id is empty"
    } else if request.topic.is_empty() {
        "topic is empty"
    } else if !(0..=3).contains(&request.priority) {
        "priority is not 0..3"
    } else if request.step_index < 0 {
        "step_index is negative"
    } else if request.labels.len() > MAX_LIST || !lists_ok {
        "more than 1000 labels, risk tags or requirements"
    } else if !budget_ok {
        "budget out of range"
    } else if !request.tenant_id.is_empty() && !env_tenant.is_empty() && request.tenant_id != env_tenant {
        return Some(("tenant_mismatch", "tenant_id and env.tenant_id differ"));
    } else {
        return None;
    };
    Some(("invalid", detail))
}

fn open(bytes: &[u8]) -> Result<(Envelope, Payload), Intake<()>> {
    let packet = BusPacket::decode(bytes).map_err(|_| Intake::Corrupt)?;
    if packet.protocol_version != 1 {
        return Err(if packet == BusPacket::default() {
            Intake::Corrupt
        } else {
            invalid("version", "protocol_version is not 1")
        });
    }
    let envelope = Envelope {
        trace_id: packet.trace_id,
        sender_id: packet.sender_id,
        created_us: packet.created_at.map_or(0, |at| at.as_micros()),
    };
    let payload = packet
        .payload
        .ok_or_else(|| invalid("unknown_payload", "no known payload"))?;
    Ok((envelope, payload))
}

/// Decode a heartbeat or handshake packet; `None` when unusable.
pub fn decode_presence(bytes: &[u8]) -> Option<(Envelope, Payload)> {
    match open(bytes) {
        Ok((envelope, payload @ (Payload::Heartbeat(_) | Payload::Handshake(_)))) => {
            Some((envelope, payload))
        }
        _ => None,
    }
}

fn invalid<T>(reason: &'static str, detail: impl Into<String>) -> Intake<T> {
    Intake::Invalid {
        reason,
        detail: detail.into(),
        about: None,
    }
}

impl Intake<()> {
    fn cast<T>(self) -> Intake<T> {
        match self {
            Intake::Invalid {
                reason,
                detail,
                about,
            } => Intake::Invalid {
                reason,
                detail,
                about,
            },
            _ => Intake::Corrupt,
        }
    }
}
