//! MB per second of processor time, which a busy machine does not change: `speed [text[/scanner]…]`.

#[path = "../benches/texts/mod.rs"]
mod texts;

use std::io::Write;

use cordum_output::{Engine, Mask, ScanOptions};

/// User time of this process in hundredths of a second.
fn user_ticks() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let field = fields.split_whitespace().nth(11).unwrap_or("0");
    field.parse().unwrap_or(0.0)
}

fn main() -> std::io::Result<()> {
    let engine = Engine::builtin();
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let mut masks: Vec<(&str, Mask)> = ["secret", "pii", "injection", "prompt_injection"]
        .into_iter()
        .map(|name| (name, engine.scanner(name).unwrap_or_default()))
        .collect();
    masks.push(("all", engine.default_mask()));
    let ticks = if wanted.is_empty() { 15.0 } else { 120.0 };
    let mut out = std::io::stdout().lock();
    for (text_name, text) in texts::all() {
        let is_wanted = |mask_name: &str| {
            let is_named = |one: &String| {
                let (text, mask) = one.split_once('/').unwrap_or((one, mask_name));
                text == text_name && mask == mask_name
            };
            wanted.is_empty() || wanted.iter().any(is_named)
        };
        if !masks.iter().any(|(mask_name, _)| is_wanted(mask_name)) {
            continue;
        }
        write!(out, "{text_name:14}")?;
        for (mask_name, mask) in masks.iter().filter(|(name, _)| is_wanted(name)) {
            engine.scan(&text, mask, &ScanOptions::default());
            let before = user_ticks();
            let (mut bytes, mut hits, mut is_over) = (0usize, 0usize, false);
            while user_ticks() - before < ticks {
                let result = engine.scan(&text, mask, &ScanOptions::default());
                hits = result.hits.len();
                is_over |= result.is_over_budget;
                bytes += text.len();
            }
            let seconds = (user_ticks() - before) / 100.0;
            let over = if is_over { " OVER" } else { "" };
            write!(
                out,
                "  {mask_name} {:.0} ({hits}{over})",
                bytes as f64 / 1e6 / seconds
            )?;
            out.flush()?;
        }
        writeln!(out)?;
    }
    Ok(())
}
