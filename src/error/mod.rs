//! What can go wrong, one type per operation.
//!
//! | operation | error |
//! |---|---|
//! | `get`, `get_timeout`, `get_deadline` | [`GetError`], with [`Timeout`], [`Phase`] and [`Cause`] inside |
//! | `build`, `build_lazy` | [`BuildError`] |
//! | `add` | [`AddError`] |
//! | `close_timeout` | [`StillInUse`] |
//!
//! Display is one line and says its own part only; the cause is in `source()`, so that a report
//! which walks the chain prints nothing twice. The chain ends at the manager's own error, as itself:
//! `downcast_ref` finds it.

mod add;
mod build;
mod get;
mod still_in_use;
mod timeout;

pub use add::AddError;
pub use build::BuildError;
pub use get::GetError;
pub use still_in_use::StillInUse;
pub use timeout::{Cause, Phase, Timeout};
