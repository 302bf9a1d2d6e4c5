//! Reads a `PolicyCheckRequest` (protocol spec §4.10) without copying: only what evaluation needs, borrowed from the message.

use smallvec::SmallVec;

use crate::agents::Agent;
use crate::error::RequestError;
use crate::limits::MAX_REQUEST_ENTRIES;

/// One request; all texts borrow from its bytes.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    pub job_id: &'a str,
    pub topic: &'a str,
    pub tenant: &'a str,
    pub principal_id: &'a str,
    /// In wire order; the last of equal keys counts.
    pub labels: SmallVec<[(&'a str, &'a str); 8]>,
    pub effective_config: &'a [u8],
    pub meta_tenant_id: &'a str,
    pub meta_actor_id: &'a str,
    pub meta_actor_type: i32,
    pub capability: &'a str,
    pub risk_tags: SmallVec<[&'a str; 8]>,
    pub requires: SmallVec<[&'a str; 4]>,
    pub pack_id: &'a str,
    /// Serialized `IdentityBinding`s as they came; several merge when joined.
    pub identity: SmallVec<[&'a [u8]; 1]>,
    pub input_content: &'a [u8],
    pub input_content_type: &'a str,
    pub input_size_bytes: i64,
    /// The agent named by a label, when one is known; decoding knows none.
    pub agent: Option<&'a Agent>,
    /// There was content that is not kept; never set by decoding.
    pub is_content_withheld: bool,
}

impl<'a> Request<'a> {
    /// Decode; unknown fields are skipped.
    pub fn decode(bytes: &'a [u8]) -> Result<Request<'a>, RequestError> {
        let mut request = Request::default();
        let mut reader = Fields::new(bytes);
        while let Some((tag, value)) = reader.next()? {
            match tag {
                1 => request.job_id = value.text(tag)?,
                2 => request.topic = value.text(tag)?,
                3 => request.tenant = value.text(tag)?,
                7 => request.principal_id = value.text(tag)?,
                8 => push(&mut request.labels, label_entry(value.bytes(tag)?)?, "labels")?,
                10 => request.effective_config = value.bytes(tag)?,
                11 => request.decode_meta(value.bytes(tag)?)?,
                12 => request.identity.push(identity(value.bytes(tag)?)?),
                20 => request.input_content = value.bytes(tag)?,
                21 => request.input_content_type = value.text(tag)?,
                22 => request.input_size_bytes = value.number(tag)? as i64,
                _ => {}
            }
        }
        Ok(request)
    }

    fn decode_meta(&mut self, bytes: &'a [u8]) -> Result<(), RequestError> {
        let mut reader = Fields::new(bytes);
        while let Some((tag, value)) = reader.next()? {
            match tag {
                1 => self.meta_tenant_id = value.text(tag)?,
                2 => self.meta_actor_id = value.text(tag)?,
                3 => self.meta_actor_type = value.number(tag)? as i32,
                5 => self.capability = value.text(tag)?,
                6 => push(&mut self.risk_tags, value.text(tag)?, "risk tags")?,
                7 => push(&mut self.requires, value.text(tag)?, "requirements")?,
                8 => self.pack_id = value.text(tag)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Value of label `key`.
    pub fn label(&self, key: &str) -> Option<&'a str> {
        self.labels
            .iter()
            .rev()
            .find_map(|(name, value)| (*name == key).then_some(*value))
    }
}

pub(crate) fn push<A: smallvec::Array>(
    list: &mut SmallVec<A>,
    item: A::Item,
    what: &'static str,
) -> Result<(), RequestError> {
    if list.len() >= MAX_REQUEST_ENTRIES {
        return Err(RequestError::TooMany { what });
    }
    list.push(item);
    Ok(())
}

fn label_entry(bytes: &[u8]) -> Result<(&str, &str), RequestError> {
    let mut entry = ("", "");
    let mut reader = Fields::new(bytes);
    while let Some((tag, value)) = reader.next()? {
        match tag {
            1 => entry.0 = value.text(tag)?,
            2 => entry.1 = value.text(tag)?,
            _ => {}
        }
    }
    Ok(entry)
}

/// The bytes, once it is sure that they decode: they are copied into the response.
fn identity(bytes: &[u8]) -> Result<&[u8], RequestError> {
    let mut reader = Fields::new(bytes);
    while let Some((tag, value)) = reader.next()? {
        if (1..=4).contains(&tag) {
            value.text(tag)?;
        }
    }
    Ok(bytes)
}

/// One field's value.
#[derive(Clone, Copy)]
pub(crate) enum FieldValue<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

impl<'a> FieldValue<'a> {
    pub fn bytes(self, tag: u32) -> Result<&'a [u8], RequestError> {
        match self {
            FieldValue::Bytes(bytes) => Ok(bytes),
            _ => Err(RequestError::WireType(tag)),
        }
    }

    pub fn text(self, tag: u32) -> Result<&'a str, RequestError> {
        std::str::from_utf8(self.bytes(tag)?).map_err(|_| RequestError::Utf8(tag))
    }

    pub fn number(self, tag: u32) -> Result<u64, RequestError> {
        match self {
            FieldValue::Number(value) => Ok(value),
            _ => Err(RequestError::WireType(tag)),
        }
    }
}

/// The fields of a message, one after another.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Fields { rest: bytes }
    }

    /// Next field number and value; `None` at the end.
    pub fn next(&mut self) -> Result<Option<(u32, FieldValue<'a>)>, RequestError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let tag = u32::try_from(key >> 3).map_err(|_| RequestError::Malformed)?;
        if tag == 0 || tag >= 1 << 29 {
            return Err(RequestError::Malformed);
        }
        let value = match key & 7 {
            0 => FieldValue::Number(self.varint()?),
            1 => self.take(8).map(|_| FieldValue::Other)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| RequestError::Malformed)?;
                FieldValue::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| FieldValue::Other)?,
            _ => return Err(RequestError::Malformed),
        };
        Ok(Some((tag, value)))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, RequestError> {
        // Most tags and lengths are one byte.
        if let [byte @ 0..=0x7f, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, RequestError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let [byte, rest @ ..] = self.rest else {
                return Err(RequestError::Truncated);
            };
            self.rest = rest;
            if shift == 63 && *byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Ok(value);
            }
        }
        Err(RequestError::Malformed)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], RequestError> {
        if length > self.rest.len() {
            return Err(RequestError::Truncated);
        }
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(taken)
    }
}
