//! Keccak-256 as Ethereum uses it (the padding of the submission, not of SHA-3), for EIP-55 only.

const ROUNDS: [u64; 24] = [
    0x0000_0000_0000_0001,
    0x0000_0000_0000_8082,
    0x8000_0000_0000_808a,
    0x8000_0000_8000_8000,
    0x0000_0000_0000_808b,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8009,
    0x0000_0000_0000_008a,
    0x0000_0000_0000_0088,
    0x0000_0000_8000_8009,
    0x0000_0000_8000_000a,
    0x0000_0000_8000_808b,
    0x8000_0000_0000_008b,
    0x8000_0000_0000_8089,
    0x8000_0000_0000_8003,
    0x8000_0000_0000_8002,
    0x8000_0000_0000_0080,
    0x0000_0000_0000_800a,
    0x8000_0000_8000_000a,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8080,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8008,
];
const ROTATIONS: [u32; 24] = [
    1, 3, 6, 10, 15, 21, 28, 36, 45, 55, 2, 14, 27, 41, 56, 8, 25, 43, 62, 18, 39, 61, 20, 44,
];
const LANES: [usize; 24] = [
    10, 7, 11, 17, 18, 3, 5, 16, 8, 21, 24, 4, 15, 23, 19, 13, 12, 2, 20, 14, 22, 9, 6, 1,
];
const RATE: usize = 136;

#[expect(
    clippy::indexing_slicing,
    reason = "all indexes are taken modulo the size of the state"
)]
fn permute(state: &mut [u64; 25]) {
    for round in ROUNDS {
        let mut parity = [0u64; 5];
        for (lane, value) in state.iter().enumerate() {
            parity[lane % 5] ^= value;
        }
        for (lane, value) in state.iter_mut().enumerate() {
            *value ^= parity[(lane + 4) % 5] ^ parity[(lane + 1) % 5].rotate_left(1);
        }
        let mut carried = state[1];
        for (lane, rotation) in LANES.into_iter().zip(ROTATIONS) {
            let next = state[lane % 25];
            state[lane % 25] = carried.rotate_left(rotation);
            carried = next;
        }
        for row in 0..5 {
            let start = row * 5;
            let copy: [u64; 5] = std::array::from_fn(|column| state[(start + column) % 25]);
            for column in 0..5 {
                state[(start + column) % 25] =
                    copy[column % 5] ^ (!copy[(column + 1) % 5] & copy[(column + 2) % 5]);
            }
        }
        state[0] ^= round;
    }
}

/// Digest of a text shorter than one block; longer text is cut.
fn keccak_256(text: &[u8]) -> [u8; 32] {
    let mut block = [0u8; RATE];
    for (place, byte) in block.iter_mut().zip(text.iter().take(RATE - 1)) {
        *place = *byte;
    }
    if let Some(place) = block.get_mut(text.len().min(RATE - 1)) {
        *place |= 0x01;
    }
    if let Some(place) = block.last_mut() {
        *place |= 0x80;
    }
    let mut state = [0u64; 25];
    for (lane, bytes) in state.iter_mut().zip(block.chunks_exact(8)) {
        *lane = bytes
            .first_chunk::<8>()
            .map_or(0, |bytes| u64::from_le_bytes(*bytes));
    }
    permute(&mut state);
    let mut digest = [0u8; 32];
    for (bytes, lane) in digest.chunks_exact_mut(8).zip(state) {
        bytes.copy_from_slice(&lane.to_le_bytes());
    }
    digest
}

/// Whether `0x` and 40 digits have the letter case of EIP-55; all of one case is no proof.
pub(crate) fn is_checksummed(address: &[u8]) -> bool {
    let Some(body) = address.get(2..).filter(|body| body.len() == 40) else {
        return false;
    };
    let has = |test: fn(&u8) -> bool| body.iter().any(test);
    if !has(u8::is_ascii_uppercase) || !has(u8::is_ascii_lowercase) {
        return false;
    }
    let digest = keccak_256(&body.to_ascii_lowercase());
    body.iter().enumerate().all(|(place, byte)| {
        let pair = digest.get(place / 2).copied().unwrap_or(0);
        let nibble = if place % 2 == 0 { pair >> 4 } else { pair & 15 };
        byte.is_ascii_digit() || byte.is_ascii_uppercase() == (nibble >= 8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_and_case_follow_the_published_examples() {
        let hex: String = keccak_256(b"").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
        );
        assert!(is_checksummed(b"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"));
        assert!(!is_checksummed(b"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"));
        assert!(!is_checksummed(b"0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"));
    }
}
