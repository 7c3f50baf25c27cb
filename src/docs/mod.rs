//! Guides and background pages.

#[doc = include_str!("promises.md")]
pub mod promises {}

#[doc = include_str!("speed.md")]
pub mod speed {}

#[doc = include_str!("peers.md")]
pub mod peers {}

#[doc = include_str!("guide.md")]
pub mod guide {}

#[doc = include_str!("design.md")]
pub mod design {}

#[doc = include_str!("contributing.md")]
pub mod contributing {}

#[doc = include_str!("recipes.md")]
pub mod recipes {}

#[doc = include_str!("comparison.md")]
pub mod comparison {}

#[cfg(feature = "r2d2")]
#[doc = include_str!("migrating.md")]
pub mod migrating {}
