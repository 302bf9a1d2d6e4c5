//! Operator patterns against the plain engine, and against anything an operator may write (output policy spec §5.5).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use cordum_output::{Engine, Pattern, PatternEntry, ScanOptions, ScannerEntry, ScannerFile, Validator};
use proptest::prelude::*;

const CASES: u32 = 96;

fn config() -> ProptestConfig {
    let wanted = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: wanted.and_then(|text| text.parse().ok()).unwrap_or(CASES),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Expressions that both engines read alike.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[a-c]".prop_map(String::from),
        Just("[a-b]".to_owned()),
        Just("[^a]".to_owned()),
        Just(r"(?-u:\b)".to_owned()),
        Just("ab".to_owned()),
        Just(".".to_owned()),
        Just("^".to_owned()),
        Just("$".to_owned()),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| format!("(?:{})", parts.join("|"))),
            (inner, "[*+?]|\\{1,3\\}|\\*\\?|\\+\\?").prop_map(|(one, times)| format!("(?:{one}){times}")),
        ]
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn matches_are_those_of_the_plain_engine(
        expression in expression(), text in "[abc\n ]{0,60}", times in 1usize..60
    ) {
        let Ok(pattern) = Pattern::new(&expression) else { return Ok(()) };
        let plain = regex::bytes::Regex::new(&expression).unwrap();
        let content = text.repeat(times);
        let expected: Vec<_> = plain.find_iter(content.as_bytes()).map(|found| found.range()).collect();
        prop_assert_eq!(pattern.matches(content.as_bytes()).unwrap(), expected, "{}", expression);
    }

    #[test]
    fn whatever_is_written_is_a_pattern_or_an_error(source in "\\PC{0,40}|([\\[\\](){}|*+?^$\\\\.QEdwsbx0-9,a:=!<>P-]){0,24}") {
        if let Ok(pattern) = Pattern::new(&source) {
            let content = format!("{source} aQE0:{source}\n\u{e9}\u{0}");
            for found in pattern.matches(content.as_bytes()).unwrap_or_default() {
                prop_assert!(found.start < found.end && found.end <= content.len());
            }
        }
    }

    /// Every check of an entry on any content.
    #[test]
    fn operator_detectors_stay_inside(
        validator in 0..Validator::ALL.len(), capture in 0..2usize, needs_context in any::<bool>(),
        entropy in 0.0f32..5.0, content in prop::collection::vec(any::<u8>(), 0..400), text in "[ 0-9A-Za-z._-]{0,400}"
    ) {
        let entry = PatternEntry {
            name: "some_word".to_owned(),
            validator: Validator::ALL[validator],
            capture,
            entropy_min: entropy,
            context_required: needs_context,
            ..PatternEntry::new("([0-9A-Za-z._-]{2,})")
        };
        let scanner = ScannerEntry { patterns: vec![entry], ..ScannerEntry::default() };
        let file = ScannerFile { scanners: [("mine".to_owned(), scanner)].into() };
        let engine = Engine::with_scanner_file(&file).unwrap();
        for content in [content.as_slice(), text.as_bytes()] {
            let result = engine.scan(content, &engine.scanner("mine").unwrap(), &ScanOptions::default());
            prop_assert!(result.hits.iter().all(|hit| hit.length > 0 && hit.end() <= content.len()));
        }
    }
}
