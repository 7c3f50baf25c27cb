//! The page of other pools' bugs keeps its word: every test that it names is there, and every
//! regression test in `peers_*.rs` is on it.

use crate::pages;

use pages::{read, test_files, tests_in};
use std::collections::BTreeSet;

/// One row of the page: where the bug was, what it was, and which test of ours watches for it.
struct Entry<'a> {
    place: &'a str,
    story: &'a str,
    test: (&'a str, &'a str),
}

fn page() -> String {
    read("src/docs/peers.md")
}

fn entries(page: &str) -> Vec<Entry<'_>> {
    page.lines()
        .filter(|line| line.starts_with("| ["))
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let [place, story, test] = cells[..] else {
                panic!("not three cells: {line}");
            };
            let test = test
                .strip_prefix('`')
                .and_then(|test| test.strip_suffix('`'))
                .and_then(|test| test.split_once("::"))
                .unwrap_or_else(|| panic!("names no test: {line}"));
            Entry { place, story, test }
        })
        .collect()
}

#[test]
fn every_test_that_the_page_names_exists() {
    let page = page();
    for entry in entries(&page) {
        let (file, name) = entry.test;
        assert!(
            tests_in(file).contains(name),
            "{}: no test {name} in {file}.rs",
            entry.place
        );
    }
}

#[test]
fn there_are_forty_bugs_and_half_of_them_have_a_test_of_their_own() {
    let page = page();
    let entries = entries(&page);
    assert!(entries.len() >= 40, "{}", entries.len());
    let own = entries
        .iter()
        .filter(|entry| entry.test.0.starts_with("peers_"))
        .count();
    assert!(own * 2 >= entries.len(), "{own} of {}", entries.len());
}

#[test]
fn every_bug_has_a_link_and_a_sentence_and_stands_there_once() {
    let page = page();
    let mut seen = BTreeSet::new();
    for Entry { place, story, .. } in entries(&page) {
        let link = place.split_once("](https://").map(|(_, rest)| rest);
        assert!(link.is_some_and(|link| link.ends_with(')')), "{place}");
        assert!(story.len() > 20 && story.ends_with(['.', ')']), "{story}");
        assert!(seen.insert((place, story)), "twice: {place}");
    }
}

#[test]
fn every_test_modelled_on_a_bug_is_on_the_page() {
    let page = page();
    let named: BTreeSet<_> = entries(&page).iter().map(|entry| entry.test).collect();
    let mut files = 0;
    for path in test_files() {
        let file = path.file_stem().unwrap().to_str().unwrap();
        if !file.starts_with("peers_") || file == "peers_page" {
            continue;
        }
        files += 1;
        for name in tests_in(file) {
            assert!(
                named.contains(&(file, name.as_str())),
                "not on the page: {file}::{name}"
            );
        }
    }
    assert!(files > 0);
}
