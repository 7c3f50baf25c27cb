//! The page beside other pools keeps its word: every test that it names is there, and every place in
//! somebody's source that it refers to has its link.

use crate::pages;

use pages::{read, tests_in};
use std::collections::BTreeSet;

fn page() -> String {
    read("src/docs/comparison.md")
}

#[test]
fn every_test_that_the_page_names_exists() {
    let page = page();
    let quoted = page.split('`').skip(1).step_by(2);
    let named: Vec<_> = quoted.filter_map(|text| text.split_once("::")).collect();
    assert!(named.len() >= 20, "only {}", named.len());
    for (file, name) in named {
        let there = tests_in(file).contains(name);
        assert!(there, "no test {name} in {file}");
    }
}

#[test]
fn every_test_about_the_async_pools_is_on_the_page() {
    let page = page();
    let file = "comparison_async";
    let tests = tests_in(file);
    for name in &tests {
        let quoted = format!("`{file}::{name}`");
        assert!(page.contains(&quoted), "not on the page: {quoted}");
    }
    assert!(!tests.is_empty());
}

/// Places are written as a file and its first line, `[lib 418]`.
#[test]
fn every_place_has_a_link_to_a_fixed_version_and_every_link_a_place() {
    let page = page();
    let is_place = |text: &str| {
        text.split_once(' ')
            .is_some_and(|(file, line)| !file.is_empty() && line.parse::<u32>().is_ok())
    };
    let (mut links, mut places) = (BTreeSet::new(), BTreeSet::new());
    for line in page.lines() {
        let definition = line
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("]: "));
        if let Some((name, link)) = definition {
            let (_, number) = name.split_once(' ').expect("a file and a line");
            let fixed = [
                "/r2d2/0.8.10/",
                "/deadpool/0.12.3/",
                "/deadpool-sync/0.1.4/",
                "/bb8/0.9.1/",
                "/HikariCP-6.0.0/",
            ];
            assert!(fixed.iter().any(|version| link.contains(version)), "{link}");
            let begins = link
                .split_once('#')
                .map(|(_, anchor)| anchor.trim_start_matches('L'));
            let first = begins.and_then(|anchor| anchor.split('-').next());
            assert_eq!(first, Some(number), "{link}");
            assert!(links.insert(name.to_owned()), "twice: {name}");
            continue;
        }
        let bracketed = line
            .split('[')
            .skip(1)
            .filter_map(|rest| rest.split_once(']'));
        places.extend(
            bracketed
                .map(|(text, _)| text.to_owned())
                .filter(|text| is_place(text)),
        );
    }
    assert_eq!(places, links);
}
