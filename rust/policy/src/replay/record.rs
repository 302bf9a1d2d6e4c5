//! Requests and answers, as they crossed the wire, become segments.

use std::borrow::Borrow;
use std::hash::Hash;

use ahash::AHashMap;
use smallvec::SmallVec;

use super::columns::{flags, Column, Segment, COLUMNS, MAX_BYTES, MAX_ROWS};
use crate::error::RequestError;
use crate::request::{FieldValue, Fields, Request};

/// Label values above this many bytes are not kept.
const MAX_LABEL_BYTES: usize = 4096;
/// Effective configs above this many bytes are not kept.
const MAX_CONFIG_BYTES: usize = 64 * 1024;
/// Labels whose text is content; a policy only reads whether they are there and, of the prompt, the length.
const PROMPT_LABEL: &str = "_content.prompt";
const DESCRIPTOR_LABEL: &str = "_action.descriptor_json";
/// Stands for a text that was not kept.
const WITHHELD: &str = "-";

/// One tenant's segment.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub tenant: String,
    pub rows: usize,
    pub bytes: Vec<u8>,
}

/// A call the kernel answered: request bytes, answer bytes, time in µs, and whether both are batches.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub request: &'a [u8],
    pub answer: &'a [u8],
    pub time_us: i64,
    pub is_batch: bool,
}

/// The parts of an answer that are kept.
#[derive(Default)]
struct Answer<'a> {
    decision: u32,
    reason: &'a str,
    snapshot: &'a str,
    rule_id: &'a str,
    constraints: &'a [u8],
    asks_human: bool,
}

/// Encode calls, one segment per tenant (or more, when limits ask for it). Items that failed and bytes that do not decode decided
/// nothing and are left out.
pub fn record(calls: &[Call<'_>]) -> Vec<Recorded> {
    let mut builders: AHashMap<&str, Builder<'_>> = AHashMap::new();
    let mut done = Vec::new();
    for call in calls {
        for (request, answer) in pairs(call) {
            let (Ok(request), Ok(answer)) = (Request::decode(request), Answer::decode(answer)) else {
                continue;
            };
            let tenant = tenant_of(&request);
            let builder = builders.entry(tenant).or_default();
            builder.push(&request, &answer, call.time_us);
            if builder.is_full() {
                done.extend(std::mem::take(builder).finish(tenant));
            }
        }
    }
    done.extend(
        builders
            .into_iter()
            .filter_map(|(tenant, builder)| builder.finish(tenant)),
    );
    done
}

fn tenant_of<'a>(request: &Request<'a>) -> &'a str {
    [request.tenant, request.meta_tenant_id]
        .into_iter()
        .map(str::trim)
        .find(|text| !text.is_empty())
        .unwrap_or("default")
}

/// Requests with their answers; an item that failed has none.
fn pairs<'a>(call: &Call<'a>) -> Vec<(&'a [u8], &'a [u8])> {
    if !call.is_batch {
        return vec![(call.request, call.answer)];
    }
    let requests = all(call.request).unwrap_or_default();
    let answers = all(call.answer).unwrap_or_default();
    requests
        .into_iter()
        .zip(answers)
        .filter_map(|(request, item)| {
            let mut fields = Fields::new(item);
            let mut answer = None;
            while let Ok(Some((tag, value))) = fields.next() {
                match (tag, value) {
                    (1, FieldValue::Bytes(bytes)) => answer = Some(bytes),
                    (2, FieldValue::Number(code)) if code != 0 => return None,
                    _ => {}
                }
            }
            Some((request, answer?))
        })
        .collect()
}

/// Values of the repeated field 1.
fn all(message: &[u8]) -> Result<Vec<&[u8]>, RequestError> {
    let (mut fields, mut found) = (Fields::new(message), Vec::new());
    while let Some((tag, value)) = fields.next()? {
        if tag == 1 {
            found.push(value.bytes(tag)?);
        }
    }
    Ok(found)
}

impl<'a> Answer<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Answer<'a>, RequestError> {
        let (mut answer, mut fields) = (Answer::default(), Fields::new(bytes));
        while let Some((tag, value)) = fields.next()? {
            let text = |value: FieldValue<'a>| {
                std::str::from_utf8(value.bytes(tag)?).map_err(|_| RequestError::Utf8(tag))
            };
            match tag {
                1 => answer.decision = number(value),
                2 => answer.reason = text(value)?,
                4 => answer.snapshot = text(value)?,
                5 => answer.rule_id = text(value)?,
                6 => answer.constraints = value.bytes(tag)?,
                7 => answer.asks_human = number(value) != 0,
                _ => {}
            }
        }
        Ok(answer)
    }
}

fn number(value: FieldValue<'_>) -> u32 {
    match value {
        FieldValue::Number(number) => u32::try_from(number).unwrap_or(u32::MAX),
        _ => 0,
    }
}

/// Gives equal values equal numbers.
struct Dictionary<K>(AHashMap<K, u32>);

impl<K> Default for Dictionary<K> {
    fn default() -> Self {
        Dictionary(AHashMap::new())
    }
}

impl<K: Eq + Hash> Dictionary<K> {
    /// The value's number, and whether it is new.
    fn number<Q>(&mut self, value: &Q, own: impl FnOnce() -> K) -> (u32, bool)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some(id) = self.0.get(value) {
            return (*id, false);
        }
        let id = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.insert(own(), id);
        (id, true)
    }
}

/// The columns of one tenant, growing.
struct Builder<'a> {
    segment: Segment,
    texts: Dictionary<&'a str>,
    blobs: Dictionary<&'a [u8]>,
    lists: Dictionary<SmallVec<[u32; 16]>>,
}

impl Default for Builder<'_> {
    fn default() -> Self {
        let segment = Segment {
            columns: vec![Vec::new(); COLUMNS],
            ..Segment::default()
        };
        Builder {
            segment,
            texts: Dictionary::default(),
            blobs: Dictionary::default(),
            lists: Dictionary::default(),
        }
    }
}

impl<'a> Builder<'a> {
    fn is_full(&self) -> bool {
        let segment = &self.segment;
        let content = segment.texts.content.len() + segment.blobs.content.len();
        segment.len() >= MAX_ROWS || content + 4 * segment.lists.content.len() >= MAX_BYTES / 4
    }

    fn finish(self, tenant: &str) -> Option<Recorded> {
        (!self.segment.is_empty()).then(|| Recorded {
            tenant: tenant.to_owned(),
            rows: self.segment.len(),
            bytes: self.segment.encode(),
        })
    }

    fn text(&mut self, text: &'a str) -> u32 {
        let (id, is_new) = self.texts.number(text, || text);
        if is_new {
            self.segment.texts.content.push_str(text);
            self.segment
                .texts
                .ends
                .push(end(self.segment.texts.content.len()));
        }
        id
    }

    fn blob(&mut self, bytes: &'a [u8]) -> u32 {
        let (id, is_new) = self.blobs.number(bytes, || bytes);
        if is_new {
            self.segment.blobs.content.extend_from_slice(bytes);
            self.segment
                .blobs
                .ends
                .push(end(self.segment.blobs.content.len()));
        }
        id
    }

    fn list(&mut self, ids: SmallVec<[u32; 16]>) -> u32 {
        let (id, is_new) = self.lists.number(&ids, || ids.clone());
        if is_new {
            self.segment.lists.content.extend_from_slice(&ids);
            self.segment
                .lists
                .ends
                .push(end(self.segment.lists.content.len()));
        }
        id
    }

    fn push(&mut self, request: &Request<'a>, answer: &Answer<'a>, time_us: i64) {
        let mut flag = 0;
        let mut size = request.input_size_bytes.max(0);
        if !request.input_content.is_empty() {
            flag |= flags::CONTENT;
            size = if size == 0 {
                length(request.input_content.len())
            } else {
                size
            };
        }
        let labels = self.labels(request, &mut flag, &mut size);
        if request.job_id.is_empty() {
            flag |= flags::JOBLESS;
        }
        if answer.asks_human {
            flag |= flags::APPROVAL;
        }
        let config = if request.effective_config.len() > MAX_CONFIG_BYTES {
            flag |= flags::PARTIAL;
            &[]
        } else {
            request.effective_config
        };
        let risk_tags = request.risk_tags.iter().map(|text| self.text(text)).collect();
        let requires = request.requires.iter().map(|text| self.text(text)).collect();
        let identity = request.identity.iter().map(|bytes| self.blob(bytes)).collect();
        let row = [
            (Column::JobId, self.text(request.job_id)),
            (Column::Topic, self.text(request.topic)),
            (Column::Tenant, self.text(request.tenant)),
            (Column::Principal, self.text(request.principal_id)),
            (Column::MetaTenant, self.text(request.meta_tenant_id)),
            (Column::MetaActor, self.text(request.meta_actor_id)),
            (Column::Capability, self.text(request.capability)),
            (Column::Pack, self.text(request.pack_id)),
            (Column::ContentType, self.text(request.input_content_type)),
            (Column::Reason, self.text(answer.reason)),
            (Column::Rule, self.text(answer.rule_id)),
            (Column::Snapshot, self.text(answer.snapshot)),
            (Column::Config, self.blob(config)),
            (Column::Constraints, self.blob(answer.constraints)),
            (Column::Labels, self.list(labels)),
            (Column::RiskTags, self.list(risk_tags)),
            (Column::Requires, self.list(requires)),
            (Column::Identity, self.list(identity)),
            (Column::ActorType, request.meta_actor_type as u32),
            (Column::Decision, answer.decision),
            (Column::Flags, flag),
        ];
        for (column, value) in row {
            if let Some(values) = self.segment.columns.get_mut(column as usize) {
                values.push(value);
            }
        }
        self.segment.times.push(time_us);
        self.segment.sizes.push(size);
    }

    /// Pairs of name and value; content is withheld.
    fn labels(&mut self, request: &Request<'a>, flag: &mut u32, size: &mut i64) -> SmallVec<[u32; 16]> {
        let mut ids = SmallVec::new();
        for (name, value) in &request.labels {
            let kept = match *name {
                PROMPT_LABEL if !value.is_empty() => {
                    *flag |= flags::PROMPT;
                    *size = if *size == 0 { length(value.len()) } else { *size };
                    // A prompt beside content does not count; the content is gone, so neither may the prompt come back.
                    if request.input_content.is_empty() {
                        WITHHELD
                    } else {
                        ""
                    }
                }
                DESCRIPTOR_LABEL => WITHHELD,
                _ if value.len() > MAX_LABEL_BYTES => {
                    *flag |= flags::PARTIAL;
                    WITHHELD
                }
                _ => value,
            };
            ids.push(self.text(name));
            ids.push(self.text(kept));
        }
        ids
    }
}

fn end(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
