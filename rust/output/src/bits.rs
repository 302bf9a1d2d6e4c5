//! Classes of bytes as bits: sixty-four bytes are one word.

use wide::{i8x16, CmpEq, CmpLt};

/// A bit for each letter and digit of a text of ASCII, sixty-four in a word.
pub(crate) fn letters_of(text: &[u8]) -> Vec<u64> {
    let chunks = text.chunks_exact(64);
    let rest = chunks.remainder();
    let mut bits: Vec<u64> = Vec::with_capacity(text.len() / 64 + 1);
    bits.extend(chunks.filter_map(|chunk| chunk.first_chunk().map(letter_bits)));
    if !rest.is_empty() {
        let mut last = [0u8; 64];
        last.iter_mut().zip(rest).for_each(|(slot, byte)| *slot = *byte);
        bits.push(letter_bits(&last));
    }
    bits
}

fn letter_bits(chunk: &[u8; 64]) -> u64 {
    bits_where(chunk, |bytes| {
        within(bytes | i8x16::splat(0x20), b'a', 26) | within(bytes, b'0', 10)
    })
}

/// First place from `at` on whose bit is not set.
#[inline]
pub(crate) fn end_of_ones(bits: &[u64], at: usize) -> usize {
    let mut place = at;
    while let Some(word) = bits.get(place / 64) {
        let left = 64 - place % 64;
        let ones = (word >> (place % 64)).trailing_ones() as usize;
        place += ones.min(left);
        if ones < left {
            break;
        }
    }
    place
}

/// A bit for each byte the test holds for; it is asked about sixteen bytes at a time.
#[inline(always)]
pub(crate) fn bits_where(chunk: &[u8; 64], test: impl Fn(i8x16) -> i8x16) -> u64 {
    let mut bits = 0;
    for (sixteen, place) in chunk.chunks_exact(16).zip((0..).step_by(16)) {
        let Some(sixteen) = sixteen.first_chunk::<16>() else {
            break;
        };
        let bytes = i8x16::new(sixteen.map(|byte| byte as i8));
        bits |= u64::from(test(bytes).move_mask() as u16) << place;
    }
    bits
}

/// Whether each byte is one of `count` from `first` on.
#[inline(always)]
pub(crate) fn within(bytes: i8x16, first: u8, count: u8) -> i8x16 {
    // Moved so that the first is the least of all numbers with a sign.
    let moved = bytes + i8x16::splat(0x80_u8.wrapping_sub(first) as i8);
    moved.cmp_lt(i8x16::splat(count.wrapping_add(0x80) as i8))
}

#[inline(always)]
pub(crate) fn equal(bytes: i8x16, byte: u8) -> i8x16 {
    bytes.cmp_eq(i8x16::splat(byte as i8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_hold_for_the_bytes_they_name() {
        for first in 0..=u8::MAX {
            for count in [1, 2, 10, 26, 127, 128, 200, 255] {
                for base in [0u8, 64, 128, 192] {
                    let chunk: [u8; 64] = std::array::from_fn(|place| base + place as u8);
                    let found = bits_where(&chunk, |bytes| within(bytes, first, count));
                    let ones = bits_where(&chunk, |bytes| equal(bytes, first));
                    for (place, byte) in chunk.iter().enumerate() {
                        assert_eq!(found >> place & 1 == 1, byte.wrapping_sub(first) < count);
                        assert_eq!(ones >> place & 1 == 1, *byte == first);
                    }
                }
            }
        }
    }

    #[test]
    fn bits_are_those_of_the_bytes() {
        for length in [0, 1, 63, 64, 65, 200] {
            let text: Vec<u8> = (0..length).map(|place| (place * 37 % 128) as u8).collect();
            let bits = letters_of(&text);
            for (place, byte) in text.iter().enumerate() {
                let is_set = bits[place / 64] >> (place % 64) & 1 == 1;
                assert_eq!(is_set, byte.is_ascii_alphanumeric(), "{byte}");
                let rest = text[place..]
                    .iter()
                    .take_while(|byte| byte.is_ascii_alphanumeric());
                assert_eq!(end_of_ones(&bits, place), place + rest.count());
            }
            assert_eq!(end_of_ones(&bits, 640), 640);
        }
    }
}
