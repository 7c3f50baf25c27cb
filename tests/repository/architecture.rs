//! The layers of the crate, the direction of its imports and its vocabulary, checked on the sources.

use crate::pages::rust_files;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every top-level module of src/ and the modules that it may import from.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("docs", &[]),
    ("rounded", &[]),
    ("sync", &[]),
    ("manager", &[]),
    ("health", &[]),
    ("config", &["rounded"]),
    ("info", &["rounded"]),
    ("clock", &["sync"]),
    ("foreign", &[]),
    ("event", &["foreign"]),
    ("stats", &["event", "health", "info", "rounded"]),
    // As a user's observer: only what is public.
    ("metrics", &["event", "stats"]),
    ("error", &["config", "info", "rounded"]),
    ("engine", &["foreign", "sync"]),
    ("exec", &["clock", "foreign", "sync"]),
    (
        "shared",
        &[
            "clock", "config", "engine", "error", "event", "exec", "foreign", "health", "info",
            "manager", "stats", "sync",
        ],
    ),
    ("guard", &["info", "manager", "shared"]),
    (
        "interact",
        &["error", "exec", "foreign", "guard", "manager", "sync"],
    ),
    (
        "pool",
        &[
            "config", "error", "guard", "health", "info", "interact", "manager", "shared", "stats",
        ],
    ),
    (
        "builder",
        &[
            "clock", "config", "error", "event", "manager", "pool", "shared",
        ],
    ),
    (
        "keyed",
        &[
            "builder", "clock", "config", "engine", "error", "event", "exec", "foreign", "guard",
            "health", "info", "interact", "manager", "shared", "stats", "sync",
        ],
    ),
    (
        "registry",
        &["clock", "error", "health", "manager", "pool", "stats"],
    ),
    // As a user's manager: only what is public.
    (
        "managers",
        &[
            "builder", "config", "error", "guard", "info", "keyed", "manager", "pool", "stats",
        ],
    ),
    // As a user's program, in a world of its own.
    (
        "schedules",
        &[
            "builder", "config", "guard", "health", "manager", "pool", "sync",
        ],
    ),
];

/// A file's code without its comments and without its tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap();
    let text = text.split("#[cfg(all(test").next().unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The first names behind every `crate::`, whether alone or in braces.
fn imported(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let word = |text: &str| -> String {
            let end = |c: char| !(c.is_alphanumeric() || c == '_');
            text.trim_start()
                .split(end)
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let Some(list) = rest.strip_prefix('{') else {
            names.insert(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut item = String::new();
        for c in list.chars() {
            match c {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    names.insert(word(&item));
                    item.clear();
                    continue;
                }
                _ => {}
            }
            item.push(c);
        }
        names.insert(word(&item));
    }
    names.remove("");
    names
}

/// Which module each name at the crate root comes from.
fn roots(lib: &str) -> BTreeMap<String, String> {
    let mut roots = BTreeMap::new();
    for line in lib.split("pub use ").skip(1) {
        let line = line.split(';').next().unwrap();
        let (module, names) = line.split_once("::").unwrap();
        for name in names.trim_matches(['{', '}', '\n']).split(',') {
            roots.insert(name.trim().to_owned(), module.to_owned());
        }
    }
    roots
}

#[test]
fn imports_point_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let roots = roots(&code(&src.join("lib.rs")));
    let allowed: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    // No cycle among the allowed directions: each module imports only from those listed before it.
    let mut above = BTreeSet::new();
    for (module, from) in MAY_IMPORT {
        for import in *from {
            assert!(
                above.contains(import),
                "{module} -> {import} points down or in a cycle"
            );
        }
        above.insert(*module);
    }
    let files = rust_files("src");
    let mut wrong = Vec::new();
    for file in files {
        let place = file.strip_prefix(&src).unwrap();
        let module = place
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap();
        let module = module.trim_end_matches(".rs");
        if module == "lib" {
            continue;
        }
        let Some(may) = allowed.get(module) else {
            wrong.push(format!(
                "{module} is a module that MAY_IMPORT does not know"
            ));
            continue;
        };
        for name in imported(&code(&file)) {
            // What stands at the root without its name came with all the managers.
            let other = if name.starts_with(char::is_uppercase) {
                "managers"
            } else {
                &name
            };
            let from = roots.get(&name).map_or(other, String::as_str);
            if from != module && !may.contains(&from) {
                wrong.push(format!("{}: {module} -> {from}", place.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn hooks_are_called_in_one_module_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = rust_files("src");
    let calls = [
        ".check_aliveness(",
        ".has_broken(",
        ".on_checkout(",
        ".on_checkin(",
        ".is_transient(",
    ];
    for file in files {
        let place = file.strip_prefix(&src).unwrap();
        if place.starts_with("shared") || place.starts_with("managers") {
            continue;
        }
        let code = code(&file);
        for call in calls {
            assert!(!code.contains(call), "{} calls {call}", place.display());
        }
    }
}

#[test]
fn a_file_holds_one_idea() {
    for file in rust_files("src") {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= 400, "{} has {lines} lines", file.display());
    }
}

/// Words of a private vocabulary that the field has terms for.
const BANNED: &[&str] = &[
    "bell",
    "crew",
    "doomed",
    "errand",
    "hunger",
    "hungry",
    "letterbox",
    "loud",
    "naive",
    "newborn",
    "nudge",
    "nudged",
    "overtook",
    "poke",
    "poked",
    "road",
    "roads",
    "stray",
    "toil",
    "unheard",
    "vouched",
    "wellbeing",
    "withdrawn",
];

#[test]
fn the_vocabulary_is_that_of_the_field() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md")];
    for folder in ["src", "tests", "benches", "examples"] {
        files.extend(rust_files(folder));
    }
    let pages = fs::read_dir(root.join("src/docs")).unwrap();
    files.extend(pages.map(|page| page.unwrap().path()));
    let mut found = Vec::new();
    for file in files {
        if file.ends_with(Path::new(file!()).file_name().unwrap()) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let words = line.split(|c: char| !c.is_alphanumeric());
            for word in words.filter(|word| BANNED.contains(&word.to_lowercase().as_str())) {
                let place = file.strip_prefix(root).unwrap();
                found.push(format!("{}:{}: {word}", place.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The files that lie beside this one and that its code names as modules.
fn siblings(file: &Path, beside: &[PathBuf]) -> Vec<PathBuf> {
    let code = code(file);
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folder = file.parent().unwrap().strip_prefix(&src).unwrap();
    let mut prefix = String::from("crate::");
    for part in folder {
        prefix.push_str(part.to_str().unwrap());
        prefix.push_str("::");
    }
    let named = |other: &&PathBuf| {
        let name = other.file_stem().unwrap().to_str().unwrap();
        let paths = [format!("super::{name}::"), format!("{prefix}{name}::")];
        *other != file && paths.iter().any(|path| code.contains(path))
    };
    beside.iter().filter(named).cloned().collect()
}

#[test]
fn files_of_a_folder_import_each_other_one_way() {
    let mut folders: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for file in rust_files("src") {
        if file.ends_with("mod.rs") || file.ends_with("lib.rs") {
            continue;
        }
        let folder = file.parent().unwrap().to_owned();
        folders.entry(folder).or_default().push(file);
    }
    let mut cyclic = Vec::new();
    for files in folders.values() {
        let mut left: BTreeMap<_, _> = files
            .iter()
            .map(|file| (file.clone(), siblings(file, files)))
            .collect();
        // Whatever imports nothing that is left is no part of a cycle.
        while let Some(done) = (left.iter())
            .find(|(_, imports)| !imports.iter().any(|import| left.contains_key(import)))
            .map(|(file, _)| file.clone())
        {
            left.remove(&done);
        }
        cyclic.extend(left.into_keys().map(|file| file.display().to_string()));
    }
    assert!(cyclic.is_empty(), "part of a cycle:\n{}", cyclic.join("\n"));
}
