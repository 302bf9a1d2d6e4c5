//! Typed access to the members of a submission body: every mistake names its field.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde_json::value::RawValue;
use serde_json::Value;

use super::limits::{DEPTH, WORD_BYTES};
use super::outcome::Refusal;

type Outcome<T> = Result<T, Refusal>;

/// The top level of a body; values stay raw until asked for.
pub(super) struct Fields<'a>(HashMap<Cow<'a, str>, &'a RawValue>);

impl<'a> Fields<'a> {
    /// Parse a body. Anything but one JSON object of bounded depth is `invalid_json`.
    pub(super) fn parse(body: &'a [u8]) -> Outcome<Self> {
        let text = std::str::from_utf8(body).map_err(|_| Refusal::json())?;
        if is_too_deep(body) {
            return Err(Refusal::json());
        }
        serde_json::from_str::<HashMap<Cow<'a, str>, &'a RawValue>>(text)
            .map(Fields)
            .map_err(|_| Refusal::json())
    }

    /// The raw value, `None` when absent or null.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        self.0
            .get(name)
            .map(|value| value.get())
            .filter(|text| *text != "null")
    }

    /// Text without control characters but tab and line ends; unlimited length.
    pub(super) fn prose(&self, name: &str) -> Outcome<String> {
        let text = self.text(name)?;
        if text.chars().any(is_forbidden_in_prose) {
            return Err(control(name));
        }
        Ok(text)
    }

    /// A word: trimmed, no control characters, bounded length. Empty when absent.
    pub(super) fn word(&self, name: &str, max_bytes: usize) -> Outcome<String> {
        let text = self.text(name)?;
        check_word(name, &text, max_bytes)?;
        let trimmed = text.trim();
        Ok(if trimmed.len() == text.len() {
            text
        } else {
            trimmed.to_owned()
        })
    }

    fn text(&self, name: &str) -> Outcome<String> {
        match self.raw(name) {
            None => Ok(String::new()),
            Some(raw) if raw.starts_with('"') => serde_json::from_str(raw).map_err(|_| Refusal::json()),
            Some(_) => Err(Refusal::invalid(name, format!("{name} must be a string"))),
        }
    }

    /// A whole number in `0..=max`, `default` when absent.
    pub(super) fn count(&self, name: &str, default: i64, max: i64) -> Outcome<i64> {
        let Some(raw) = self.raw(name) else {
            return Ok(default);
        };
        match raw.parse::<i64>() {
            Ok(number) if (0..=max).contains(&number) => Ok(number),
            _ => Err(Refusal::invalid(
                name,
                format!("{name} must be an integer between 0 and {max}"),
            )),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Outcome<bool> {
        match self.raw(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Refusal::invalid(name, format!("{name} must be true or false"))),
        }
    }

    /// A bounded list of words without blanks and duplicates, in order.
    pub(super) fn words(&self, name: &str, max: usize) -> Outcome<Vec<String>> {
        let Some(raw) = self.raw(name) else {
            return Ok(Vec::new());
        };
        let items: Vec<String> = serde_json::from_str(raw)
            .map_err(|_| Refusal::invalid(name, format!("{name} must be a list of strings")))?;
        if items.len() > max {
            return Err(Refusal::invalid(name, format!("too many {name} (at most {max})")));
        }
        let mut words: Vec<String> = Vec::with_capacity(items.len());
        for item in items {
            check_word(name, &item, WORD_BYTES)?;
            let word = item.trim();
            if !word.is_empty() && !words.iter().any(|known| known == word) {
                words.push(word.to_owned());
            }
        }
        Ok(words)
    }

    pub(super) fn map(&self, name: &str) -> Outcome<BTreeMap<String, String>> {
        match self.raw(name) {
            None => Ok(BTreeMap::new()),
            Some(raw) => serde_json::from_str(raw)
                .map_err(|_| Refusal::invalid(name, format!("{name} must be a map of strings"))),
        }
    }
}

/// Refuse control characters and over-long text.
pub(super) fn check_word(name: &str, text: &str, max_bytes: usize) -> Outcome<()> {
    if text.chars().any(char::is_control) {
        return Err(control(name));
    }
    if text.len() > max_bytes {
        return Err(Refusal::invalid(
            name,
            format!("{name} is too long (at most {max_bytes} bytes)"),
        ));
    }
    Ok(())
}

fn control(name: &str) -> Refusal {
    Refusal::invalid(name, format!("{name} must not contain control characters"))
}

fn is_forbidden_in_prose(character: char) -> bool {
    matches!(character, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\x7f')
}

/// Check the strings of a raw JSON value; returns whether one of them contains `needle`.
///
/// Without a backslash the raw text says it all; otherwise the value is parsed, which also finds broken escapes.
pub(super) fn inspect(name: &str, raw: &str, needle: &str) -> Outcome<bool> {
    if !raw.contains('\\') {
        return match raw.contains('\x7f') {
            true => Err(control(name)),
            false => Ok(raw.contains(needle)),
        };
    }
    let value: Value = serde_json::from_str(raw).map_err(|_| Refusal::json())?;
    let mut found = false;
    // Depth was bounded before parsing, so is this list.
    let mut open = vec![&value];
    while let Some(next) = open.pop() {
        match next {
            Value::String(text) => found |= check_prose(name, text, needle)?,
            Value::Array(items) => open.extend(items),
            Value::Object(map) => {
                for (key, item) in map {
                    found |= check_prose(name, key, needle)?;
                    open.push(item);
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

fn check_prose(name: &str, text: &str, needle: &str) -> Outcome<bool> {
    if text.chars().any(is_forbidden_in_prose) {
        return Err(control(name));
    }
    Ok(text.contains(needle))
}

fn is_too_deep(body: &[u8]) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in body {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// The raw items of `{"jobs": […]}`: at least one, at most `max`.
pub fn split(body: &[u8], max: usize) -> Outcome<Vec<&[u8]>> {
    let fields = Fields::parse(body)?;
    let items: Vec<&RawValue> = match fields.raw("jobs") {
        Some(raw) if raw.starts_with('[') => serde_json::from_str(raw).map_err(|_| Refusal::json())?,
        _ => Vec::new(),
    };
    if items.is_empty() || items.len() > max {
        return Err(Refusal::invalid(
            "jobs",
            format!("jobs must be a list of 1 to {max} submissions"),
        ));
    }
    Ok(items.into_iter().map(|item| item.get().as_bytes()).collect())
}
