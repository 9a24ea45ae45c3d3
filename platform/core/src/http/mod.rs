//! The HTTP surface: one router out of every service's, with the same layers over all of it.
//!
//! A request passes: request id and origin → metrics and log line → audit row of a refusal → rate limit → panic guard →
//! time limit → body limit → extractors (credential first) → handler. Whatever fails becomes problem+json in [`problem`].

mod access;
mod app;
mod etag;
mod extract;
mod idempotency;
mod openapi;
mod origin;
mod paging;
mod problem;
mod rate_limit;
mod refusal;
mod server;
mod system;
mod time_limit;

pub use access::{Allowed, Permission};
pub use app::app;
pub use etag::{IfMatch, etag};
pub use extract::{Body, Parts, Search, json};
pub use idempotency::{Answer, IdempotencyKey, Once};
pub use openapi::document;
pub use paging::{Cursor, Limit, Page};
pub use problem::Problem;
pub use server::{bind, serve};
pub use time_limit::TimeLimit;
