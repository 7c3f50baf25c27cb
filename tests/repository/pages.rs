//! What the tests of the pages share: the files of the repository, and the names of the tests in them.

#![allow(dead_code, reason = "each page's test uses its own part of this")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A file, by its path from the root of the repository.
pub(crate) fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files of the tests in the folder `tests` and in those below it, except in packages of their own.
pub(crate) fn test_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.join("Cargo.toml").exists() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// The text of `<file>.rs`, wherever that is below `tests`.
pub(crate) fn test_file(file: &str) -> String {
    let mut files = test_files().into_iter();
    let found = files.find(|path| path.file_stem().is_some_and(|name| name == file));
    let path = found.unwrap_or_else(|| panic!("no file {file}.rs below tests"));
    fs::read_to_string(path).unwrap()
}

/// The tests in `<file>.rs`, wherever that is below `tests`.
pub(crate) fn tests_in(file: &str) -> BTreeSet<String> {
    let text = test_file(file);
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
