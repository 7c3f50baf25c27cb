//! Reads settings from the environment and from files of any self-describing format, and writes them.
//! `src/docs/settings.md` is the documentation for users.
//!
//! Both sources use [`overlay::Overlay`], which is independent of the format: it takes names and
//! [`value::Value`]s, and contains the only copy of the rules.

mod duration;
mod env;
mod format;
mod names;
mod overlay;
mod setting_value;
mod spelling;
mod value;
