//! The code of the recipes, as the page shows it.

pub mod diesel;
pub mod postgres;
pub mod redis_client;
pub mod redis_line;
pub mod smtp;
