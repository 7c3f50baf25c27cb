//! The rooms of the house and the direction of its imports, checked on the sources themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every room of src/ and the rooms it may import from.
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
    ("stats", &["event", "health", "rounded"]),
    // As a user's observer: only what is public.
    ("metrics", &["event", "stats"]),
    ("error", &["config", "info", "rounded"]),
    ("engine", &["sync"]),
    ("workers", &["clock", "foreign", "sync"]),
    (
        "shared",
        &[
            "clock", "config", "engine", "error", "event", "foreign", "health", "info", "manager",
            "stats", "sync", "workers",
        ],
    ),
    ("guard", &["info", "manager", "shared"]),
    (
        "pool",
        &[
            "config", "error", "guard", "health", "info", "manager", "shared", "stats",
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
            "builder", "clock", "config", "error", "event", "foreign", "guard", "health", "info",
            "manager", "shared", "stats", "sync", "workers",
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

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

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

/// Which room each name at the crate root comes from.
fn roots(lib: &str) -> BTreeMap<String, String> {
    let mut roots = BTreeMap::new();
    for line in lib.split("pub use ").skip(1) {
        let line = line.split(';').next().unwrap();
        let (room, names) = line.split_once("::").unwrap();
        for name in names.trim_matches(['{', '}', '\n']).split(',') {
            roots.insert(name.trim().to_owned(), room.to_owned());
        }
    }
    roots
}

#[test]
fn imports_point_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let roots = roots(&code(&src.join("lib.rs")));
    let allowed: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    // No cycle among the allowed directions: each room imports only from those above it.
    let mut above = BTreeSet::new();
    for (room, from) in MAY_IMPORT {
        for import in *from {
            assert!(
                above.contains(import),
                "{room} -> {import} points down or in a circle"
            );
        }
        above.insert(*room);
    }
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let place = file.strip_prefix(&src).unwrap();
        let room = place
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap();
        let room = room.trim_end_matches(".rs");
        if room == "lib" {
            continue;
        }
        let Some(may) = allowed.get(room) else {
            wrong.push(format!("{room} is a room that MAY_IMPORT does not know"));
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
            if from != room && !may.contains(&from) {
                wrong.push(format!("{}: {room} -> {from}", place.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn hooks_are_called_in_one_room_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
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
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    for file in files {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= 450, "{} has {lines} lines", file.display());
    }
}
