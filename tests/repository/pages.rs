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

/// Everything in backquotes that looks like `file::name`.
pub(crate) fn named(page: &str) -> Vec<(&str, &str)> {
    let quoted = page.split('`').skip(1).step_by(2);
    quoted
        .filter_map(|text| text.split_once("::"))
        .filter(|(file, name)| !(file.contains(' ') || name.contains(' ')))
        .collect()
}

/// All Rust files below a folder, by its path from the root of the repository.
pub(crate) fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// All files of the tests below `tests`, except in packages of their own.
pub(crate) fn test_files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let in_package = |path: &PathBuf| {
        let mut folders = path
            .ancestors()
            .skip(1)
            .take_while(|folder| *folder != root);
        folders.any(|folder| folder.join("Cargo.toml").exists())
    };
    let mut files = rust_files("tests");
    files.retain(|path| !in_package(path));
    files
}

/// The text of `<file>.rs`, wherever that is below `tests`. Two folders may have a file of this name.
pub(crate) fn test_file(file: &str) -> String {
    let mut files = test_files();
    files.retain(|path| path.file_stem().is_some_and(|name| name == file));
    assert!(!files.is_empty(), "no file {file}.rs below tests");
    let texts = files.iter().map(|path| fs::read_to_string(path).unwrap());
    texts.collect()
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
