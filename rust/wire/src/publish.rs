//! Publish frames of the NATS client protocol (`PUB`, `HPUB`), many in one buffer.

/// A buffer of about this size goes to the socket in one piece.
const CHUNK_BYTES: usize = 256 * 1024;

/// Writes frames one after another.
#[derive(Debug, Default)]
pub struct Frames {
    chunks: Vec<Vec<u8>>,
    block: Vec<u8>,
}

impl Frames {
    /// Write one frame; a header's value is trimmed, a line break in it becomes a blank. False, and nothing written, when
    /// subject or reply is not one printable word: the rest of it would be read as protocol.
    pub fn put<'h>(
        &mut self,
        subject: &str,
        reply: &str,
        headers: impl Iterator<Item = (&'h str, &'h str)>,
        payload: &[u8],
    ) -> bool {
        if subject.is_empty() || !is_word(subject) || !is_word(reply) {
            return false;
        }
        self.block.clear();
        for (name, value) in headers {
            if self.block.is_empty() {
                self.block.extend_from_slice(b"NATS/1.0\r\n");
            }
            put_header(name, value, &mut self.block);
        }
        if !self.block.is_empty() {
            self.block.extend_from_slice(b"\r\n");
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() >= CHUNK_BYTES) {
            self.chunks.push(Vec::new());
        }
        if let Some(chunk) = self.chunks.last_mut() {
            put_frame(subject, reply, &self.block, payload, chunk);
        }
        true
    }

    /// What was written, in pieces that end with a frame.
    pub fn into_chunks(self) -> Vec<Vec<u8>> {
        self.chunks
    }
}

fn put_frame(subject: &str, reply: &str, block: &[u8], payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(subject.len() + reply.len() + block.len() + payload.len() + 64);
    out.extend_from_slice(if block.is_empty() { b"PUB " } else { b"HPUB " });
    out.extend_from_slice(subject.as_bytes());
    out.push(b' ');
    out.extend_from_slice(reply.as_bytes());
    out.push(b' ');
    if !block.is_empty() {
        put_number(block.len(), out);
        out.push(b' ');
    }
    put_number(block.len() + payload.len(), out);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(block);
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

fn put_header(name: &str, value: &str, block: &mut Vec<u8>) {
    block.extend_from_slice(name.as_bytes());
    block.extend_from_slice(b": ");
    let value = value.trim().bytes();
    block.extend(value.map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    block.extend_from_slice(b"\r\n");
}

fn put_number(number: usize, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let (mut at, mut rest) = (digits.len(), number);
    loop {
        at -= 1;
        if let Some(digit) = digits.get_mut(at) {
            *digit = b'0' + (rest % 10) as u8;
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

fn is_word(text: &str) -> bool {
    !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(subject: &str, reply: &str, headers: &[(&str, &str)], payload: &[u8]) -> Option<String> {
        let mut frames = Frames::default();
        let is_written = frames.put(subject, reply, headers.iter().copied(), payload);
        let text = String::from_utf8(frames.into_chunks().concat()).ok()?;
        assert_eq!(is_written, !text.is_empty());
        is_written.then_some(text)
    }

    #[test]
    fn frames_are_those_of_the_protocol() {
        assert_eq!(
            written("a.b", "", &[], b"hello").as_deref(),
            Some("PUB a.b  5\r\nhello\r\n")
        );
        assert_eq!(
            written("a", "r.1", &[], b"").as_deref(),
            Some("PUB a r.1 0\r\n\r\n")
        );
        assert_eq!(
            written("a", "r", &[("K", " v ")], b"xy").as_deref(),
            Some("HPUB a r 18 20\r\nNATS/1.0\r\nK: v\r\n\r\nxy\r\n")
        );
    }

    #[test]
    fn a_value_cannot_begin_a_header_of_its_own() {
        let frame = written("a", "", &[("K", "v\r\nEvil: 1")], b"").unwrap_or_default();
        assert!(frame.contains("\r\nK: v  Evil: 1\r\n\r\n"));
    }

    #[test]
    fn what_is_not_one_word_is_refused() {
        for subject in [
            "",
            "two words",
            "line\r\nPUB x 0\r\n\r\n",
            "tab\tbed",
            "nul\0",
            "no\u{a0}break",
        ] {
            assert_eq!(written(subject, "", &[], b""), None, "{subject:?}");
            assert!(subject.is_empty() || written("a", subject, &[], b"").is_none());
        }
    }

    #[test]
    fn chunks_end_with_a_frame() {
        let mut frames = Frames::default();
        for _ in 0..10 {
            assert!(frames.put("a", "", std::iter::empty(), &[7; 100_000]));
        }
        let chunks = frames.into_chunks();
        assert_eq!(chunks.len(), 4);
        assert!(chunks
            .iter()
            .all(|chunk| chunk.starts_with(b"PUB a  100000\r\n") && chunk.ends_with(b"\x07\r\n")));
    }
}
