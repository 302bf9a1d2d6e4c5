//! Bounds of the engine (output policy spec §6, §16.7).

/// Content scanned at most; more is cut to its beginning and its end.
pub const MAX_SCAN_BYTES: usize = 64 << 20;
/// Of a content that is cut, so much of its end is scanned.
pub(crate) const TAIL_BYTES: usize = 1 << 20;
/// Ranges that threads share out.
pub(crate) const BLOCK_BYTES: usize = 256 * 1024;
/// Larger contents are scanned by several threads.
pub(crate) const PARALLEL_BYTES: usize = 1 << 20;
/// All passes go over so much before the next piece: it stays in the cache.
pub(crate) const PASS_BYTES: usize = 32 * 1024;
/// Layers of encoding that are opened.
pub(crate) const MAX_LAYERS: u8 = 2;
/// Bytes that decoding may produce in one scan.
pub(crate) const MAX_DECODED_BYTES: usize = 4 << 20;
/// Shortest base64 and hexadecimal text that is decoded.
pub(crate) const MIN_BASE64: usize = 24;
pub(crate) const MIN_HEX: usize = 32;
/// Text outside of a block that the injection detectors may read.
pub(crate) const INJECTION_MARGIN: usize = 8 * 1024;
