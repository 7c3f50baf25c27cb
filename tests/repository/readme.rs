//! The front page keeps up with the crate: it lists every example with its feature, every feature, and
//! documents of the crate that are there.

use crate::pages;

use pages::read;
use std::{collections::BTreeMap, fs, path::Path};

/// The examples, each with the features that Cargo.toml asks for.
fn examples() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let manifest = read("examples/Cargo.toml");
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "Cargo.toml")
        .map(|name| name.trim_end_matches(".rs").to_owned())
        .map(|name| {
            let section = manifest.split_once(&format!("[[example]]\nname = \"{name}\"\n"));
            let features = section
                .and_then(|(_, rest)| rest.lines().nth(1))
                .and_then(|line| line.strip_prefix("required-features = "));
            let features = features.unwrap_or_default().replace(['[', ']', '"'], "");
            (name, features)
        })
        .collect()
}

/// The first two cells of the rows below a headline.
fn rows(page: &str, headline: &str) -> BTreeMap<String, String> {
    let (_, part) = page.split_once(headline).expect(headline);
    part.lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let mut cells = line.split('|').skip(1);
            let mut cell = || cells.next().unwrap().trim().replace('`', "");
            (cell(), cell())
        })
        .collect()
}

#[test]
fn every_example_is_listed_with_its_feature_and_every_line_is_an_example() {
    assert_eq!(rows(&read("README.md"), "\n## Examples\n"), examples());
}

#[test]
fn every_feature_is_named_in_the_readme_and_in_the_crate_documentation() {
    let manifest = read("Cargo.toml");
    let (_, features) = manifest.split_once("\n[features]\n").unwrap();
    let features: Vec<&str> = features
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name)
        .filter(|name| *name != "default" && !name.starts_with('#'))
        .collect();
    assert!(features.len() >= 9, "{features:?}");
    let (readme, front) = (read("README.md"), read("src/lib.rs"));
    for feature in features {
        let quoted = format!("`{feature}`");
        assert!(readme.contains(&quoted), "{feature} in the README");
        assert!(front.contains(&quoted), "{feature} in src/lib.rs");
    }
}

#[test]
fn every_page_that_the_readme_names_exists_and_every_page_is_named_somewhere() {
    let (readme, front) = (read("README.md"), read("src/lib.rs"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/docs");
    let pages_in = |text: &str| -> Vec<String> {
        text.split("docs::")
            .skip(1)
            .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric()).collect())
            .collect()
    };
    let mut named = pages_in(&readme);
    for page in &named {
        assert!(folder.join(page).with_extension("md").exists(), "{page}");
    }
    named.extend(pages_in(&front));
    let module = read("src/docs/mod.rs");
    for line in module.lines() {
        if let Some(page) = line.strip_prefix("pub mod ") {
            let page = page.trim_end_matches(" {}");
            assert!(named.iter().any(|name| name == page), "{page} is not named");
        }
    }
}

/// The targets of all links and images: `](target)`, `[name]: target`, `src="target"`, `href="target"`.
fn targets(page: &str) -> Vec<&str> {
    let end = |c: char| c.is_whitespace() || [')', '"', '>'].contains(&c);
    let behind = |start: &'static str| {
        let parts = page.split(start).skip(1);
        parts.map(move |rest| rest.split(end).next().unwrap())
    };
    let named = page.lines().filter(|line| line.starts_with('['));
    let named = named.filter_map(|line| Some(line.split_once("]: ")?.1));
    let mut targets: Vec<&str> = named.collect();
    for start in ["](", "src=\"", "href=\""] {
        targets.extend(behind(start));
    }
    targets
}

/// crates.io has no files beside the README: a relative link there needs `repository`, which is not set.
#[test]
fn the_readme_has_no_relative_link_and_each_link_to_a_page_names_one_that_exists() {
    let readme = read("README.md");
    let targets = targets(&readme);
    assert!(targets.len() >= 6, "{targets:?}");
    let manifest = read("Cargo.toml");
    let documentation = manifest
        .lines()
        .find_map(|line| line.strip_prefix("documentation = "));
    let documentation = documentation.unwrap().trim_matches('"');
    let pages = format!("{documentation}/latest/conpool/docs/");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/docs");
    for target in targets {
        assert!(target.starts_with("https://"), "{target} is relative");
        if let Some(page) = target.strip_prefix(&pages) {
            let file = folder.join(page.trim_end_matches('/'));
            assert!(file.with_extension("md").exists(), "{target}");
        }
    }
}

#[test]
fn every_way_to_write_a_link_is_seen() {
    let page = "[a](b.md) ![c](d.svg \"title\")\n[e]: f.md\n<img src=\"g.png\"> <a href=\"h.md\">";
    assert_eq!(targets(page), ["f.md", "b.md", "d.svg", "g.png", "h.md"]);
}
