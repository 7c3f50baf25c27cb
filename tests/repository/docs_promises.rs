//! The page of promises keeps its word: every test that it names is there.

use crate::pages;

use pages::{named, read, test_file};

#[test]
fn every_test_that_the_page_names_exists() {
    let page = read("src/docs/promises.md");
    let tests = named(&page);
    assert!(tests.len() >= 40, "only {}", tests.len());
    for (file, name) in tests {
        let text = match file.strip_prefix("src/") {
            Some(_) => read(file),
            None => test_file(file),
        };
        // Indented where a macro such as proptest! stands around it.
        let function = format!("fn {name}(");
        let there = text
            .lines()
            .any(|line| line.trim_start().starts_with(&function));
        assert!(there, "no test {name} in {file}");
    }
}

#[test]
fn every_promise_has_a_chapter() {
    let page = read("src/docs/promises.md");
    let front = read("src/lib.rs");
    for number in 1..=7 {
        let line = format!("//! {number}. *");
        let (_, promise) = front
            .split_once(&line)
            .expect("a promise on the front page");
        let (title, _) = promise.split_once(".*").unwrap();
        let chapter = format!("# {number}. {title}");
        assert!(page.contains(&chapter), "no chapter {chapter:?}");
    }
}
