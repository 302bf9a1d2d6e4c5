//! Classes of bytes as bits: sixty-four bytes are one word.

use wide::{i8x16, CmpEq, CmpLt};

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

/// Sixty-four bytes, the last of them zeros where the text ends.
#[inline]
pub(crate) fn padded(chunk: &[u8]) -> [u8; 64] {
    if let Some(whole) = chunk.first_chunk() {
        return *whole;
    }
    let mut bytes = [0; 64];
    if let Some(head) = bytes.get_mut(..chunk.len()) {
        head.copy_from_slice(chunk);
    }
    bytes
}

/// Places of the ones in a word of bits.
#[inline]
pub(crate) fn ones(mut bits: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let place = bits.trailing_zeros();
        let is_one = bits != 0;
        bits &= bits.wrapping_sub(1);
        is_one.then_some(place)
    })
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
}
