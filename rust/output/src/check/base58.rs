//! Base58Check as Bitcoin uses it.

use sha2::{Digest, Sha256};

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// No checked value is longer.
const MAX_BYTES: usize = 112;

/// The payload (version byte first) when the last four bytes are the checksum of it.
pub(crate) fn decode_check(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() > MAX_BYTES {
        return None;
    }
    // Base-256 digits, least significant first.
    let mut bytes: Vec<u8> = Vec::with_capacity(text.len());
    for symbol in text {
        let digit = ALPHABET.iter().position(|other| other == symbol)?;
        let mut carry = u32::try_from(digit).ok()?;
        for byte in &mut bytes {
            carry += u32::from(*byte) * 58;
            *byte = (carry & 0xff) as u8;
            carry >>= 8;
        }
        while carry > 0 {
            bytes.push((carry & 0xff) as u8);
            carry >>= 8;
        }
    }
    let zeros = text.iter().take_while(|symbol| **symbol == b'1').count();
    bytes.resize(bytes.len().saturating_add(zeros), 0);
    bytes.reverse();
    let split = bytes.len().checked_sub(4)?;
    let (payload, check) = bytes.split_at(split);
    let hash = Sha256::digest(Sha256::digest(payload));
    (hash.get(..4)? == check).then(|| payload.to_vec())
}

/// The text of a payload with its checksum, for examples.
pub(crate) fn encode_check(payload: &[u8]) -> String {
    let hash = Sha256::digest(Sha256::digest(payload));
    let full: Vec<u8> = payload.iter().chain(hash.iter().take(4)).copied().collect();
    let mut digits: Vec<u8> = Vec::new();
    for byte in &full {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += u32::from(*digit) << 8;
            *digit = (carry % 58) as u8;
            carry /= 58;
        }
        while carry > 0 {
            digits.push((carry % 58) as u8);
            carry /= 58;
        }
    }
    let zeros = full.iter().take_while(|byte| **byte == 0).count();
    let ones = std::iter::repeat_n(b'1', zeros);
    let symbols = digits
        .iter()
        .rev()
        .filter_map(|digit| ALPHABET.get(usize::from(*digit)).copied());
    ones.chain(symbols).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::{decode_check, encode_check};

    #[test]
    fn checksums_are_verified() {
        let text = encode_check(&[0x80, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(
            decode_check(text.as_bytes()).unwrap(),
            [0x80, 1, 2, 3, 4, 5, 6, 7, 8, 9]
        );
        assert!(decode_check(b"1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa").is_some());
        assert!(decode_check(b"1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb").is_none());
    }
}
