//! Texts to measure with: clean, full of hits, made to hurt.

use std::path::Path;

use cordum_output::sample;

/// Below this a content is scanned by one thread.
const SIZE: usize = 1 << 20;

/// Text of the repository's files with this ending, up to `SIZE`.
fn repository(folder: &str, ending: &str) -> Vec<u8> {
    fn collect(path: &Path, ending: &str, out: &mut Vec<u8>) {
        let Ok(entries) = std::fs::read_dir(path) else {
            return;
        };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                collect(&path, ending, out);
            } else if path.extension().is_some_and(|found| found == ending) {
                out.extend(std::fs::read(&path).unwrap_or_default());
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut text = Vec::new();
    collect(&root.join(folder), ending, &mut text);
    filled(&text)
}

/// The text over and over, up to `SIZE`.
fn filled(text: &[u8]) -> Vec<u8> {
    text.iter().copied().cycle().take(SIZE).collect()
}

fn log_with_tokens() -> Vec<u8> {
    let templates = [
        "2031-04-02T08:00:00.123Z INFO worker-17 got token=ghp_<b62:30><crc> for job <uuid>\n",
        "2031-04-02T08:00:00.124Z WARN worker-17 key AKIA<A9:16> rejected by host-3.internal\n",
        "2031-04-02T08:00:00.125Z INFO mail to alice<d:4>@example.com, card 4111 1111 1111 1111\n",
        "2031-04-02T08:00:00.126Z INFO slack xoxb-<D:12>-<D:12>-<b62:24> posted\n",
    ];
    let lines = (0..4_000u64)
        .zip(templates.iter().cycle())
        .map(|(seed, template)| sample::expand(template, seed));
    filled(lines.collect::<String>().as_bytes())
}

/// What a tool that lists things answers: nothing in it is a secret.
fn records() -> Vec<u8> {
    let template = r#"{"id":"<uuid>","name":"order <D:5>","status":"shipped","weight_kg":<D:2>.5,"tags":["fragile","<a:8>"],
"note":"left at the door, signed by the neighbour","steps":[{"at":"2031-04-02T08:<D:2>:00Z","by":"van <D:3>"}]},
"#;
    let lines = (0..3_000u64).map(|seed| sample::expand(template, seed));
    filled(lines.collect::<String>().as_bytes())
}

/// Name and text.
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("prose", repository("docs", "md")),
        ("source", repository("python", "py")),
        ("json", records()),
        ("tokens", log_with_tokens()),
        ("digits", filled(b"4")),
        ("spaced_digits", filled(b"1 ")),
        ("jwt_heads", filled(b"eyJ")),
        ("jwt_dots", filled(b"eyJhbGciOiJIUzI1NiJ9.")),
        ("at_signs", filled(b"@")),
        ("addresses", filled(b"a@b.co ")),
        (
            "base64",
            filled(b"QWxsIHdvcmsgYW5kIG5vIHBsYXkgbWFrZXMgSmFjayBhIGR1bGwgYm95Lg"),
        ),
        ("escapes", filled(b"\\u0041%41&#65;")),
        ("assignments", filled(b"password=")),
    ]
}
