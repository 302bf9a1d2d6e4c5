//! The segment format: two dictionaries (texts, bytes), a dictionary of lists, and one column of numbers per fact.
//!
//! Layout, little-endian, LZ4 block with its length in front: magic `CDL1`, row count, then texts, blobs and lists (each: count, end
//! offsets, content), then the columns in the order of [`Column`], then times and sizes as `i64`. Every reference is checked once when
//! a segment is decoded, so reading rows cannot fail.

use smallvec::SmallVec;
use thiserror::Error;

use crate::request::Request;

const MAGIC: &[u8; 4] = b"CDL1";
/// Rows of one segment.
pub const MAX_ROWS: usize = 65_536;
/// Bytes of one segment before compression.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Number of `u32` columns.
pub const COLUMNS: usize = Column::Flags as usize + 1;

/// The `u32` columns. The first twelve refer to texts, the next two to blobs, the next four to lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Column {
    JobId,
    Topic,
    Tenant,
    Principal,
    MetaTenant,
    MetaActor,
    Capability,
    Pack,
    ContentType,
    Reason,
    Rule,
    Snapshot,
    Config,
    Constraints,
    Labels,
    RiskTags,
    Requires,
    Identity,
    ActorType,
    Decision,
    Flags,
}

const TEXT_COLUMNS: usize = Column::Snapshot as usize + 1;
const BLOB_COLUMNS: usize = Column::Constraints as usize + 1;
const LIST_COLUMNS: usize = Column::Identity as usize + 1;

/// What is known about a row beside its facts.
pub mod flags {
    /// The request carried content, which is not kept.
    pub const CONTENT: u32 = 1;
    /// The request carried a prompt label, whose text is not kept.
    pub const PROMPT: u32 = 2;
    /// An evaluation without a job id.
    pub const JOBLESS: u32 = 4;
    /// The answer asked for a human.
    pub const APPROVAL: u32 = 8;
    /// Facts too large to keep are missing.
    pub const PARTIAL: u32 = 16;
}

/// Why bytes are no segment.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SegmentError {
    #[error("segment does not decompress")]
    Compression,
    #[error("segment too large: expected at most {MAX_BYTES} bytes and {MAX_ROWS} rows")]
    TooLarge,
    #[error("segment has an unknown format")]
    Format,
    #[error("segment ends too early")]
    Truncated,
    #[error("segment refers to something it does not hold")]
    Reference,
}

/// Variable-length entries behind one another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entries<T> {
    pub ends: Vec<u32>,
    pub content: T,
}

impl<T> Entries<T> {
    fn range(&self, id: u32) -> std::ops::Range<usize> {
        let id = id as usize;
        let start = id.checked_sub(1).and_then(|before| self.ends.get(before));
        let end = self.ends.get(id).copied().unwrap_or(0) as usize;
        (start.copied().unwrap_or(0) as usize).min(end)..end
    }
}

/// One decoded segment: owned, immutable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    pub(crate) texts: Entries<String>,
    pub(crate) blobs: Entries<Vec<u8>>,
    pub(crate) lists: Entries<Vec<u32>>,
    pub(crate) columns: Vec<Vec<u32>>,
    pub(crate) times: Vec<i64>,
    pub(crate) sizes: Vec<i64>,
}

impl Segment {
    /// Rows, oldest first.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// One row; a number beyond the end reads as an empty row.
    pub fn row(&self, row: usize) -> Row<'_> {
        Row { segment: self, row }
    }

    pub(crate) fn text_at(&self, id: u32) -> &str {
        self.texts.content.get(self.texts.range(id)).unwrap_or("")
    }

    fn blob_at(&self, id: u32) -> &[u8] {
        self.blobs.content.get(self.blobs.range(id)).unwrap_or(&[])
    }

    fn list_at(&self, id: u32) -> &[u32] {
        self.lists.content.get(self.lists.range(id)).unwrap_or(&[])
    }

    /// Compressed bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.times.len() * 120 + self.texts.content.len());
        out.extend_from_slice(MAGIC);
        put(&mut out, self.times.len());
        put_all(&mut out, &self.texts.ends);
        out.extend_from_slice(self.texts.content.as_bytes());
        put_all(&mut out, &self.blobs.ends);
        out.extend_from_slice(&self.blobs.content);
        put_all(&mut out, &self.lists.ends);
        self.lists
            .content
            .iter()
            .for_each(|id| put(&mut out, *id as usize));
        for column in &self.columns {
            column.iter().for_each(|id| put(&mut out, *id as usize));
        }
        for numbers in [&self.times, &self.sizes] {
            numbers
                .iter()
                .for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
        }
        lz4_flex::block::compress_prepend_size(&out)
    }

    /// Decompress and check.
    ///
    /// Errors: anything that `encode` does not write, or that exceeds the limits.
    pub fn decode(bytes: &[u8]) -> Result<Segment, SegmentError> {
        let (size, _) = bytes.split_first_chunk::<4>().ok_or(SegmentError::Truncated)?;
        if u32::from_le_bytes(*size) as usize > MAX_BYTES {
            return Err(SegmentError::TooLarge);
        }
        let plain =
            lz4_flex::block::decompress_size_prepended(bytes).map_err(|_| SegmentError::Compression)?;
        let mut reader = Plain(plain.strip_prefix(MAGIC).ok_or(SegmentError::Format)?);
        let rows = reader.number()? as usize;
        if rows > MAX_ROWS {
            return Err(SegmentError::TooLarge);
        }
        let ends = reader.ends()?;
        let content = reader.take(ends.last().copied().unwrap_or(0) as usize)?;
        let texts = String::from_utf8(content.to_vec()).map_err(|_| SegmentError::Format)?;
        if !ends.iter().all(|end| texts.is_char_boundary(*end as usize)) {
            return Err(SegmentError::Format);
        }
        let texts = Entries { ends, content: texts };
        let ends = reader.ends()?;
        let content = reader.take(ends.last().copied().unwrap_or(0) as usize)?.to_vec();
        let blobs = Entries { ends, content };
        let ends = reader.ends()?;
        let content = reader.numbers(ends.last().copied().unwrap_or(0) as usize)?;
        let lists = Entries { ends, content };
        let columns = (0..COLUMNS)
            .map(|_| reader.numbers(rows))
            .collect::<Result<Vec<_>, _>>()?;
        let (times, sizes) = (reader.wide(rows)?, reader.wide(rows)?);
        let segment = Segment {
            texts,
            blobs,
            lists,
            columns,
            times,
            sizes,
        };
        segment.check().then_some(segment).ok_or(SegmentError::Reference)
    }

    /// Every reference points at something.
    fn check(&self) -> bool {
        let limits = (0..LIST_COLUMNS).map(|column| match column {
            _ if column < TEXT_COLUMNS => self.texts.ends.len(),
            _ if column < BLOB_COLUMNS => self.blobs.ends.len(),
            _ => self.lists.ends.len(),
        });
        let most = self.texts.ends.len().max(self.blobs.ends.len());
        self.lists.content.iter().all(|id| (*id as usize) < most)
            && self
                .columns
                .iter()
                .zip(limits)
                .all(|(column, limit)| column.iter().all(|id| (*id as usize) < limit))
    }
}

/// One past decision with its facts; texts borrow from the segment.
#[derive(Clone, Copy, Debug)]
pub struct Row<'s> {
    segment: &'s Segment,
    row: usize,
}

impl<'s> Row<'s> {
    fn id(&self, column: Column) -> u32 {
        let values = self.segment.columns.get(column as usize);
        values
            .and_then(|values| values.get(self.row))
            .copied()
            .unwrap_or(0)
    }

    /// A text column's value.
    pub fn text(&self, column: Column) -> &'s str {
        self.segment.text_at(self.id(column))
    }

    /// A blob column's value.
    pub fn blob(&self, column: Column) -> &'s [u8] {
        self.segment.blob_at(self.id(column))
    }

    /// A number column's value, or the reference of another column.
    pub fn number(&self, column: Column) -> u32 {
        self.id(column)
    }

    /// When it was decided, µs since the epoch.
    pub fn time_us(&self) -> i64 {
        self.segment.times.get(self.row).copied().unwrap_or(0)
    }

    pub fn has(&self, flag: u32) -> bool {
        self.id(Column::Flags) & flag != 0
    }

    /// Value of a label, the last of equal keys.
    pub fn label(&self, key: &str) -> Option<&'s str> {
        let pairs = self
            .segment
            .list_at(self.id(Column::Labels))
            .chunks_exact(2)
            .rev();
        pairs.into_iter().find_map(|pair| match pair {
            [name, value] if self.segment.text_at(*name) == key => Some(self.segment.text_at(*value)),
            _ => None,
        })
    }

    /// The request again, borrowed; content is absent and its size stands in `input_size_bytes`.
    pub fn request(&self) -> Request<'s> {
        let segment = self.segment;
        let list = |column| segment.list_at(self.id(column)).iter();
        let labels: SmallVec<[(&str, &str); 8]> = segment
            .list_at(self.id(Column::Labels))
            .chunks_exact(2)
            .filter_map(|pair| match pair {
                [name, value] => Some((segment.text_at(*name), segment.text_at(*value))),
                _ => None,
            })
            .collect();
        Request {
            job_id: self.text(Column::JobId),
            topic: self.text(Column::Topic),
            tenant: self.text(Column::Tenant),
            principal_id: self.text(Column::Principal),
            labels,
            effective_config: self.blob(Column::Config),
            meta_tenant_id: self.text(Column::MetaTenant),
            meta_actor_id: self.text(Column::MetaActor),
            meta_actor_type: self.id(Column::ActorType) as i32,
            capability: self.text(Column::Capability),
            risk_tags: list(Column::RiskTags).map(|id| segment.text_at(*id)).collect(),
            requires: list(Column::Requires).map(|id| segment.text_at(*id)).collect(),
            pack_id: self.text(Column::Pack),
            identity: list(Column::Identity).map(|id| segment.blob_at(*id)).collect(),
            agent: None,
            input_content: &[],
            input_content_type: self.text(Column::ContentType),
            input_size_bytes: segment.sizes.get(self.row).copied().unwrap_or(0),
            is_content_withheld: self.has(flags::CONTENT) || self.has(flags::PROMPT),
        }
    }
}

fn put(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_all(out: &mut Vec<u8>, ends: &[u32]) {
    put(out, ends.len());
    ends.iter().for_each(|end| put(out, *end as usize));
}

/// Decompressed bytes, read from the front.
struct Plain<'a>(&'a [u8]);

impl<'a> Plain<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], SegmentError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(SegmentError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32, SegmentError> {
        let (taken, rest) = self.0.split_first_chunk::<4>().ok_or(SegmentError::Truncated)?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*taken))
    }

    fn numbers(&mut self, count: usize) -> Result<Vec<u32>, SegmentError> {
        let bytes = self.take(count.checked_mul(4).ok_or(SegmentError::Truncated)?)?;
        Ok(bytes
            .chunks_exact(4)
            .filter_map(|chunk| chunk.try_into().ok().map(u32::from_le_bytes))
            .collect())
    }

    fn wide(&mut self, count: usize) -> Result<Vec<i64>, SegmentError> {
        let bytes = self.take(count.checked_mul(8).ok_or(SegmentError::Truncated)?)?;
        Ok(bytes
            .chunks_exact(8)
            .filter_map(|chunk| chunk.try_into().ok().map(i64::from_le_bytes))
            .collect())
    }

    /// End offsets, which never fall.
    fn ends(&mut self) -> Result<Vec<u32>, SegmentError> {
        let count = self.number()? as usize;
        let ends = self.numbers(count)?;
        let is_sorted = ends.iter().zip(ends.iter().skip(1)).all(|(a, b)| a <= b);
        is_sorted.then_some(ends).ok_or(SegmentError::Format)
    }
}
