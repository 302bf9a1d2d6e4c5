//! `hidden_text`: what a person does not see and a model reads.

use std::ops::Range;

use super::delimiters::{addresses_model, starts_with_order};
use super::fold::{is_zero_width, tag_letter};
use super::Draft;
use crate::around::slice;
use crate::definition::Severity;

const ID: &str = "hidden_text";
/// Zero-width characters between letters this close together count as one text.
const NEAR: usize = 256;

/// What the characters beyond ASCII show.
#[derive(Default)]
pub(super) struct Invisible {
    tags: Vec<(Range<usize>, String)>,
    joins: Vec<usize>,
    overrides: Vec<Range<usize>>,
    /// Starts of isolates and embeddings not yet closed, of the current paragraph.
    open: Vec<usize>,
}

impl Invisible {
    /// Take note of a character that is not ASCII.
    pub(super) fn see(&mut self, content: &[u8], at: usize, character: char) {
        let end = at + character.len_utf8();
        if let Some(letter) = tag_letter(character) {
            match self.tags.last_mut().filter(|(span, _)| span.end == at) {
                Some((span, text)) => {
                    span.end = end;
                    text.push(letter);
                }
                None => self.tags.push((at..end, letter.to_string())),
            }
        } else if is_zero_width(character) && joins_letters(content, at, end) {
            self.joins.push(at);
        } else if !is_in_range(content, at, end) {
            match character {
                '\u{202d}' | '\u{202e}' => self.overrides.push(at..end),
                '\u{2066}'..='\u{2068}' => self.open.push(at),
                '\u{2069}' if self.open.pop().is_none() => self.overrides.push(at..end),
                _ => {}
            }
        }
    }

    /// Findings, with the text that tag characters spell.
    pub(super) fn finish(self, content: &[u8], found: &mut Vec<Draft>) -> Vec<(Range<usize>, String)> {
        // A flag is an emoji followed by tags and a cancel tag; its letters spell a region and nothing else.
        let tags: Vec<_> = self
            .tags
            .into_iter()
            .filter(|(span, text)| !is_flag(content, span, text))
            .collect();
        for (span, _) in &tags {
            found.push(Draft::new(ID, span.clone(), 0.8).of(Severity::Medium));
        }
        let mut group: Vec<usize> = Vec::new();
        for at in self.joins.into_iter().map(Some).chain([None]) {
            let is_near = at.is_some_and(|at| group.last().is_none_or(|last| at - last <= NEAR));
            if !is_near {
                if let ([first, .., last], true) = (group.as_slice(), group.len() >= 3) {
                    found.push(Draft::new(ID, *first..last + 3, 0.7).of(Severity::Medium));
                }
                group.clear();
            }
            group.extend(at);
        }
        let unbalanced = self.open.into_iter().map(|at| at..at + 3);
        for span in self.overrides.into_iter().chain(unbalanced) {
            found.push(Draft::new(ID, span, 0.7).of(Severity::Medium));
        }
        tags
    }
}

/// One end of a range in a class of characters: `\u{202a}-\u{202e}` of a regular expression.
fn is_in_range(content: &[u8], at: usize, end: usize) -> bool {
    let before = slice(content, at.saturating_sub(4)..at);
    let after = slice(content, end..end + 3);
    matches!(before, [0xe2, 0x80 | 0x81, _, b'-']) || matches!(after, [b'-', 0xe2, 0x80 | 0x81])
}

/// England, Scotland and Wales are written with tags after a black flag.
fn is_flag(content: &[u8], span: &Range<usize>, text: &str) -> bool {
    slice(content, span.start.saturating_sub(4)..span.start) == "\u{1f3f4}".as_bytes() && text.len() <= 6
}

/// Whether letters of a script without joiners stand on both sides, perhaps behind more zero-width characters.
fn joins_letters(content: &[u8], at: usize, end: usize) -> bool {
    let before = String::from_utf8_lossy(slice(content, at.saturating_sub(24)..at)).into_owned();
    let after = String::from_utf8_lossy(slice(content, end..end + 24)).into_owned();
    let left = before.chars().rev().find(|c| !is_zero_width(*c));
    let right = after.chars().find(|c| !is_zero_width(*c));
    let counts = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() && has_no_joiners(c));
    counts(left) && counts(right)
}

fn has_no_joiners(character: char) -> bool {
    matches!(character, '\0'..='\u{52f}' | '\u{1e00}'..='\u{1fff}' | '\u{2c60}'..='\u{2c7f}' | '\u{ff00}'..='\u{ffef}')
}

/// `<!-- … -->` that starts at `start`.
pub(super) fn comment_at(content: &[u8], start: usize) -> Option<(Range<usize>, String)> {
    const LONGEST: usize = 2048;
    let rest = slice(content, start..start + LONGEST);
    let end = memchr::memmem::find(rest, b"-->")?;
    let inner = rest.get(4..end)?;
    Some((
        start..start + end + 3,
        String::from_utf8_lossy(inner).into_owned(),
    ))
}

/// An element whose `style` (starting at `start`) hides it: its span and its text.
pub(super) fn unseen_element_at(content: &[u8], start: usize) -> Option<(Range<usize>, String)> {
    const LONGEST: usize = 2048;
    let rest = slice(content, start..start + LONGEST);
    let quote = rest.iter().position(|byte| matches!(byte, b'"' | b'\''))?;
    let mark = *rest.get(quote)?;
    let length = memchr::memchr(mark, rest.get(quote + 1..)?)?;
    let style: String = String::from_utf8_lossy(rest.get(quote + 1..quote + 1 + length)?)
        .replace('\\', "")
        .chars()
        .filter(|c| !c.is_whitespace())
        .collect::<String>()
        .to_ascii_lowercase();
    if !hides(&style) {
        return None;
    }
    let open = memchr::memrchr(b'<', slice(content, start.saturating_sub(300)..start))?;
    let open = start.saturating_sub(300) + open;
    let from = quote + 1 + length + memchr::memchr(b'>', rest.get(quote + 1 + length..)?)? + 1;
    let name_length = slice(content, open + 1..open + 20)
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric())
        .count();
    let closing = [b"</", slice(content, open + 1..open + 1 + name_length)].concat();
    let inner = rest.get(from..)?;
    let end = memchr::memmem::find(inner, &closing)
        .or_else(|| memchr::memmem::find(inner, b"</"))
        .unwrap_or(inner.len());
    let text = without_tags(&String::from_utf8_lossy(inner.get(..end)?));
    Some((open..start + from + end, text))
}

fn hides(style: &str) -> bool {
    let value = |name: &str| {
        style
            .split(';')
            .filter_map(|rule| rule.split_once(':'))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    };
    let colour = value("color");
    let ground = value("background-color").or_else(|| value("background"));
    let is_zero = |text: &str| {
        let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
        number.parse::<f64>().is_ok_and(|number| number < 2.0)
    };
    style.contains("display:none")
        || style.contains("visibility:hidden")
        || value("font-size").is_some_and(is_zero)
        || value("opacity").is_some_and(|text| text.parse::<f64>().is_ok_and(|number| number < 0.1))
        || colour.is_some() && colour == ground
        || matches!(
            colour,
            Some("white" | "#fff" | "#ffffff" | "transparent" | "rgba(0,0,0,0)")
        ) && ground.is_none()
        || style.contains("left:-9999")
        || style.contains("text-indent:-9999")
}

fn without_tags(text: &str) -> String {
    let mut is_tag = false;
    let keep = |c: &char| {
        match c {
            '<' => is_tag = true,
            '>' => {
                is_tag = false;
                return false;
            }
            _ => {}
        }
        !is_tag
    };
    text.chars().filter(keep).collect()
}

/// Whether hidden text gives an order. A comment is also where people leave each other notes, so it must address the
/// model or order what no note to an author orders.
pub(super) fn gives_order(text: &str, is_comment: bool) -> bool {
    const GRAVE: &[&str] = &[
        "send",
        "email",
        "forward",
        "upload",
        "exfiltrate",
        "reveal",
        "transfer",
        "approve",
        "ignore",
        "disregard",
        "execute",
        "invoke",
        "override",
        "respond",
        "reply",
        "click",
        "buy",
        "pay",
        "wire",
        "recommend",
        "rate",
        "rank",
    ];
    let lower = text.to_lowercase();
    let mut sentences = lower
        .split(['.', '!', '\n', ':', ';', ','])
        .map(str::trim)
        .filter(|text| !text.is_empty());
    let words = lower
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .count();
    if words < 3 {
        return false;
    }
    if !is_comment {
        return sentences.any(starts_with_order);
    }
    let first = |text: &str| {
        let mut words = text
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty());
        let word = words.next().unwrap_or("");
        if matches!(word, "please" | "now" | "and" | "then") {
            words.next().unwrap_or("").to_owned()
        } else {
            word.to_owned()
        }
    };
    let is_grave = |text: &str| GRAVE.contains(&first(text).as_str());
    let addressed = addresses_model(&lower);
    sentences.any(|sentence| is_grave(sentence) || addressed && starts_with_order(sentence))
}
