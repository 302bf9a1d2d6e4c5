//! Structure behind encodings: base64 of `x:y`, JSON web tokens.

use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::Engine as _;

const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const PLAIN: GeneralPurpose = GeneralPurpose::new(&STANDARD, CONFIG);
const URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, CONFIG);

/// Bytes of base64 text in either alphabet, padded or not.
pub(crate) fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let is_url = text.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let engine = if is_url { &URL } else { &PLAIN };
    engine.decode(text).ok()
}

/// Decodes to a user and a password, both printable.
pub(crate) fn is_user_and_password(text: &[u8]) -> bool {
    decode_base64(text).is_some_and(|plain| {
        let colon = plain.iter().position(|byte| *byte == b':');
        let is_text = std::str::from_utf8(&plain).is_ok_and(|text| !text.chars().any(char::is_control));
        is_text && colon.is_some_and(|at| at.saturating_add(1) < plain.len())
    })
}

/// Header is a JSON object with `alg`, payload is a JSON object.
pub(crate) fn is_jwt(header: &[u8], payload: &[u8]) -> bool {
    let object = |part: &[u8]| {
        let plain = decode_base64(part)?;
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&plain).ok()
    };
    object(header).is_some_and(|header| header.contains_key("alg")) && object(payload).is_some()
}
