//! Header fields, and what the cache uses of RFC 9110 and 9111.

mod accept_encoding;
pub mod authority;
mod cache_control;
mod headers;
mod media_type;
mod pairs;

pub use accept_encoding::{accepts_coding, narrowed_codings};
pub use cache_control::RequestDirectives;
pub use headers::{Headers, number};
pub use media_type::{is_any_text, is_json, is_plain_json, media_type};
