//! Settings as text: read from files of any self-describing format and from the environment, written
//! back so that they read the same. What a user needs to know of it is in `src/docs/settings.md`.
//!
//! Both sources end in [`overlay::Overlay`], which knows no format: it takes names and [`value::Value`]s
//! and has the only copy of the rules.

mod duration;
mod env;
mod format;
mod names;
mod overlay;
mod setting_value;
mod spelling;
mod value;
