//! Time of one analysis, and of comparing with a policy in which every 100th rule differs. Run: `cargo run --release -p cordum-policy --example analyze [rules]`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a measurement")]

use std::fmt::Write as _;
use std::time::Instant;

use cordum_policy::analysis::{analyze, diff};
use cordum_policy::{Source, SourceKind};
use serde_json::Value as Json;

/// Rules over 200 teams: specific ones of several kinds, of which every 50th is covered by an earlier one.
fn document(rules: usize) -> String {
    let mut text = String::from("rules:\n");
    for i in 0..rules {
        let decision = ["allow", "deny", "require_approval"][i % 3];
        let team = i % 200;
        let matching = match i % 5 {
            _ if i % 50 == 49 && i >= 200 => format!(
                "topics: [\"job.team{team}.apply\"], capabilities: [cap{}], risk_tags: [money]",
                i - 200
            ),
            0 => format!(
                "topics: [\"job.team{team}.*\"], capabilities: [cap{i}], risk_tags: [tag{}, money]",
                i % 7
            ),
            1 => format!("topics: [\"job.team{team}.*\"], labels: {{env: prod, app: a{i}}}"),
            2 => format!(
                "topics: [\"job.team{team}.r[ab]*\"], label_threshold: {{amount: {i}}}, actor_ids: [u{i}]"
            ),
            3 => {
                format!("topics: [\"job.team{team}.*\"], requires: [git, r{i}], mcp: {{allow_tools: [t{i}]}}")
            }
            _ => format!(
                "topics: [\"job.*\"], capabilities: [cap{i}], tenants: [t{}]",
                i % 30
            ),
        };
        writeln!(
            text,
            "  - {{id: r{i}, decision: {decision}, match: {{{matching}}}}}"
        )
        .unwrap();
    }
    text
}

fn source(text: &str) -> Source<'_> {
    Source {
        kind: SourceKind::Base,
        content: text.as_bytes(),
    }
}

/// The policy with another decision in every 100th rule.
fn edited(text: &str) -> String {
    let line = |(at, line): (usize, &str)| match at % 100 {
        50 if line.contains("decision: deny") => line.replace("decision: deny", "decision: allow") + "\n",
        50 => line.replace("decision: allow", "decision: deny") + "\n",
        _ => format!("{line}\n"),
    };
    text.lines().enumerate().map(line).collect()
}

fn main() {
    let rules = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(1000);
    let text = document(rules);
    let before = Instant::now();
    let report: Json = serde_json::from_slice(&analyze(&[source(&text)]).unwrap()).unwrap();
    let took = before.elapsed();
    let count = |key: &str| report.get(key).and_then(Json::as_array).map_or(0, Vec::len);
    println!(
        "{rules} rules: {took:?}, {} findings, {} undecided",
        count("findings"),
        count("undecided")
    );
    for entry in report
        .get("undecided")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .take(3)
    {
        println!("{entry}");
    }
    let changed = edited(&text);
    let before = Instant::now();
    let report: Json = serde_json::from_slice(&diff(&[source(&text)], &[source(&changed)]).unwrap()).unwrap();
    let took = before.elapsed();
    let count = |key: &str| report.get(key).and_then(Json::as_array).map_or(0, Vec::len);
    println!(
        "compared: {took:?}, {} changes, {} undecided",
        count("changes"),
        count("undecided")
    );
}
