//! The scan: triggers, confirmation, overlap, decoding (output policy spec §16.7).

mod address;
mod assign;
mod authorization;
pub(crate) mod block;
mod columns;
mod confirm;
pub(crate) mod context;
mod decode;
mod document;
mod literals;
mod manifest;
mod numbers;
mod overlap;
mod pem;
mod probe;
mod rows;
mod scanner;
mod secrecy;
pub(crate) mod sweep;
mod tables;
mod url;
mod utf16;
mod wrapped;

pub(crate) use scanner::scan;
