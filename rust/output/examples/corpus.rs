//! What the detectors report in folders: `corpus [--show detector] FOLDER…` prints findings per detector and MB/s.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cordum_output::{Engine, Mask, ScanOptions};

const MAX_FILE: u64 = 32 << 20;

fn files(path: &Path, found: &mut Vec<PathBuf>) {
    let Ok(kind) = std::fs::symlink_metadata(path) else {
        return;
    };
    if kind.is_file() && kind.len() <= MAX_FILE {
        found.push(path.to_owned());
    } else if kind.is_dir() && path.file_name().is_none_or(|name| name != ".git") {
        let Ok(entries) = std::fs::read_dir(path) else {
            return;
        };
        let mut inside: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        inside.sort();
        inside.iter().for_each(|entry| files(entry, found));
    }
}

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    let mut show = String::new();
    let mut scanners: Vec<String> = Vec::new();
    while let Some(option) = arguments.next_if(|argument| argument.starts_with("--")) {
        let value = arguments.next().unwrap_or_default();
        match option.as_str() {
            "--show" => show = value,
            _ => scanners.push(value),
        }
    }
    let engine = Engine::builtin();
    let mut mask = Mask::new();
    for name in &scanners {
        mask.union_with(&engine.scanner(name).unwrap_or_default());
    }
    if scanners.is_empty() {
        mask = engine.default_mask();
    }
    let mut paths = Vec::new();
    arguments.for_each(|argument| files(Path::new(&argument), &mut paths));
    let (mut bytes, mut spent) = (0usize, Duration::ZERO);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut out = std::io::stdout().lock();
    for path in &paths {
        let Ok(content) = std::fs::read(path) else {
            continue;
        };
        if content.iter().take(1024).any(|byte| *byte == 0) {
            continue;
        }
        let before = Instant::now();
        let result = engine.scan(&content, &mask, &ScanOptions::default());
        spent += before.elapsed();
        bytes += content.len();
        if result.is_over_budget {
            writeln!(out, "over budget: {}", path.display())?;
        }
        for hit in &result.hits {
            let Some(detector) = engine.detector(hit.detector) else {
                continue;
            };
            *counts.entry(detector.id.to_string()).or_default() += 1;
            if show == "all" || show == detector.id {
                let from = hit.offset.saturating_sub(40);
                let to = (hit.end() + 20).min(content.len());
                let text = String::from_utf8_lossy(content.get(from..to).unwrap_or_default()).into_owned();
                writeln!(
                    out,
                    "{} {}: {:?}",
                    detector.id,
                    path.display(),
                    text.chars().take(220).collect::<String>()
                )?;
            }
        }
    }
    for (detector, count) in &counts {
        writeln!(out, "{count:6} {detector}")?;
    }
    let megabytes = bytes as f64 / 1e6;
    writeln!(
        out,
        "{megabytes:.1} MB in {} files, {:.0} MB/s",
        paths.len(),
        megabytes / spent.as_secs_f64()
    )
}
