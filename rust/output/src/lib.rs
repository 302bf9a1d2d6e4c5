//! Output policy engine: detectors, scanning and redaction. Filled by the output policy milestone.
