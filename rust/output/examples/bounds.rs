//! What a scan may cost at most (output policy spec §16.8): the first scan, a content of 2 MiB, a scanner file with many
//! patterns, and hurtful texts of one, two, four and eight lengths. Processor time, which a busy machine changes little.

#[path = "../benches/texts/mod.rs"]
mod texts;

use std::io::Write;
use std::time::Instant;

use cordum_output::{Engine, PatternEntry, ScanOptions, ScannerEntry, ScannerFile};

/// Length of the shortest of the hurtful texts.
const SHORTEST: usize = 128 << 10;
const PATTERNS: usize = 200;
/// Hundredths of a second that a figure is measured for.
const TICKS: f64 = 30.0;

/// User time of this process in hundredths of a second.
fn user_ticks() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let field = fields.split_whitespace().nth(11).unwrap_or("0");
    field.parse().unwrap_or(0.0)
}

/// Mean of the milliseconds of processor time that some work takes.
fn mean_ms(work: impl Fn()) -> f64 {
    work();
    let start = user_ticks();
    let mut rounds = 0.0;
    while user_ticks() - start < TICKS {
        work();
        rounds += 1.0;
    }
    (user_ticks() - start) * 10.0 / rounds
}

/// Patterns of one scanner, each with a literal of its own.
fn scanner_file() -> ScannerFile {
    let patterns = (0..PATTERNS).map(|number| PatternEntry {
        name: format!("internal_{number}"),
        ..PatternEntry::new(format!("(?:acme|corp)-{number:03}-[0-9A-Za-z]{{16,40}}"))
    });
    let scanner = ScannerEntry {
        patterns: patterns.collect(),
        ..ScannerEntry::default()
    };
    ScannerFile {
        scanners: [("internal".to_owned(), scanner)].into(),
    }
}

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let (engine, options) = (Engine::builtin(), ScanOptions::default());
    let mask = engine.default_mask();
    let start = Instant::now();
    engine.scan(b"a first text", &mask, &options);
    writeln!(out, "first scan: {:.1} ms", start.elapsed().as_secs_f64() * 1e3)?;
    let file = scanner_file();
    let is_compiled = Engine::with_scanner_file(&file).is_ok();
    let compile = mean_ms(|| drop(Engine::with_scanner_file(&file)));
    writeln!(
        out,
        "{PATTERNS} patterns: {compile:.1} ms (compiled: {is_compiled})"
    )?;
    for (name, text) in texts::all() {
        let scan = |length: usize| {
            let content: Vec<u8> = text.iter().copied().cycle().take(length).collect();
            mean_ms(|| drop(engine.scan(&content, &mask, &options)))
        };
        write!(out, "{name:14} 2 MiB: {:6.1} ms; ", scan(2 << 20))?;
        let times = [1, 2, 4, 8].map(|factor| scan(SHORTEST * factor));
        let first = times.first().copied().unwrap_or(0.0);
        write!(out, "128 KiB: {first:6.2} ms, times")?;
        for time in times.iter().skip(1) {
            write!(out, " {:.1}", time / first)?;
        }
        writeln!(out)?;
    }
    Ok(())
}
