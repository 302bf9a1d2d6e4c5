//! Bech32 and Bech32m (BIP 173, BIP 350).

const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// Whether the text is a human-readable part, `1` and data with a valid checksum, all of one case.
pub(crate) fn is_bech32(text: &[u8]) -> bool {
    let has_upper = text.iter().any(u8::is_ascii_uppercase);
    let has_lower = text.iter().any(u8::is_ascii_lowercase);
    let lower = text.to_ascii_lowercase();
    let Some(split) = lower.iter().rposition(|byte| *byte == b'1') else {
        return false;
    };
    let (prefix, data) = lower.split_at(split);
    let data = data.get(1..).unwrap_or_default();
    if has_upper && has_lower || prefix.is_empty() || data.len() < 6 {
        return false;
    }
    let mut state = Polymod(1);
    prefix.iter().for_each(|byte| state.push(u32::from(byte >> 5)));
    state.push(0);
    prefix.iter().for_each(|byte| state.push(u32::from(byte & 31)));
    for byte in data {
        let Some(value) = ALPHABET.iter().position(|symbol| symbol == byte) else {
            return false;
        };
        state.push(u32::try_from(value).unwrap_or(0));
    }
    matches!(state.0, 1 | 0x2bc8_30a3)
}

struct Polymod(u32);

impl Polymod {
    fn push(&mut self, value: u32) {
        const GENERATORS: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
        let top = self.0 >> 25;
        self.0 = (self.0 & 0x01ff_ffff) << 5 ^ value;
        for (bit, generator) in GENERATORS.iter().enumerate() {
            if top >> bit & 1 == 1 {
                self.0 ^= generator;
            }
        }
    }
}

/// The text with its checksum, for examples.
pub(crate) fn with_checksum(prefix: &str, data: &str) -> String {
    let mut state = Polymod(1);
    prefix.bytes().for_each(|byte| state.push(u32::from(byte >> 5)));
    state.push(0);
    prefix.bytes().for_each(|byte| state.push(u32::from(byte & 31)));
    let values = data
        .bytes()
        .filter_map(|byte| ALPHABET.iter().position(|symbol| *symbol == byte));
    values.for_each(|value| state.push(u32::try_from(value).unwrap_or(0)));
    (0..6).for_each(|_| state.push(0));
    let check = state.0 ^ 1;
    let symbols = (0..6u32).filter_map(|place| ALPHABET.get((check >> (5 * (5 - place)) & 31) as usize));
    format!(
        "{prefix}1{data}{}",
        symbols.map(|byte| char::from(*byte)).collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::{is_bech32, with_checksum};

    #[test]
    fn checksums_are_verified() {
        assert!(is_bech32(b"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"));
        assert!(!is_bech32(b"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5"));
        assert!(is_bech32(
            with_checksum("age-secret-key-", "qpzry9x8gf2tvdw0").as_bytes()
        ));
    }
}
