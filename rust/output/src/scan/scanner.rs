//! A content from end to end: encoding, blocks, threads, layers, overlap (output policy spec §16.7.4).

use crate::catalogue::is_prompt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::LazyLock;

use crate::definition::Group;
use crate::engine::ScanOptions;
use crate::hit::{Hit, ScanResult};
use crate::limits::{BLOCK_BYTES, INJECTION_MARGIN, MAX_SCAN_BYTES, PARALLEL_BYTES, PASS_BYTES, TAIL_BYTES};
use crate::mask::Mask;
use crate::operator::Customs;
use crate::scan::block::{Block, Work};
use crate::scan::decode::{self, Decoding};
use crate::scan::literals::{Lead, Words};
use crate::scan::sweep::{for_each_cluster, for_each_run};
use crate::scan::tables::{ALL_WORDS, PII_WORDS, SECRET_WORDS, TABLES, TRIGGERS};
use crate::scan::{overlap, utf16};
use crate::{injection, phrases, prompt};

/// Scans with the detectors of the mask: built-in ones, and those of the operator.
pub(crate) fn scan(content: &[u8], mask: &Mask, options: &ScanOptions, customs: &Customs) -> ScanResult {
    if let Some(text) = utf16::decode(content) {
        // The limit is one of stored bytes; as UTF-8 there may be more of them.
        let options = ScanOptions {
            max_bytes: options.max_bytes.filter(|limit| content.len() > *limit),
            ..*options
        };
        let mut result = scan_bytes(&text.bytes, mask, &options, customs);
        result.hits.iter_mut().for_each(|hit| text.map_back(hit));
        // Two bytes before a text of another kind must not hide what stands in it.
        let plain = scan_bytes(content, mask, &options, customs);
        let head = content.get(..content.len().min(64 * 1024)).unwrap_or_default();
        let letters = head.iter().filter(|byte| (b' '..=b'~').contains(byte)).count();
        // Orders in bytes that only look like a text are read by nobody.
        let is_text = letters.saturating_mul(5) >= head.len().saturating_mul(4);
        let is_beside = |hit: &Hit| {
            (is_text || !is_prompt(hit.detector))
                && result
                    .hits
                    .iter()
                    .all(|other| hit.end() <= other.offset || other.end() <= hit.offset)
        };
        let more: Vec<Hit> = plain.hits.into_iter().filter(is_beside).collect();
        result.is_over_budget |= plain.is_over_budget;
        result.hits.extend(more);
        result.hits.sort_by_key(|hit| (hit.offset, hit.detector));
        return result;
    }
    scan_bytes(content, mask, options, customs)
}

fn scan_bytes(content: &[u8], mask: &Mask, options: &ScanOptions, customs: &Customs) -> ScanResult {
    let (ranges, is_truncated) = ranges_of(content, options.max_bytes);
    let decoding = Decoding::new(content.len());
    let done = if content.len() > PARALLEL_BYTES {
        in_parallel(content, &ranges, mask, options, customs, &decoding)
    } else {
        let one =
            |range: &Range<usize>| scan_range(content, range.clone(), mask, options, customs, &decoding);
        ranges.iter().map(one).collect()
    };
    let is_over_budget = done.iter().any(|(_, is_over)| *is_over);
    let hits = done.into_iter().flat_map(|(hits, _)| hits).collect();
    ScanResult {
        hits: overlap::resolve(content, hits),
        is_truncated,
        is_over_budget,
    }
}

/// Blocks of the content, cut at line ends, and whether the middle was left out.
fn ranges_of(content: &[u8], max_bytes: Option<usize>) -> (Vec<Range<usize>>, bool) {
    let limit = max_bytes.map_or(usize::MAX, |limit| limit.min(MAX_SCAN_BYTES));
    if content.len() <= limit {
        return (cut(content, 0..content.len()), false);
    }
    let tail = TAIL_BYTES.min(limit / 2);
    let head = limit.saturating_sub(tail);
    let mut ranges = cut(content, 0..head);
    ranges.extend(cut(content, content.len().saturating_sub(tail)..content.len()));
    (ranges, true)
}

fn cut(content: &[u8], range: Range<usize>) -> Vec<Range<usize>> {
    /// How far before the nominal end a line end is looked for.
    const SLACK: usize = 8 * 1024;
    let mut ranges = Vec::new();
    let mut start = range.start;
    while start < range.end {
        let nominal = start.saturating_add(BLOCK_BYTES);
        let end = if nominal >= range.end {
            range.end
        } else {
            let from = nominal.saturating_sub(SLACK);
            let window = content.get(from..nominal).unwrap_or_default();
            memchr::memrchr(b'\n', window)
                .map_or(nominal, |place| from.saturating_add(place).saturating_add(1))
        };
        ranges.push(start..end);
        start = end;
    }
    ranges
}

type Found = (Vec<Hit>, bool);

static CORES: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get));
/// Threads that run for scans, beside those that called.
static HELPERS: AtomicUsize = AtomicUsize::new(0);

/// Takes up to `wanted` of the machine's spare cores.
fn take_helpers(wanted: usize) -> usize {
    let spare = CORES.saturating_sub(1);
    let taken = HELPERS.fetch_update(Ordering::AcqRel, Ordering::Acquire, |busy| {
        let count = spare.saturating_sub(busy).min(wanted);
        (count > 0).then_some(busy.saturating_add(count))
    });
    taken.map_or(0, |busy| spare.saturating_sub(busy).min(wanted))
}

fn in_parallel(
    content: &[u8],
    ranges: &[Range<usize>],
    mask: &Mask,
    options: &ScanOptions,
    customs: &Customs,
    decoding: &Decoding,
) -> Vec<Found> {
    let helpers = take_helpers(ranges.len().saturating_sub(1));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(range) = ranges.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((
                range.start,
                scan_range(content, range.clone(), mask, options, customs, decoding),
            ));
        }
        done
    };
    let mut done = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..helpers)
            .filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let mut done = work();
        for handle in handles {
            match handle.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    HELPERS.fetch_sub(helpers, Ordering::AcqRel);
    done.sort_by_key(|(start, _)| *start);
    done.into_iter().map(|(_, found)| found).collect()
}

fn scan_range(
    content: &[u8],
    range: Range<usize>,
    mask: &Mask,
    options: &ScanOptions,
    customs: &Customs,
    decoding: &Decoding,
) -> Found {
    let mut block = Block::new(content, range, mask, options, customs);
    block.scan_all();
    decode::layers(&mut block, decoding);
    (std::mem::take(&mut block.hits), block.work.is_over())
}

impl<'a> Block<'a> {
    /// Every pass over the block, piece by piece so that all passes find it in the cache.
    pub(crate) fn scan_all(&mut self) {
        let groups = [
            Group::SecretLeak,
            Group::Pii,
            Group::CodeInjection,
            Group::PromptInjection,
        ];
        let [secrets, pii, code, prompts] = groups.map(|group| self.wants(group));
        let customs = self.customs.are_wanted(self.mask);
        let sightings = self.triggers(secrets, pii, code || prompts);
        let mut start = self.range.start;
        while start < self.range.end && !self.work.is_over() {
            let end = start.saturating_add(PASS_BYTES).min(self.range.end);
            let piece = start..end;
            // Runs also tell what is encoded.
            if secrets || pii || customs {
                self.runs(piece.clone());
            }
            if secrets || pii {
                self.marks(piece.clone());
            }
            if pii {
                self.digits_in(piece.clone());
                self.documents(piece.clone());
            }
            start = end;
        }
        if (code || prompts) && !self.work.is_over() {
            self.injections(sightings, code, prompts);
        }
        if customs {
            self.customs.scan(self);
        }
    }

    /// Follows the words of values, and answers the phrases of injections when they are wanted.
    fn triggers(&mut self, secrets: bool, pii: bool, injections: bool) -> Vec<phrases::Sighting> {
        let (window, from) = self.window();
        let (mut leads, mut sightings) = (Vec::new(), Vec::new());
        if secrets && pii && injections {
            let range = self.range.start.saturating_sub(from)..self.range.end.saturating_sub(from);
            (leads, sightings) = TRIGGERS.find(window, range);
            for (_, found) in &mut leads {
                *found = from.saturating_add(found.start)..from.saturating_add(found.end);
            }
        } else {
            let words: Option<&Words> = match (secrets, pii) {
                (true, true) => Some(&ALL_WORDS),
                (true, false) => Some(&SECRET_WORDS),
                (false, true) => Some(&PII_WORDS),
                (false, false) => None,
            };
            if let Some(words) = words {
                leads = words.find(self.content, self.range.clone());
            }
            if injections {
                sightings = phrases::find_rare(window);
            }
        }
        for (lead, found) in leads {
            if self.work.is_over() {
                break;
            }
            self.lead(lead, found);
        }
        sightings
    }

    /// The block and what injection detectors may read around it, and where that begins.
    fn window(&self) -> (&'a [u8], usize) {
        let from = self.range.start.saturating_sub(INJECTION_MARGIN);
        let to = self.range.end.saturating_add(INJECTION_MARGIN);
        let to = to.min(self.content.len());
        (self.content.get(from..to).unwrap_or_default(), from)
    }

    /// Code and prompt injection of the block, in a window of the content: a long content costs each block its own part.
    fn injections(&mut self, mut sightings: Vec<phrases::Sighting>, code: bool, prompts: bool) {
        let (window, from) = self.window();
        let range = self.range.start.saturating_sub(from)..self.range.end.saturating_sub(from);
        if prompts {
            phrases::add_common(window, &mut sightings);
        }
        let mut hits = Vec::new();
        if code {
            injection::scan_code(window, range.clone(), &sightings, self.mask, &mut hits);
        }
        if prompts {
            prompt::scan_prompt(window, range, &sightings, self.mask, self.options, &mut hits);
        }
        let least = self.options.min_confidence;
        for mut hit in hits.into_iter().filter(|hit| hit.confidence >= least) {
            hit.offset = hit.offset.saturating_add(from);
            self.hits.push(hit);
        }
    }

    fn runs(&mut self, piece: Range<usize>) {
        let content = self.content;
        for_each_run(content, piece, |start, end| {
            if !self.work.is_over() {
                self.run(start, end);
            }
        });
    }

    fn digits_in(&mut self, piece: Range<usize>) {
        let content = self.content;
        for_each_cluster(content, piece, |groups| {
            if !self.work.is_over() {
                self.cluster(groups);
                self.free_numbers(groups);
            }
        });
    }

    fn marks(&mut self, piece: Range<usize>) {
        let text = self.content.get(piece.clone()).unwrap_or_default();
        for place in memchr::memchr2_iter(b'@', b'~', text) {
            let at = piece.start.saturating_add(place);
            if self.work.is_over() {
                return;
            }
            if self.content.get(at) == Some(&b'@') {
                self.at_sign(at);
            } else {
                self.tilde(at);
            }
        }
    }

    fn lead(&mut self, lead: Lead, found: Range<usize>) {
        match lead {
            Lead::Pem => self.pem(found.start),
            Lead::Putty => self.putty(found.start),
            Lead::Name => self.assignment(found),
            Lead::Authorization => self.authorization(found.end),
            Lead::DockerAuth => self.docker_auth(found.end),
            Lead::ServiceAccount => self.service_account(found.start),
            Lead::Crypt => self.password_hash(found.start),
            Lead::Signature => self.azure_signature(found.start),
            Lead::Near => self.near(found),
        }
    }

    /// Searches the forms of the catalogue's words around one of them.
    fn near(&mut self, found: Range<usize>) {
        let word = self
            .content
            .get(found.clone())
            .unwrap_or_default()
            .to_ascii_lowercase();
        for (text, place) in &TABLES.near {
            let Some(entry) = TABLES.entries.get(*place).filter(|_| text.as_bytes() == word) else {
                continue;
            };
            if !self.mask.contains(entry.id) {
                continue;
            }
            let start = found.start.saturating_sub(64);
            let end = found.end.saturating_add(112).min(self.content.len());
            let window = self.content.get(start..end).unwrap_or_default();
            self.work.spend(window.len());
            let Some(regex) = entry.regex() else { continue };
            let spans: Vec<(Range<usize>, Range<usize>)> = regex
                .captures_iter(window)
                .filter_map(|captures| {
                    let whole = captures.get(0)?;
                    let value = captures.name("value").unwrap_or(whole);
                    Some((whole.range(), value.range()))
                })
                .take(4)
                .collect();
            for (whole, value) in spans {
                let shift =
                    |range: Range<usize>| start.saturating_add(range.start)..start.saturating_add(range.end);
                self.judge(entry, shift(whole), shift(value));
            }
        }
    }
}

/// A decoded layer, scanned like a content of its own.
pub(crate) fn scan_layer(
    content: &[u8],
    mask: &Mask,
    options: &ScanOptions,
    customs: &Customs,
    work: &mut Work,
    decoding: &Decoding,
) -> Vec<Hit> {
    let mut block = Block::new(content, 0..content.len(), mask, options, customs);
    block.scan_all();
    work.spend(content.len().saturating_mul(2));
    decode::layers(&mut block, decoding);
    std::mem::take(&mut block.hits)
}
