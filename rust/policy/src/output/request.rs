//! Reads an `OutputCheckRequest` (output policy spec §10.2) without copying.

use smallvec::SmallVec;

use crate::error::RequestError;
use crate::limits::{MAX_OUTPUT_ARTIFACTS, MAX_TOPIC_BYTES};

use super::artifacts::Artifact;
use crate::request::{push, Fields};

/// The fields that rules ask about, borrowed from the message.
#[derive(Clone, Debug, Default)]
pub struct OutputRequest<'a> {
    pub job_id: &'a str,
    pub topic: &'a str,
    pub tenant: &'a str,
    pub result_ptr: &'a str,
    /// At most one more than are looked at.
    pub artifact_ptrs: SmallVec<[&'a str; 2]>,
    /// What reading them gave, where a rule asks for it.
    pub artifacts: Vec<Artifact<'a>>,
    pub error_message: &'a str,
    pub error_code: &'a str,
    /// Bytes stored, 0 = not said.
    pub size: i64,
    pub workflow_id: &'a str,
    pub content: &'a [u8],
    pub capabilities: SmallVec<[&'a str; 4]>,
    pub risk_tags: SmallVec<[&'a str; 4]>,
    pub content_type: &'a str,
    /// The job failed: only its error text is looked at (output policy spec §2.6).
    pub is_failed: bool,
}

impl<'a> OutputRequest<'a> {
    /// Decode; unknown fields are skipped.
    pub fn decode(bytes: &'a [u8]) -> Result<OutputRequest<'a>, RequestError> {
        let mut request = OutputRequest::default();
        let mut reader = Fields::new(bytes);
        while let Some((tag, value)) = reader.next()? {
            match tag {
                1 => request.job_id = value.text(tag)?,
                2 => request.topic = value.text(tag)?,
                3 => request.tenant = value.text(tag)?,
                5 => request.result_ptr = value.text(tag)?,
                6 if request.artifact_ptrs.len() <= MAX_OUTPUT_ARTIFACTS => {
                    request.artifact_ptrs.push(value.text(tag)?);
                }
                7 => request.error_message = value.text(tag)?,
                8 => request.error_code = value.text(tag)?,
                11 => request.size = value.number(tag)? as i64,
                13 => request.workflow_id = value.text(tag)?,
                15 => request.content = value.bytes(tag)?,
                16 => push(&mut request.capabilities, value.text(tag)?, "capabilities")?,
                17 => push(&mut request.risk_tags, value.text(tag)?, "risk tags")?,
                20 => request.content_type = value.text(tag)?,
                100 => request.is_failed = value.number(tag)? != 0,
                _ => {}
            }
        }
        if request.topic.len() > MAX_TOPIC_BYTES {
            return Err(RequestError::TopicTooLong);
        }
        Ok(request)
    }
}
