use std::sync::Arc;

use crate::operator::{
    PatternEntry, ScannerEntry, ScannerFile, ScannerMode, Validator, MAX_PATTERNS, MAX_SLOW_PATTERNS,
};
use crate::{Engine, ScanOptions, Severity};

fn file(scanners: impl IntoIterator<Item = (&'static str, ScannerEntry)>) -> ScannerFile {
    let named = scanners.into_iter().map(|(name, entry)| (name.to_owned(), entry));
    ScannerFile {
        scanners: named.collect(),
    }
}

fn scanner(patterns: impl IntoIterator<Item = PatternEntry>) -> ScannerEntry {
    ScannerEntry {
        patterns: patterns.into_iter().collect(),
        ..ScannerEntry::default()
    }
}

fn pattern(name: &str, regex: &str) -> PatternEntry {
    PatternEntry {
        name: name.to_owned(),
        ..PatternEntry::new(regex)
    }
}

fn example() -> Arc<Engine> {
    let secret = scanner([
        PatternEntry {
            severity: Severity::Critical,
            confidence: 0.97,
            ..pattern("osprey_token", r"\bOSP-[A-Z0-9]{8}\b")
        },
        PatternEntry {
            capture: 1,
            confidence: 0.5,
            ..pattern("badge", "badge ([0-9]{6})")
        },
        PatternEntry {
            context_required: true,
            ..pattern("osprey_code", "[0-9]{4}")
        },
        PatternEntry {
            validator: Validator::Luhn,
            ..pattern("checked", "[0-9]{16}")
        },
        PatternEntry {
            entropy_min: 3.0,
            ..pattern("rare", "rare-([a-z0-9]+)")
        },
        PatternEntry {
            keywords: vec!["Kestrel".to_owned()],
            ..pattern("kestrel_code", "[0-9]{5}-[0-9]{5}")
        },
    ]);
    let codes = ScannerEntry {
        finding_type: Some("custom".to_owned()),
        ..scanner([PatternEntry::new("(?i)operation osprey")])
    };
    let pii = ScannerEntry {
        mode: ScannerMode::Replace,
        ..scanner([pattern("staff", "staff-[0-9]+")])
    };
    Engine::with_scanner_file(&file([("secret", secret), ("osprey_codes", codes), ("pii", pii)])).unwrap()
}

/// (id, type, scanner, severity, matched text) of what a scanner finds.
fn found(engine: &Engine, scanner: &str, text: &str) -> Vec<String> {
    let mask = engine.scanner(scanner).unwrap();
    let result = engine.scan(text.as_bytes(), &mask, &ScanOptions::default());
    assert!(!result.is_over_budget);
    let told = result.hits.iter().map(|hit| {
        let detector = engine.detector(hit.detector).unwrap();
        let value = &text[hit.offset..][..hit.length];
        let (id, kind, scanner) = (&detector.id, &detector.kind, &detector.scanner);
        format!("{id} {kind} {scanner} {} {value}", hit.severity.as_str())
    });
    told.collect()
}

#[test]
fn a_scanner_file_extends_and_replaces() {
    let engine = example();
    let key = format!("AKIA{}", "1234567890ABCDEF");
    let text = format!("OSP-ABCD1234 badge 123456 {key}");
    assert_eq!(
        found(&engine, " Secret_leak ", &text),
        [
            "osprey_token secret_leak secret critical OSP-ABCD1234".to_owned(),
            "badge secret_leak secret high 123456".to_owned(),
            format!("aws_access_key_id secret_leak secret_leak critical {key}"),
        ]
    );
    assert_eq!(
        found(&engine, "osprey_codes", "Operation OSPREY"),
        ["pattern match custom osprey_codes high Operation OSPREY"]
    );
    let people = "alice@example.com staff-12";
    assert_eq!(found(&engine, "pii", people), ["staff pii pii high staff-12"]);
    assert_eq!(found(&engine, "badge", "badge 123456 OSP-ABCD1234").len(), 1);
    assert!(engine.scanner("nothing").is_none());
    assert!(Engine::builtin().scanner("badge").is_none());
    let all = engine.scan(text.as_bytes(), &engine.default_mask(), &ScanOptions::default());
    assert_eq!(all.hits.len(), 3);
    assert_eq!(
        engine.scanner_names().collect::<Vec<_>>(),
        ["osprey_codes", "pii", "secret"]
    );
}

#[test]
fn what_a_pattern_asks_for_must_hold() {
    let engine = example();
    let ids = |text: &str| -> Vec<String> {
        let told = found(&engine, "secret", text).into_iter();
        told.filter_map(|one| one.split(' ').next().map(str::to_owned))
            .collect()
    };
    assert_eq!(ids("osprey 4711"), ["osprey_code"]);
    assert_eq!(ids("kestrel 4711"), [""; 0]);
    assert_eq!(ids("4111111111111111"), ["checked"]);
    assert_eq!(ids("4111111111111112"), [""; 0]);
    assert_eq!(ids("rare-k3v9x1q8"), ["rare"]);
    assert_eq!(ids("rare-aaaaaaaa"), [""; 0]);
    assert_eq!(ids("KESTREL 12345-12345"), ["kestrel_code"]);
    assert_eq!(ids("falcon 12345-12345"), [""; 0]);
}

#[test]
fn values_are_found_wherever_they_stand() {
    use base64::Engine as _;
    let engine = example();
    let scan = |content: &[u8]| {
        let mask = engine.scanner("osprey_token").unwrap();
        let hits = engine.scan(content, &mask, &ScanOptions::default()).hits;
        hits.into_iter()
            .map(|hit| (hit.offset, hit.length))
            .collect::<Vec<_>>()
    };
    for before in [
        255 * 1024,
        256 * 1024 - 6,
        256 * 1024,
        (1 << 20) - 3,
        (1 << 20) + 70_000,
    ] {
        let text = format!("{} OSP-ABCD1234 x", "-".repeat(before));
        assert_eq!(scan(text.as_bytes()), [(before + 1, 12)], "{before}");
    }
    let wide: Vec<u8> = "\u{feff}a OSP-ABCD1234"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(scan(&wide), [(6, 24)]);
    assert_eq!(scan(b"\xfd\x80\xff OSP-ABCD1234").len(), 1);
    let hidden = base64::engine::general_purpose::STANDARD.encode("the token is OSP-ABCD1234 here");
    assert_eq!(scan(hidden.as_bytes()), [(0, hidden.len())]);
}

/// Patterns that need more than literals, on a text that makes each of them work.
#[test]
fn many_slow_patterns_stay_within_the_budget() {
    let slow = (0..MAX_SLOW_PATTERNS)
        .map(|place| pattern(&format!("slow_{place}"), &format!("[a-y]+[0-9]{{{}}}", place + 2)));
    let engine = Engine::with_scanner_file(&file([("slow", scanner(slow))])).unwrap();
    assert_eq!(engine.slow_detectors().count(), MAX_SLOW_PATTERNS);
    let text = "zzzz zzzz\n".repeat(20_000);
    let mask = engine.scanner("slow").unwrap();
    let result = engine.scan(text.as_bytes(), &mask, &ScanOptions::default());
    assert!(!result.is_over_budget && result.hits.is_empty());
}

#[test]
fn every_fault_of_a_file_names_its_place() {
    let faults = |entry: ScannerEntry| -> Vec<String> {
        let refused = Engine::with_scanner_file(&file([("x", entry)])).unwrap_err();
        refused.iter().map(ToString::to_string).collect()
    };
    let two = scanner([
        PatternEntry::new("a*"),
        PatternEntry::new("fine"),
        PatternEntry {
            capture: 3,
            ..PatternEntry::new("(a)b")
        },
        PatternEntry::new(r"(a)\1"),
    ]);
    assert_eq!(
        faults(two),
        [
            "scanners.x.patterns[0].regex: invalid pattern: matches the empty string",
            "scanners.x.patterns[2].capture: expected a group of the pattern, which has 1, got 3",
            "scanners.x.patterns[3].regex: invalid pattern: backreferences are not supported",
        ]
    );
    let many = (0..=MAX_SLOW_PATTERNS).map(|_| PatternEntry::new("[0-9]{9}"));
    assert!(faults(scanner(many))[0].contains("without a literal"));
    let more = (0..=MAX_PATTERNS).map(|_| PatternEntry::new("literal"));
    assert!(faults(scanner(more))[0].starts_with("scanners: expected at most 256 scanners"));
}
