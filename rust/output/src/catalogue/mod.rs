//! The detectors: one file per family, data only. Places of detectors in the catalogue are the ids of an engine.

mod baseline;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::definition::Definition;
use crate::mask::DetectorId;
use crate::{injection, prompt};

pub(crate) use baseline::{scan_baseline, Context};

const FAMILIES: &[&[Definition]] = &[baseline::CATALOGUE, injection::CATALOGUE, prompt::CATALOGUE];

/// Id of the first detector of `injection::CATALOGUE`; the others follow in its order.
pub(crate) const FIRST_CODE: u16 = baseline::CATALOGUE.len() as u16;
/// Id of the first detector of `prompt::CATALOGUE`.
pub(crate) const FIRST_PROMPT: u16 = FIRST_CODE + injection::CATALOGUE.len() as u16;

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

/// All built-in detectors, for references and quality reports.
pub fn definitions() -> &'static [&'static Definition] {
    &CATALOGUE
}

/// The built-in detector of this name.
pub(crate) fn id_of(name: &str) -> Option<DetectorId> {
    PLACES.get(name).copied()
}
