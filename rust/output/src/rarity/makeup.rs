//! What kinds of characters a value is made of, told in one pass over it.

/// Kinds of bytes; most bytes are of several.
pub(crate) const LOWER: u16 = 1;
pub(crate) const UPPER: u16 = 1 << 1;
pub(crate) const DIGIT: u16 = 1 << 2;
/// No letter and no digit of ASCII.
pub(crate) const OTHER: u16 = 1 << 3;
pub(crate) const LETTER: u16 = 1 << 4;
pub(crate) const HEX: u16 = 1 << 5;
/// Either alphabet of base64, and its padding.
pub(crate) const BASE64: u16 = 1 << 6;
/// Capitals, digits and `_`: names of constants.
pub(crate) const CONSTANT: u16 = 1 << 7;
/// Letters, digits, `.`, `_` and `-`: dotted names.
pub(crate) const DOTTED: u16 = 1 << 8;
/// Numbers, dates and versions.
pub(crate) const NUMBER: u16 = 1 << 9;
/// Blanks and control characters.
pub(crate) const BLANK: u16 = 1 << 10;
pub(crate) const BEYOND_ASCII: u16 = 1 << 11;
/// Brackets and `:`.
pub(crate) const MARK: u16 = 1 << 12;

static KINDS: [u16; 256] = kinds();

const fn kinds() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0u8;
    loop {
        #[expect(clippy::indexing_slicing, reason = "a byte, at compile time")]
        {
            table[byte as usize] = kinds_of(byte);
        }
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}

const fn kinds_of(byte: u8) -> u16 {
    let letter_or_digit = match byte {
        b'a'..=b'z' => LOWER | LETTER | BASE64 | DOTTED,
        b'A'..=b'Z' => UPPER | LETTER | BASE64 | DOTTED | CONSTANT,
        b'0'..=b'9' => DIGIT | BASE64 | DOTTED | CONSTANT | NUMBER | HEX,
        _ => OTHER,
    };
    let more = match byte {
        b'T' | b'Z' => NUMBER,
        b'a'..=b'f' | b'A'..=b'F' => HEX,
        b'_' => BASE64 | DOTTED | CONSTANT | NUMBER,
        b'-' => BASE64 | DOTTED | NUMBER,
        b'+' => BASE64 | NUMBER,
        b'/' | b'=' => BASE64,
        b'.' => DOTTED | NUMBER,
        b',' => NUMBER,
        b':' => NUMBER | MARK,
        b'<' | b'>' | b'{' | b'}' | b'(' | b')' | b'[' | b']' => MARK,
        0..=b' ' => BLANK,
        0x80.. => BEYOND_ASCII,
        _ => 0,
    };
    letter_or_digit | more
}

/// The kinds of all bytes of a value together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Makeup {
    any: u16,
    all: u16,
    /// Bytes by their last five bits, which do not tell the case of letters.
    pub letters: u32,
}

impl Makeup {
    pub fn of(value: &[u8]) -> Makeup {
        let nothing = Makeup {
            any: 0,
            all: u16::MAX,
            letters: 0,
        };
        value.iter().fold(nothing, |made, byte| {
            let kinds = KINDS.get(usize::from(*byte)).copied().unwrap_or(0);
            Makeup {
                any: made.any | kinds,
                all: made.all & kinds,
                letters: made.letters | letter(*byte),
            }
        })
    }

    /// Whether some byte is of one of the kinds.
    pub fn has(self, kinds: u16) -> bool {
        self.any & kinds != 0
    }

    /// Whether every byte is of the kind.
    pub fn is_all(self, kind: u16) -> bool {
        self.all & kind != 0
    }

    /// How many of the classes occur: small letters, capitals, digits, others.
    pub fn classes(self) -> usize {
        (self.any & (LOWER | UPPER | DIGIT | OTHER)).count_ones() as usize
    }
}

/// A byte among `letters`.
pub(crate) const fn letter(byte: u8) -> u32 {
    1 << (byte & 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_of_every_byte() {
        for byte in 0..=u8::MAX {
            let made = Makeup::of(&[byte]);
            let told = [
                (LOWER, byte.is_ascii_lowercase()),
                (UPPER, byte.is_ascii_uppercase()),
                (DIGIT, byte.is_ascii_digit()),
                (OTHER, !byte.is_ascii_alphanumeric()),
                (LETTER, byte.is_ascii_alphabetic()),
                (HEX, byte.is_ascii_hexdigit()),
                (BASE64, byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte)),
                (
                    CONSTANT,
                    byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_',
                ),
                (DOTTED, byte.is_ascii_alphanumeric() || b"._-".contains(&byte)),
                (NUMBER, byte.is_ascii_digit() || b".-:_+TZ,".contains(&byte)),
                (BLANK, byte <= b' '),
                (BEYOND_ASCII, !byte.is_ascii()),
                (MARK, b"<>{}()[]:".contains(&byte)),
            ];
            for (kind, is_kind) in told {
                assert_eq!(
                    (made.has(kind), made.is_all(kind)),
                    (is_kind, is_kind),
                    "{byte} {kind}"
                );
            }
        }
        let made = Makeup::of(b"Ab1!");
        assert!(made.classes() == 4 && made.has(HEX) && !made.is_all(HEX) && !Makeup::of(b"").has(OTHER));
    }
}
