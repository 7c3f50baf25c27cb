//! The design page names functions that exist.

use crate::pages::read;

#[test]
fn every_function_that_the_page_names_exists() {
    let page = read("src/docs/design.md");
    let mut named = 0;
    for quoted in page.split('`').skip(1).step_by(2) {
        let Some((file, function)) = quoted.split_once(".rs::") else {
            continue;
        };
        named += 1;
        let source = read(&format!("src/{file}.rs"));
        let found = [format!("fn {function}("), format!("fn {function}<")]
            .iter()
            .any(|definition| source.contains(definition));
        assert!(found, "{quoted}");
    }
    assert!(named > 20, "only {named} functions are named");
}
