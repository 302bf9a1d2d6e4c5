//! Bytes in, bytes out: single requests and batches (policy spec §14.1, protocol spec §20.5).

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Instant;

use crate::compile::Policy;
use crate::error::{BatchError, RequestError};
use crate::evaluate::Outcome;
use crate::limits::MAX_BATCH_ITEMS;
use crate::request::{Fields, Request};
use crate::response::{encode, put_bytes, put_varint};

/// gRPC status number of an item that does not decode.
const INVALID_ARGUMENT: u8 = 3;

impl Policy {
    /// Serialized `PolicyCheckRequest` → serialized `PolicyCheckResponse`.
    ///
    /// Errors: bytes that are no request. Anything that goes wrong later is a DENY.
    pub fn evaluate_bytes(&self, request: &[u8]) -> Result<Vec<u8>, RequestError> {
        let mut out = Vec::with_capacity(256);
        self.evaluate_into(request, &mut out)?;
        Ok(out)
    }

    fn evaluate_into(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), RequestError> {
        let request = Request::decode(bytes)?;
        let outcome =
            catch_unwind(AssertUnwindSafe(|| self.evaluate(&request))).unwrap_or_else(|_| Outcome::failed());
        encode(&outcome, &request, &self.snapshot, out);
        Ok(())
    }

    /// Serialized `BatchRequest` → serialized `BatchResponse`, one item per request in the same order.
    ///
    /// Errors: a batch that does not decode or has more than 512 requests. A broken request fails its own item only.
    pub fn evaluate_batch(&self, batch: &[u8]) -> Result<Vec<u8>, BatchError> {
        let mut requests = Vec::with_capacity(64);
        let mut fields = Fields::new(batch);
        while let Some((tag, value)) = fields.next().map_err(BatchError::Malformed)? {
            if tag != 1 {
                continue;
            }
            if requests.len() == MAX_BATCH_ITEMS {
                return Err(BatchError::TooManyItems);
            }
            requests.push(value.bytes(tag).map_err(BatchError::Malformed)?);
        }
        let mut out = Vec::with_capacity(requests.len() * 192 + self.snapshot.len() + 8);
        let (mut response, mut item) = (Vec::with_capacity(256), Vec::with_capacity(256));
        let mut before = Instant::now();
        for request in requests {
            response.clear();
            item.clear();
            let result = self.evaluate_into(request, &mut response);
            let now = Instant::now();
            put_item(&result, &response, elapsed_us(before, now), &mut item);
            put_bytes(1, &item, &mut out);
            before = now;
        }
        if !self.snapshot.is_empty() {
            put_bytes(2, self.snapshot.as_bytes(), &mut out);
        }
        Ok(out)
    }
}

fn elapsed_us(before: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(before).as_micros()).unwrap_or(u64::MAX)
}

fn put_item(result: &Result<(), RequestError>, response: &[u8], us: u64, item: &mut Vec<u8>) {
    match result {
        Ok(()) => put_bytes(1, response, item),
        Err(error) => {
            item.extend_from_slice(&[2 << 3, INVALID_ARGUMENT]);
            put_bytes(3, error.to_string().as_bytes(), item);
        }
    }
    if us > 0 {
        item.push(4 << 3);
        put_varint(us, item);
    }
}
