//! MessagePack as Redis scripts read it: bytes go as strings, because the MessagePack of Redis 6.2 to 8 refuses the binary
//! family and takes any bytes for a string.

use std::convert::Infallible;

use rmp::encode::{self, ByteBuf, ValueWriteError};

/// Writer of one packed value.
#[derive(Default)]
pub(crate) struct Packer(ByteBuf);

/// Memory takes everything: there is no error to be had.
fn written<T>(outcome: Result<T, ValueWriteError<Infallible>>) -> Option<T> {
    outcome.ok()
}

fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl Packer {
    pub(crate) fn map(&mut self, members: usize) {
        written(encode::write_map_len(&mut self.0, length(members)));
    }

    pub(crate) fn list(&mut self, items: usize) {
        written(encode::write_array_len(&mut self.0, length(items)));
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        written(encode::write_str_len(&mut self.0, length(bytes.len())));
        self.0.as_mut_vec().extend_from_slice(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn int(&mut self, number: i64) {
        written(encode::write_sint(&mut self.0, number));
    }

    pub(crate) fn uint(&mut self, number: u64) {
        written(encode::write_uint(&mut self.0, number));
    }

    pub(crate) fn float(&mut self, number: f64) {
        written(encode::write_f64(&mut self.0, number));
    }

    pub(crate) fn flag(&mut self, is_set: bool) {
        // The error of this one is the writer's own.
        encode::write_bool(&mut self.0, is_set).unwrap_or_default();
    }

    pub(crate) fn append(&mut self, other: Packer) {
        self.0.as_mut_vec().extend(other.0.into_vec());
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0.into_vec()
    }
}
