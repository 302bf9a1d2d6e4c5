use super::*;
use crate::phrases;
use crate::sample::{expand, wrapped};

fn names(text: &str) -> Vec<&'static str> {
    let content = text.as_bytes();
    let found = drafts(content, &phrases::find(content));
    found
        .iter()
        .filter(|draft| draft.confidence >= 0.5)
        .map(|draft| draft.detector)
        .collect()
}

#[test]
fn examples_are_found_in_every_wrapping_and_by_their_detector() {
    let mut missed = Vec::new();
    for definition in CATALOGUE {
        for (template, seed) in definition.hits.iter().zip(0..) {
            for text in wrapped(&expand(template, seed)) {
                let names = names(&text);
                let others =
                    definition.id == "template_injection" && names.iter().any(|name| *name != definition.id);
                if !names.contains(&definition.id) || others {
                    missed.push(format!("{} in {text:?}: {names:?}", definition.id));
                }
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn near_misses_are_left_alone() {
    let mut wrong = Vec::new();
    for definition in CATALOGUE {
        for text in definition.misses.iter().flat_map(|miss| wrapped(miss)) {
            if names(&text).contains(&definition.id) {
                wrong.push(format!("{} in {text:?}", definition.id));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn debug() {
    if let Ok(text) = std::env::var("TEXT") {
        let text = text.replace("\\n", "\n");
        let content = text.as_bytes();
        let sightings = phrases::find(content);
        eprintln!("{sightings:?}");
        for draft in drafts(content, &sightings) {
            eprintln!(
                "{draft:?} {:?}",
                String::from_utf8_lossy(&content[draft.span.clone()])
            );
        }
    }
}
