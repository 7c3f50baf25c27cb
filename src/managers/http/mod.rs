//! To come.

mod body;
mod budget;
mod buffer;
mod builder;
mod chunked;
mod error;
mod exchange;
mod heads;
mod manager;
mod origin;
mod pool;
mod request;
mod reuse;
mod wire;

pub use body::HttpBody;
pub use builder::HttpPoolBuilder;
pub use error::{HttpError, HttpPhase};
pub use manager::{HttpConnection, HttpManager};
pub use origin::HttpOrigin;
pub use pool::HttpPool;
pub use request::HttpRequestBody;
/// The crate `http` as this client uses it: requests, responses, headers, URIs. A program that depends on
/// `http` 1 itself has the same types.
pub use ureq_proto::http as http_types;
