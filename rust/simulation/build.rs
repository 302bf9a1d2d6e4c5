//! For the mutation check: copies the planner's sources into a module of this crate and puts every wrong edit of
//! `planner_edits.rs` in, each behind a switch. Does nothing without the feature `mutants`; the planner itself knows nothing of it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a build script: what should not happen ends the build"
)]

use std::fmt::Write;
use std::path::{Path, PathBuf};

#[allow(dead_code, reason = "the rest of the list is for the check itself")]
mod list {
    include!("src/planner_edits.rs");
}

use list::{Edit, Kind, EDITS};

fn main() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dispatch/src");
    println!("cargo::rerun-if-changed=src/planner_edits.rs");
    if std::env::var_os("CARGO_FEATURE_MUTANTS").is_none() {
        return;
    }
    println!("cargo::rerun-if-changed={}", sources.display());
    let out = PathBuf::from(std::env::var("OUT_DIR").unwrap());
    let mut modules = String::new();
    let mut stale = Vec::new();
    for entry in std::fs::read_dir(&sources).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        if name == "lib" {
            for line in text.lines().filter(|line| line.contains("mod ")) {
                let module = line.trim_end_matches(';').rsplit(' ').next().unwrap_or_default();
                let file = out.join(format!("{module}.rs")).display().to_string();
                writeln!(modules, "#[path = {file:?}]\n{line}").unwrap();
            }
        } else {
            let text = switched(&name, text, &mut stale).replace("crate::", "crate::planner::");
            std::fs::write(out.join(format!("{name}.rs")), text).unwrap();
        }
    }
    writeln!(
        modules,
        "/// Edits whose text is gone.\npub const STALE: &[&str] = &{stale:?};"
    )
    .unwrap();
    std::fs::write(out.join("planner.rs"), modules).unwrap();
}

/// The text of a module with its edits behind switches. An edit whose text is not there exactly once is stale.
fn switched(module: &str, mut text: String, stale: &mut Vec<&'static str>) -> String {
    for (number, edit) in EDITS.iter().enumerate().filter(|(_, edit)| edit.file == module) {
        match place(&text, edit.find) {
            Some((start, end)) => {
                let found = text[start..end].to_owned();
                text.replace_range(start..end, &switch(number, edit, &found));
            }
            None => stale.push(edit.name),
        }
    }
    text
}

fn switch(number: usize, edit: &Edit, found: &str) -> String {
    let wrong = edit.replace;
    match edit.kind {
        Kind::Value => format!("(if crate::is_on({number}) {{ {wrong} }} else {{ {found} }})"),
        Kind::Statement => format!("if crate::is_on({number}) {{ {wrong} }} else {{ {found} }}"),
        Kind::Arm => {
            let (pattern, body) = found.split_once("=>").unwrap();
            let body = body.trim().trim_end_matches(',');
            format!("{pattern}=> if crate::is_on({number}) {{ {wrong} }} else {{ {body} }},")
        }
    }
}

/// Where the only occurrence is; white space does not count, so that formatting moves nothing.
fn place(text: &str, find: &str) -> Option<(usize, usize)> {
    let needle: Vec<char> = find.chars().filter(|c| !c.is_whitespace()).collect();
    let hay: Vec<(usize, char)> = text.char_indices().filter(|(_, c)| !c.is_whitespace()).collect();
    let mut places = hay
        .windows(needle.len())
        .filter(|window| window.iter().map(|(_, c)| c).eq(needle.iter()));
    let (first, again) = (places.next()?, places.next());
    let (start, end) = (first.first()?.0, first.last()?);
    again.is_none().then_some((start, end.0 + end.1.len_utf8()))
}
