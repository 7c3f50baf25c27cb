//! The page that leads from r2d2 to this crate keeps its word: every test that it names is there, and
//! every test made for it is on it.

use crate::pages;

use pages::{read, tests_in};
use std::collections::BTreeSet;

/// The names behind `start` in the page's backquotes.
fn named(page: &str, start: &str) -> BTreeSet<String> {
    let quoted = page.split('`').skip(1).step_by(2);
    let names = quoted.filter_map(|text| text.strip_prefix(start));
    // The line that explains the notation.
    names
        .filter(|name| *name != "name")
        .map(Into::into)
        .collect()
}

#[test]
fn every_test_of_the_guide_is_on_the_page_and_every_test_on_the_page_is_there() {
    let page = read("src/docs/migrating.md");
    assert_eq!(named(&page, "guide::"), tests_in("r2d2_guide"));
    let peers = named(&page, "peers::");
    assert_eq!(peers, tests_in("peers_r2d2"));
}

#[test]
fn every_setting_of_r2d2s_builder_is_in_the_table() {
    let page = read("src/docs/migrating.md");
    for setting in [
        "max_size",
        "min_idle",
        "thread_pool",
        "test_on_check_out",
        "max_lifetime",
        "idle_timeout",
        "connection_timeout",
        "error_handler",
        "event_handler",
        "connection_customizer",
    ] {
        let row = format!("\n| `{setting}` |");
        assert_eq!(page.matches(&row).count(), 1, "{setting}");
    }
}
