//! Proofs behind the formats: check digits, checksums, structure.

pub(crate) mod base58;
pub(crate) mod bech32;
pub(crate) mod digits;
pub(crate) mod encoded;
pub(crate) mod iban;
pub(crate) mod keccak;
pub(crate) mod national;
pub(crate) mod personal;
pub(crate) mod shape;
pub(crate) mod token;
