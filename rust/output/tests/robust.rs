//! Generated contents: the scan never panics, its spans lie in the content, a copy is free of what was found, JSON stays JSON
//! (output policy spec §16.8, robustness). `PROPTEST_CASES` sets how many; `make fuzz` runs many more.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::sync::LazyLock;

use base64::Engine as _;
use cordum_output::{definitions, redact, redact_values, sample, Engine, ScanOptions, ScanResult, MARKER};
use proptest::prelude::*;

/// Cases without `PROPTEST_CASES`: few, every build runs them.
const CASES: u32 = 48;

fn config() -> ProptestConfig {
    let wanted = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: wanted.and_then(|text| text.parse().ok()).unwrap_or(CASES),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Templates of everything that some detector knows, real or nearly so.
static TEMPLATES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let all = definitions()
        .iter()
        .flat_map(|one| one.hits.iter().chain(one.misses));
    all.copied().collect()
});

fn example() -> impl Strategy<Value = Vec<u8>> {
    (0..TEMPLATES.len(), any::<u64>()).prop_map(|(at, seed)| sample::expand(TEMPLATES[at], seed).into_bytes())
}

fn cut(text: Vec<u8>, from: usize, to: usize) -> Vec<u8> {
    let (from, to) = (from % (text.len() + 1), to % (text.len() + 1));
    text[from.min(to)..from.max(to)].to_vec()
}

/// One piece of a content: an example as it is, cut, encoded, or noise.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let encoded = (example(), 0..6u8).prop_map(|(text, how)| match how {
        0 => base64::engine::general_purpose::STANDARD
            .encode(&text)
            .into_bytes(),
        1 => base64::engine::general_purpose::URL_SAFE_NO_PAD
            .encode(&text)
            .into_bytes(),
        2 => text
            .iter()
            .flat_map(|byte| format!("%{byte:02x}").into_bytes())
            .collect(),
        3 => text
            .iter()
            .flat_map(|byte| format!("{byte:02x}").into_bytes())
            .collect(),
        4 => text
            .iter()
            .flat_map(|byte| format!("&#{byte};").into_bytes())
            .collect(),
        _ => serde_json::to_vec(&String::from_utf8_lossy(&text)).unwrap(),
    });
    let repeated =
        (prop::collection::vec(any::<u8>(), 1..4), 1..400usize).prop_map(|(unit, times)| unit.repeat(times));
    prop_oneof![
        4 => example(),
        2 => (example(), any::<usize>(), any::<usize>()).prop_map(|(text, from, to)| cut(text, from, to)),
        2 => encoded,
        2 => prop::collection::vec(any::<u8>(), 0..40),
        1 => repeated,
        2 => "[ -~]{0,40}".prop_map(String::into_bytes),
        1 => "\\PC{0,24}".prop_map(String::into_bytes),
        2 => "(\n|\t| |\"|'|=|: |,|\\{|\\}|<|>|token=|password: |%|\\\\u|&#|eyJ|-----BEGIN |://|@){1,6}"
            .prop_map(String::into_bytes),
    ]
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    let plain = prop::collection::vec(piece(), 0..12).prop_map(|pieces| pieces.concat());
    let wide = prop::collection::vec(example(), 0..3).prop_map(|pieces| {
        let text = String::from_utf8_lossy(&pieces.concat()).into_owned();
        let units = std::iter::once(0xfeff).chain(text.encode_utf16().collect::<Vec<_>>());
        units.flat_map(u16::to_le_bytes).collect()
    });
    prop_oneof![9 => plain, 1 => wide]
}

fn scan(content: &[u8]) -> ScanResult {
    let engine = Engine::builtin();
    engine.scan(content, &engine.default_mask(), &ScanOptions::default())
}

fn spans(result: &ScanResult) -> Vec<(usize, usize)> {
    result.hits.iter().map(|hit| (hit.offset, hit.length)).collect()
}

fn contains(content: &[u8], value: &[u8]) -> bool {
    content.windows(value.len()).any(|window| window == value)
}

/// Any JSON whose texts are like contents.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let text =
        piece().prop_map(|bytes| serde_json::Value::from(String::from_utf8_lossy(&bytes).into_owned()));
    let leaf = prop_oneof![
        6 => text,
        1 => any::<i64>().prop_map(serde_json::Value::from),
        1 => (4_000_000_000_000_000u64..5_000_000_000_000_000).prop_map(serde_json::Value::from),
        1 => Just(serde_json::Value::Null),
        1 => any::<bool>().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from);
        let map = prop::collection::btree_map("[a-z_]{1,12}", inner, 0..5)
            .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect()));
        prop_oneof![list, map]
    })
}

/// Whether two documents have the same lists, objects and kinds of leaves; a leaf may have become the masked text.
fn same_shape(one: &serde_json::Value, other: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (one, other) {
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| same_shape(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() >= right.len()
                && left
                    .iter()
                    .all(|(key, left)| right.get(key).is_none_or(|right| same_shape(left, right)))
        }
        (_, Value::String(text)) if text.contains(MARKER) => true,
        (left, right) => left == right,
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn spans_lie_in_the_content_and_are_the_same_again(content in content()) {
        let result = scan(&content);
        let engine = Engine::builtin();
        let mut before = 0;
        for hit in &result.hits {
            prop_assert!(hit.length > 0 && hit.end() <= content.len(), "{hit:?} of {}", content.len());
            prop_assert!(hit.offset >= before, "not in order");
            prop_assert!((0.0..=1.0).contains(&hit.confidence) && engine.detector(hit.detector).is_some());
            before = hit.offset;
        }
        prop_assert_eq!(&result, &scan(&content));
    }

    #[test]
    fn a_copy_is_free_of_what_was_found(content in content()) {
        let found = spans(&scan(&content));
        let Some(copy) = redact_values(&content, &found).filter(|_| !found.is_empty()) else { return Ok(()) };
        for (offset, length) in found {
            let value = &content[offset..offset + length];
            let is_told = value.len() < 4 || contains(MARKER.as_bytes(), value) || contains(value, b"[REDACTED]");
            prop_assert!(is_told || !contains(&copy, value), "{:?} stays", String::from_utf8_lossy(value));
        }
    }

    #[test]
    fn masked_json_is_json_of_the_same_shape(document in json()) {
        let text = serde_json::to_vec(&document).unwrap();
        let found = spans(&scan(&text));
        if found.is_empty() {
            return Ok(());
        }
        let copy = redact(&text, &found).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&copy).unwrap();
        prop_assert!(same_shape(&document, &read), "{} became {}", document, read);
    }

    #[test]
    fn any_span_may_be_masked(content in content(), raw in prop::collection::vec((any::<usize>(), any::<usize>()), 0..5)) {
        let near = |at: usize| if at % 5 == 0 { at } else { at % (content.len() + 3) };
        let spans: Vec<(usize, usize)> = raw.into_iter().map(|(offset, length)| (near(offset), near(length))).collect();
        let copy = redact(&content, &spans);
        if serde_json::from_slice::<serde_json::Value>(&content).is_ok() {
            prop_assert!(copy.is_none_or(|copy| serde_json::from_slice::<serde_json::Value>(&copy).is_ok()));
        } else {
            prop_assert!(copy.is_some_and(|copy| contains(&copy, b"R\0E") || contains(&copy, b"\0R") || contains(&copy, MARKER.as_bytes())));
        }
    }

    /// The limit on what is scanned cuts, and moves nothing.
    #[test]
    fn a_cut_content_has_spans_of_the_whole(content in content(), limit in 4096usize..8192, filler in 0usize..20_000) {
        let long = [content.as_slice(), " ".repeat(filler).as_bytes(), content.as_slice()].concat();
        let engine = Engine::builtin();
        let options = ScanOptions { max_bytes: Some(limit), ..ScanOptions::default() };
        let result = engine.scan(&long, &engine.default_mask(), &options);
        prop_assert!(result.hits.iter().all(|hit| hit.end() <= long.len()));
        prop_assert!(!result.is_truncated || long.len() > limit);
    }
}
