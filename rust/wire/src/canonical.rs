//! Deterministic bytes of a `JobRequest` as the protobuf runtimes of other languages write them.
//!
//! prost leaves default keys and values out of map entries, the reference runtimes always write both; signatures and hashes need
//! the latter (protocol spec §2). Everything else (ascending fields, sorted maps) is already equal.

use prost::encoding::{decode_key, decode_varint, encode_key, encode_varint, WireType};
use prost::Message;

use crate::messages::JobRequest;

/// Which length-delimited fields of a message are maps of strings, and which hold such maps deeper down.
pub(crate) struct Shape {
    maps: &'static [u32],
    nested: &'static [(u32, &'static Shape)],
}

const METADATA: Shape = Shape {
    maps: &[9],
    nested: &[],
};
const COMPENSATION: Shape = Shape {
    maps: &[5, 11],
    nested: &[(12, &METADATA)],
};
const JOB_REQUEST: Shape = Shape {
    maps: &[6, 15],
    nested: &[(16, &METADATA), (17, &COMPENSATION)],
};
/// `BusPacket`, as far as our own encoder writes it.
pub(crate) const PACKET: Shape = Shape {
    maps: &[],
    nested: &[(10, &JOB_REQUEST)],
};

/// Canonical encoding of `request`.
pub fn canonical_bytes(request: &JobRequest) -> Vec<u8> {
    let encoded = request.encode_to_vec();
    if has_blank_entry(request) {
        rewrite(&encoded, &JOB_REQUEST).unwrap_or(encoded)
    } else {
        encoded
    }
}

fn has_blank_entry(request: &JobRequest) -> bool {
    let meta = request.meta.as_ref().map(|meta| &meta.labels);
    let compensation = request.compensation.as_ref();
    [Some(&request.env), Some(&request.labels), meta]
        .into_iter()
        .chain([
            compensation.map(|inverse| &inverse.env),
            compensation.map(|inverse| &inverse.labels),
            compensation
                .and_then(|inverse| inverse.meta.as_ref())
                .map(|meta| &meta.labels),
        ])
        .flatten()
        .any(|map| map.iter().any(|(key, value)| key.is_empty() || value.is_empty()))
}

/// Copy an encoded message with every map entry complete; `None` when it does not decode.
pub(crate) fn rewrite(mut input: &[u8], shape: &Shape) -> Option<Vec<u8>> {
    let mut output = Vec::with_capacity(input.len() + 16);
    while !input.is_empty() {
        let (tag, wire_type) = decode_key(&mut input).ok()?;
        encode_key(tag, wire_type, &mut output);
        if wire_type == WireType::Varint {
            encode_varint(decode_varint(&mut input).ok()?, &mut output);
            continue;
        }
        let length = usize::try_from(decode_varint(&mut input).ok()?).ok()?;
        let (body, rest) = input.split_at_checked(length)?;
        input = rest;
        let nested = shape
            .nested
            .iter()
            .find(|(field, _)| *field == tag)
            .map(|(_, inner)| *inner);
        let rewritten = match nested {
            Some(inner) => rewrite(body, inner)?,
            None if shape.maps.contains(&tag) => complete_entry(body),
            None => body.to_vec(),
        };
        encode_varint(rewritten.len() as u64, &mut output);
        output.extend_from_slice(&rewritten);
    }
    Some(output)
}

/// Map entry with both fields present: `0x0a` is the key's tag, `0x12` the value's.
fn complete_entry(body: &[u8]) -> Vec<u8> {
    match body.first() {
        None => vec![0x0a, 0, 0x12, 0],
        Some(0x12) => [&[0x0a, 0], body].concat(),
        Some(_) if entry_has_value(body) => body.to_vec(),
        Some(_) => [body, &[0x12, 0]].concat(),
    }
}

fn entry_has_value(mut body: &[u8]) -> bool {
    let key = decode_key(&mut body).and_then(|_| decode_varint(&mut body));
    key.ok()
        .and_then(|length| body.get(usize::try_from(length).ok()?..))
        .is_some_and(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn empty_label_values_are_written() {
        let mut request = JobRequest::default();
        request.labels.insert("a".into(), String::new());
        assert_eq!(canonical_bytes(&request), [0x7a, 5, 0x0a, 1, b'a', 0x12, 0]);
    }

    proptest! {
        #[test]
        fn canonical_bytes_decode_to_the_same_request(
            labels in proptest::collection::btree_map(".{0,4}", ".{0,4}", 0..6),
            meta_labels in proptest::collection::btree_map(".{0,3}", ".{0,3}", 0..4),
            topic in ".{0,12}",
        ) {
            let meta = crate::messages::JobMetadata { labels: meta_labels, ..Default::default() };
            let request = JobRequest { topic, labels, meta: Some(meta), ..Default::default() };
            prop_assert_eq!(JobRequest::decode(canonical_bytes(&request).as_slice()).unwrap(), request);
        }
    }
}
