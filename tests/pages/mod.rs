//! What the tests of the pages share: the files of the repository, and the names of the tests in them.

#![allow(dead_code, reason = "each page's test uses its own part of this")]

use std::{collections::BTreeSet, fs, path::Path};

/// A file, by its path from the root of the repository.
pub(crate) fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The tests in `tests/<file>.rs`.
pub(crate) fn tests_in(file: &str) -> BTreeSet<String> {
    let text = read(&format!("tests/{file}.rs"));
    let mut tests = BTreeSet::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if line == "#[test]" {
            let name = lines.find_map(|line| line.strip_prefix("fn "));
            let name = name.and_then(|rest| rest.split_once('(')).expect("a test");
            tests.insert(name.0.to_owned());
        }
    }
    tests
}
