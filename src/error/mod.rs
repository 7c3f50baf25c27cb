//! The errors, one type per operation.
//!
//! | operation | error |
//! |---|---|
//! | `get`, `get_timeout`, `get_deadline`, and their async variants | [`GetError`], with [`Timeout`], [`Phase`] and [`Cause`] inside |
//! | `interact`, `with` | [`InteractError`] |
//! | `build`, `build_lazy` | [`BuildError`] |
//! | `wait_ready` | [`ReadyError`] |
//! | `add` | [`AddError`] |
//! | `close_timeout` | [`StillInUse`] |
//!
//! Display is one line that covers only the error itself. The cause is in `source()`, so a report that walks
//! the chain prints nothing twice. The chain ends at the manager's own error, which `downcast_ref` finds.

mod add;
mod build;
mod get;
mod interact;
mod ready;
mod still_in_use;
mod timeout;

pub use add::AddError;
pub use build::BuildError;
pub use get::GetError;
pub use interact::InteractError;
pub use ready::ReadyError;
pub use still_in_use::StillInUse;
pub use timeout::{Cause, Phase, Timeout};
