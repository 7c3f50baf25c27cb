//! Managers in the box. They use what a user's manager would: public items only.

pub mod conbus;
mod memory;

pub use conbus::*;
pub use memory::*;
