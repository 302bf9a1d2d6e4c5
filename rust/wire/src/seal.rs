//! What the control plane adds to the packets it publishes: its session token and its signature (protocol spec §15.2, §16.1).
//!
//! Verifiers parse a packet, clear its signature and encode it again deterministically. So the bytes signed here are exactly
//! those, whatever order and gaps the encoder left.

use prost::encoding::{decode_key, decode_varint, encode_key, encode_varint, WireType};
use ring::rand::SystemRandom;
use ring::signature::{EcdsaKeyPair, ECDSA_P256_SHA256_ASN1_SIGNING};

use crate::canonical::{rewrite, PACKET};

const SENDER: u32 = 2;
const SIGNATURE: u32 = 14;
const AUTH_TOKEN: u32 = 18;
/// Trust handshake packets carry their own signature.
const TRUST: std::ops::RangeInclusive<u32> = 19..=22;

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not PKCS #8 of a P-256 key.
    #[error("expected a P-256 private key in PKCS #8")]
    Key,
    /// The signature could not be made.
    #[error("a packet could not be signed")]
    Sign,
}

/// Adds the sender id, the token and the signature of one service.
pub struct Sealer {
    key: Option<EcdsaKeyPair>,
    /// Replaces `from` as the sender of packets.
    sender: Option<(String, String)>,
    random: SystemRandom,
}

impl Sealer {
    /// `pkcs8`: P-256 private key with its public part; `None` leaves packets unsigned.
    pub fn new(pkcs8: Option<&[u8]>, sender: Option<(String, String)>) -> Result<Self, SealError> {
        let random = SystemRandom::new();
        let key = pkcs8
            .map(|der| EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &random))
            .transpose()
            .map_err(|_| SealError::Key)?;
        Ok(Sealer { key, sender, random })
    }

    /// Seal one packet; a token that is empty is left out. What is no packet, or a trust packet, comes back as it is.
    pub fn seal(&self, packet: &[u8], token: &str) -> Result<Vec<u8>, SealError> {
        let Some(mut body) = self.body(packet) else {
            return Ok(packet.to_vec());
        };
        let bare = body.len();
        if !token.is_empty() {
            put(AUTH_TOKEN, token.as_bytes(), &mut body);
        }
        let Some(key) = &self.key else {
            return Ok(body);
        };
        let signature = key.sign(&self.random, &body).map_err(|_| SealError::Sign)?;
        let (fields, tail) = body.split_at_checked(bare).unwrap_or((&body, &[]));
        let mut sealed = Vec::with_capacity(body.len() + 80);
        sealed.extend_from_slice(fields);
        put(SIGNATURE, signature.as_ref(), &mut sealed);
        sealed.extend_from_slice(tail);
        Ok(sealed)
    }

    /// Canonical bytes of a packet without token and signature; `None` when it is not ours to seal.
    fn body(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let canonical = rewrite(packet, &PACKET)?;
        let mut input = canonical.as_slice();
        let mut body = Vec::with_capacity(canonical.len() + 700);
        while !input.is_empty() {
            let start = input;
            let (tag, wire_type) = decode_key(&mut input).ok()?;
            let content = match wire_type {
                WireType::Varint => {
                    decode_varint(&mut input).ok()?;
                    None
                }
                _ => {
                    let length = usize::try_from(decode_varint(&mut input).ok()?).ok()?;
                    let (content, rest) = input.split_at_checked(length)?;
                    input = rest;
                    Some(content)
                }
            };
            match (tag, content, &self.sender) {
                (SIGNATURE | AUTH_TOKEN, _, _) => {}
                (tag, _, _) if TRUST.contains(&tag) => return None,
                (SENDER, Some(sender), Some((from, to))) if sender == from.as_bytes() => {
                    put(SENDER, to.as_bytes(), &mut body);
                }
                _ => body.extend_from_slice(start.get(..start.len() - input.len())?),
            }
        }
        Some(body)
    }
}

fn put(tag: u32, content: &[u8], output: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, output);
    encode_varint(content.len() as u64, output);
    output.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;
    use crate::messages::{BusPacket, JobRequest, Payload};
    use prost::Message;
    use ring::signature::{KeyPair, UnparsedPublicKey, ECDSA_P256_SHA256_ASN1};

    fn key() -> (Vec<u8>, Vec<u8>) {
        let random = SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der.as_ref(), &random).unwrap();
        (der.as_ref().to_vec(), pair.public_key().as_ref().to_vec())
    }

    fn packet() -> BusPacket {
        let mut request = JobRequest {
            job_id: "j".into(),
            ..JobRequest::default()
        };
        request.labels.insert("blank".into(), String::new());
        BusPacket {
            trace_id: "t".into(),
            sender_id: "me".into(),
            protocol_version: 1,
            payload: Some(Payload::JobRequest(request)),
            ..BusPacket::default()
        }
    }

    #[test]
    fn the_signature_covers_everything_but_itself() {
        let (der, public) = key();
        let sealer = Sealer::new(Some(&der), Some(("me".into(), "you".into()))).unwrap();
        let sealed = sealer.seal(&packet().encode_to_vec(), "token").unwrap();
        let mut read = BusPacket::decode(sealed.as_slice()).unwrap();
        assert_eq!(
            (read.sender_id.as_str(), read.auth_token.as_str()),
            ("you", "token")
        );
        let signature = std::mem::take(&mut read.signature);
        let expected = rewrite(&read.encode_to_vec(), &PACKET).unwrap();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public)
            .verify(&expected, &signature)
            .unwrap();
    }

    #[test]
    fn sealing_again_replaces_token_and_signature() {
        let (der, _) = key();
        let sealer = Sealer::new(Some(&der), None).unwrap();
        let once = sealer.seal(&packet().encode_to_vec(), "old").unwrap();
        let twice = BusPacket::decode(sealer.seal(&once, "new").unwrap().as_slice()).unwrap();
        assert_eq!(twice.auth_token, "new");
        assert_eq!(twice.payload, packet().payload);
    }

    #[test]
    fn what_is_not_a_packet_of_ours_stays_as_it_is() {
        let sealer = Sealer::new(None, None).unwrap();
        for bytes in [&b"no packet"[..], &[0x9a, 0x01, 0x00]] {
            assert_eq!(sealer.seal(bytes, "token").unwrap(), bytes);
        }
        assert_eq!(Sealer::new(Some(b"no key"), None).err(), Some(SealError::Key));
    }
}
