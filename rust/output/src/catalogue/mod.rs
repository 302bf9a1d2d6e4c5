//! The detectors: one file per family, data only. Places of detectors in the catalogue are the ids of an engine.

mod ai;
mod americas;
mod cloud;
mod europe;
mod forges;
mod generic;
mod messaging;
mod observability;
mod payments;
mod people;
mod saas;
mod structured;
mod world;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::definition::{Definition, Group};
use crate::mask::{DetectorId, Mask};
use crate::{injection, prompt};

const FAMILIES: &[&[Definition]] = &[
    cloud::CATALOGUE,
    forges::CATALOGUE,
    ai::CATALOGUE,
    messaging::CATALOGUE,
    payments::CATALOGUE,
    observability::CATALOGUE,
    saas::CATALOGUE,
    structured::CATALOGUE,
    generic::CATALOGUE,
    people::CATALOGUE,
    americas::CATALOGUE,
    europe::CATALOGUE,
    world::CATALOGUE,
    injection::CATALOGUE,
    prompt::CATALOGUE,
];

/// Id of the first detector of `injection::CATALOGUE`; the others follow in its order.
pub(crate) const FIRST_CODE: u16 = count_before_last(2);
/// Id of the first detector of `prompt::CATALOGUE`.
pub(crate) const FIRST_PROMPT: u16 = count_before_last(1);

#[expect(clippy::indexing_slicing, reason = "below the length, at compile time")]
const fn count_before_last(families: usize) -> u16 {
    let (mut count, mut place) = (0, 0);
    while place + families < FAMILIES.len() {
        count += FAMILIES[place].len();
        place += 1;
    }
    count as u16
}

/// Id of a detector that the code knows by name; a name that is none does not compile.
#[expect(clippy::indexing_slicing, clippy::panic, reason = "at compile time")]
pub(crate) const fn place_of(name: &str) -> DetectorId {
    let (mut count, mut family) = (0, 0);
    while family < FAMILIES.len() {
        let mut place = 0;
        while place < FAMILIES[family].len() {
            if is_equal(FAMILIES[family][place].id.as_bytes(), name.as_bytes()) {
                return DetectorId(count);
            }
            count += 1;
            place += 1;
        }
        family += 1;
    }
    panic!("no detector of this name")
}

#[expect(clippy::indexing_slicing, reason = "at compile time")]
const fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let mut place = 0;
    while place < one.len() && place < other.len() && one[place] == other[place] {
        place += 1;
    }
    place == one.len() && place == other.len()
}

/// Id of the detector with this name, found while compiling.
macro_rules! detector {
    ($name:literal) => {
        const { $crate::catalogue::place_of($name) }
    };
}
pub(crate) use detector;

/// Every built-in detector; the place is its id.
pub(crate) static CATALOGUE: LazyLock<Vec<&'static Definition>> =
    LazyLock::new(|| FAMILIES.iter().flat_map(|family| family.iter()).collect());

static PLACES: LazyLock<HashMap<&'static str, DetectorId>> = LazyLock::new(|| {
    let places = (0u16..).map(DetectorId);
    CATALOGUE
        .iter()
        .map(|definition| definition.id)
        .zip(places)
        .collect()
});

static PROMPTS: LazyLock<Mask> = LazyLock::new(|| {
    let ids = (0u16..).map(DetectorId).zip(CATALOGUE.iter());
    ids.filter(|(_, definition)| definition.group == Group::PromptInjection)
        .map(|(id, _)| id)
        .collect()
});

/// All built-in detectors, for references and quality reports.
pub fn definitions() -> &'static [&'static Definition] {
    &CATALOGUE
}

pub(crate) fn definition(id: DetectorId) -> Option<&'static Definition> {
    CATALOGUE.get(id.index()).copied()
}

/// The built-in detector of this name.
pub(crate) fn id_of(name: &str) -> Option<DetectorId> {
    PLACES.get(name).copied()
}

/// All prompt detectors.
pub(crate) fn prompt_mask() -> &'static Mask {
    &PROMPTS
}

pub(crate) fn is_prompt(id: DetectorId) -> bool {
    PROMPTS.contains(id)
}
