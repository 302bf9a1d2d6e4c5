//! Messages a NATS server delivers (`MSG`, `HMSG` of the client protocol), many of one buffer.

/// Longest control line; the client's own limit.
const MAX_LINE: usize = 4096;

/// One message, borrowed from the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    pub subscription: u64,
    pub subject: &'a [u8],
    /// Empty without one.
    pub reply: &'a [u8],
    pub headers: Option<&'a [u8]>,
    pub payload: &'a [u8],
}

/// What the reply subject of a message of a durable consumer tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub delivered: u64,
    pub stream_seq: u64,
    /// Unix time in µs the stream got it.
    pub timestamp_us: u64,
}

impl Delivery<'_> {
    /// None for what no consumer delivered. The reply is
    /// `$JS.ACK.<stream>.<consumer>.<delivered>.<seq>.<consumer seq>.<ns>.<pending>`; with a domain two more words come first
    /// (JetStream wire protocol, ADR-15).
    pub fn position(&self) -> Option<Position> {
        let words = self.reply.strip_prefix(b"$JS.ACK.")?.split(|byte| *byte == b'.');
        let count = words.clone().count();
        let mut numbers = words.skip(if count == 7 { 2 } else { 4 });
        (count >= 7).then_some(())?;
        let (delivered, stream_seq) = (number(numbers.next()?)?, number(numbers.next()?)?);
        // 19 digits: more than `number` takes.
        let nanoseconds: u64 = std::str::from_utf8(numbers.nth(1)?).ok()?.parse().ok()?;
        Some(Position {
            delivered,
            stream_seq,
            timestamp_us: nanoseconds / 1000,
        })
    }
}

/// What a buffer begins with.
#[derive(Debug, PartialEq, Eq)]
pub struct Deliveries<'a> {
    pub messages: Vec<Delivery<'a>>,
    /// Bytes of these messages.
    pub used: usize,
    /// Bytes the message after them has at least; 0 when nothing or something else follows.
    pub wanted: usize,
}

impl<'a> Deliveries<'a> {
    /// Read whole messages until something else comes or the buffer ends.
    pub fn read(buffer: &'a [u8]) -> Deliveries<'a> {
        let (mut messages, mut used) = (Vec::new(), 0);
        loop {
            let rest = buffer.get(used..).unwrap_or_default();
            match Head::read(rest) {
                Read::Whole(head) => match head.delivery(rest) {
                    Some((message, size)) => {
                        messages.push(message);
                        used += size;
                    }
                    None => {
                        return Deliveries {
                            messages,
                            used,
                            wanted: head.size(),
                        }
                    }
                },
                Read::Part => {
                    return Deliveries {
                        messages,
                        used,
                        wanted: rest.len() + 1,
                    }
                }
                Read::Other => {
                    return Deliveries {
                        messages,
                        used,
                        wanted: 0,
                    }
                }
            }
        }
    }
}

enum Read<'a> {
    Whole(Head<'a>),
    Part,
    Other,
}

/// A control line.
struct Head<'a> {
    subject: &'a [u8],
    reply: &'a [u8],
    subscription: u64,
    /// Of headers and of both together; headers `None` for `MSG`.
    headers: Option<usize>,
    total: usize,
    line: usize,
}

impl<'a> Head<'a> {
    fn read(buffer: &'a [u8]) -> Read<'a> {
        let has_headers = buffer.starts_with(b"HMSG ");
        if !has_headers && !buffer.starts_with(b"MSG ") {
            return Read::Other;
        }
        let start = buffer.get(..MAX_LINE).unwrap_or(buffer);
        let Some(line) = start.windows(2).position(|pair| pair == b"\r\n") else {
            return if start.len() < MAX_LINE {
                Read::Part
            } else {
                Read::Other
            };
        };
        let words = start.get(..line).unwrap_or_default();
        Head::of_line(words, has_headers, line + 2).map_or(Read::Other, Read::Whole)
    }

    fn of_line(words: &'a [u8], has_headers: bool, line: usize) -> Option<Head<'a>> {
        let mut words = words
            .split(|byte| byte.is_ascii_whitespace())
            .filter(|word| !word.is_empty());
        let (_, subject, subscription) = (words.next()?, words.next()?, number(words.next()?)?);
        let rest: Vec<&[u8]> = words.take(4).collect();
        let (reply, headers, total) = match (has_headers, rest.as_slice()) {
            (false, [total]) => (&[][..], None, total),
            (false, [reply, total]) => (*reply, None, total),
            (true, [headers, total]) => (&[][..], Some(headers), total),
            (true, [reply, headers, total]) => (*reply, Some(headers), total),
            _ => return None,
        };
        let total = usize::try_from(number(total)?).ok()?;
        let headers = match headers {
            Some(word) => Some(
                usize::try_from(number(word)?)
                    .ok()
                    .filter(|size| *size <= total)?,
            ),
            None => None,
        };
        Some(Head {
            subject,
            reply,
            subscription,
            headers,
            total,
            line,
        })
    }

    fn size(&self) -> usize {
        self.line.saturating_add(self.total).saturating_add(2)
    }

    /// The message and its bytes in all, when all of them are there.
    fn delivery(&self, buffer: &'a [u8]) -> Option<(Delivery<'a>, usize)> {
        let body = buffer
            .get(..self.size())?
            .get(self.line..self.line + self.total)?;
        let (headers, payload) = body.split_at_checked(self.headers.unwrap_or(0))?;
        let message = Delivery {
            subscription: self.subscription,
            subject: self.subject,
            reply: self.reply,
            headers: self.headers.map(|_| headers),
            payload,
        };
        Some((message, self.size()))
    }
}

fn number(word: &[u8]) -> Option<u64> {
    let is_plain = !word.is_empty() && word.len() <= 18 && word.iter().all(u8::is_ascii_digit);
    is_plain.then(|| {
        word.iter()
            .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &[u8] = b"MSG a.b 7 3\r\nxyz\r\n";
    const TWO: &[u8] = b"HMSG a 8 r.1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n";

    fn read(buffer: &[u8]) -> (usize, usize, usize) {
        let read = Deliveries::read(buffer);
        (read.messages.len(), read.used, read.wanted)
    }

    #[test]
    fn messages_are_those_of_the_protocol() {
        let buffer = [ONE, TWO].concat();
        let read = Deliveries::read(&buffer);
        let (reply, headers) = (&b""[..], None);
        let one = Delivery {
            subscription: 7,
            subject: b"a.b",
            reply,
            headers,
            payload: b"xyz",
        };
        let headers = Some(&b"NATS/1.0\r\n\r\n"[..]);
        let two = Delivery {
            subscription: 8,
            subject: b"a",
            reply: b"r.1",
            headers,
            payload: b"hi",
        };
        assert_eq!(
            read,
            Deliveries {
                messages: vec![one, two],
                used: buffer.len(),
                wanted: 0
            }
        );
    }

    #[test]
    fn the_reply_of_a_consumer_tells_the_position() {
        let read = |reply: &str| {
            let delivery = Delivery {
                subscription: 1,
                subject: b"a",
                reply: reply.as_bytes(),
                headers: None,
                payload: b"",
            };
            let position = delivery.position()?;
            Some((position.delivered, position.stream_seq, position.timestamp_us))
        };
        let told = Some((2, 77, 1_772_358_600_123_456));
        assert_eq!(read("$JS.ACK.S.c.2.77.9.1772358600123456789.3"), told);
        assert_eq!(
            read("$JS.ACK.domain.hash.S.c.2.77.9.1772358600123456789.3.token"),
            told
        );
        for other in [
            "",
            "_INBOX.a.b",
            "$JS.ACK.S.c.2.77.9",
            "$JS.ACK.S.c.x.77.9.1.3",
            "$JS.ACK.S.c.2.77.9.-1.3",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn a_part_waits_for_the_rest() {
        let buffer = [ONE, TWO].concat();
        for end in 4..ONE.len() {
            let (messages, used, wanted) = read(&buffer[..end]);
            assert_eq!((messages, used), (0, 0));
            assert!(wanted > end && wanted <= ONE.len(), "{end}: {wanted}");
        }
        for end in ONE.len() + 5..buffer.len() {
            let (messages, used, wanted) = read(&buffer[..end]);
            assert_eq!((messages, used), (1, ONE.len()));
            assert!(wanted > end - used && wanted <= TWO.len());
        }
    }

    #[test]
    fn what_is_no_message_is_left_to_the_client() {
        for other in [
            "PING\r\n",
            "MSG a 1\r\n",
            "MSG a x 3\r\nxyz\r\n",
            "HMSG a 1 9 3\r\nxyz\r\n",
            "-ERR 'x'\r\n",
            "MS",
        ] {
            let buffer = [ONE, other.as_bytes()].concat();
            assert_eq!(read(&buffer), (1, ONE.len(), 0), "{other}");
        }
        assert_eq!(
            read(format!("MSG {} 1 3\r\nxyz\r\n", "a".repeat(MAX_LINE)).as_bytes()),
            (0, 0, 0)
        );
        assert_eq!(read(b"MSG a 1 18446744073709551615\r\n"), (0, 0, 0));
    }
}
