//! Pages beside the reference.

#[doc = include_str!("promises.md")]
pub mod promises {}

#[doc = include_str!("speed.md")]
pub mod speed {}

#[doc = include_str!("peers.md")]
pub mod peers {}

#[cfg(feature = "r2d2")]
#[doc = include_str!("migrating.md")]
pub mod migrating {}
