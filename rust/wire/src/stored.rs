//! How requests and events are kept: binary and short, because a store holds every job for a week (scheduler spec §3.2, §3.3).
//! The JSON forms of the spec are what readers are given, and what they accept from elsewhere.

mod event;
mod request;

pub use event::{event, event_from_store, Context};
pub use request::{request_from_store, request_to_store};
