//! The design page names functions that exist.

use crate::pages::{named, read};

use std::path::Path;

#[test]
fn every_function_that_the_page_names_exists() {
    let page = read("src/docs/design.md");
    let mut functions = named(&page);
    functions.retain(|(file, _)| Path::new(file).extension().is_some());
    assert!(functions.len() > 20, "only {}", functions.len());
    for (file, function) in functions {
        let source = read(&format!("src/{file}"));
        let found = [format!("fn {function}("), format!("fn {function}<")]
            .iter()
            .any(|definition| source.contains(definition));
        assert!(found, "no {function} in {file}");
    }
}
