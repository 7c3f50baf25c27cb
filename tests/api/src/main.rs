//! `conpool-api RUSTDOC.json SNAPSHOT.txt [write]`
//!
//! Compares the public API in rustdoc's JSON with the snapshot, prints what is new and what is gone, and
//! fails if anything is; or writes the snapshot. Each line is one item with its whole signature, so that a
//! change of the API is a line in a review.
//!
//! Ends with 2 when the snapshot is another rustdoc's, whose spelling of the same API may differ.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    error::Error,
    fs,
    process::ExitCode,
};

/// What everybody knows a derive makes; the line of the `impl` says that it is there.
const OF_A_DERIVE: [&str; 6] = ["clone", "cmp", "eq", "fmt", "hash", "partial_cmp"];

/// Automatic traits that callers rely on. The others (`Freeze`, `Unpin`) say nothing about this crate.
const AUTOMATIC: [&str; 4] = ["Send", "Sync", "UnwindSafe", "RefUnwindSafe"];

/// Crates that a program has anyway.
const OURS: [&str; 4] = ["alloc", "conpool", "core", "std"];

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [json, snapshot, rest @ ..] = &arguments[..] else {
        return Err("usage: conpool-api RUSTDOC.json SNAPSHOT.txt [write]".into());
    };
    let format = format_of(json)?;
    let now = format!("# rustdoc {format}\n{}", api(json)?);
    if rest == ["write"] {
        fs::write(snapshot, now)?;
        return Ok(ExitCode::SUCCESS);
    }

    let before = fs::read_to_string(snapshot)?;
    if before.lines().next() != now.lines().next() {
        println!("the snapshot is not by rustdoc {format}");
        return Ok(ExitCode::from(2));
    }
    let gone = missing(&before, &now);
    let new = missing(&now, &before);
    for line in &gone {
        println!("- {line}");
    }
    for line in &new {
        println!("+ {line}");
    }
    if gone.is_empty() && new.is_empty() {
        println!(
            "the public API is as written: {} items",
            now.lines().count()
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} items are gone, {} are new", gone.len(), new.len());
    Ok(ExitCode::FAILURE)
}

/// The number of rustdoc's format.
fn format_of(json: &str) -> Result<u64, Box<dyn Error>> {
    let value: serde_json::Value = serde_json::from_slice(&fs::read(json)?)?;
    Ok(value["format_version"]
        .as_u64()
        .ok_or("no format_version")?)
}

/// The items, a line each, after the crates whose types they name.
fn api(json: &str) -> Result<String, Box<dyn Error>> {
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .build()?;
    let lines: Vec<String> = api
        .items()
        .map(|item| item.to_string())
        .filter(|line| is_told(line))
        .collect();
    let lines = once(&lines);

    let mut strangers = BTreeMap::<&str, usize>::new();
    for line in &lines {
        for name in crates(line) {
            *strangers.entry(name).or_default() += 1;
        }
    }
    let mut text = String::new();
    for (name, items) in strangers {
        text += &format!("# of the crate {name}, in {items} items\n");
    }
    for line in lines {
        text += line;
        text.push('\n');
    }
    Ok(text)
}

/// Each line once, the last time it comes: what is in the root is listed by the modules too, before it.
fn once(lines: &[String]) -> Vec<&str> {
    let root: BTreeSet<&str> = lines.iter().map(String::as_str).collect();
    let mut seen = BTreeSet::new();
    let mut kept: Vec<&str> = lines
        .iter()
        .rev()
        .map(String::as_str)
        .filter(|line| seen.insert(*line) && !is_of_the_root(line, &root))
        .collect();
    kept.reverse();
    kept
}

/// Whether a line about an item of a module of managers stands among those of the root.
fn is_of_the_root(line: &str, root: &BTreeSet<&str>) -> bool {
    let Some((before, path)) = line.split_once("conpool::managers::") else {
        return false;
    };
    let inner = path.split_once("::").map(|(_, rest)| rest);
    [Some(path), inner]
        .into_iter()
        .flatten()
        .any(|rest| root.contains(format!("{before}conpool::{rest}").as_str()))
}

/// Whether a line says more than another that must be there.
fn is_told(line: &str) -> bool {
    if line.starts_with("impl") {
        return automatic(line).is_none_or(|name| {
            AUTOMATIC.contains(&name) && (line.contains(" !") || line.contains(" where "))
        });
    }
    let derived = OF_A_DERIVE
        .iter()
        .any(|name| line.contains(&format!("::{name}(")) || line.contains(&format!("::{name}<__")));
    !derived
}

/// The automatic trait that an `impl` is of.
fn automatic(line: &str) -> Option<&str> {
    let (of, _) = line.split_once(" for ")?;
    let path = of.rsplit(' ').next()?.trim_start_matches('!');
    let name = path.rsplit("::").next()?;
    let of_them = path.starts_with("core::marker::") || path.starts_with("core::panic::");
    (of_them && name != "Copy").then_some(name)
}

/// The crates of others whose items a line names.
fn crates(line: &str) -> BTreeSet<&str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        .filter_map(|path| path.split_once("::"))
        .map(|(name, _)| name)
        .filter(|name| name.starts_with(|c: char| c.is_lowercase()) && !OURS.contains(name))
        .collect()
}

/// The lines of one text that the other does not have.
fn missing<'a>(of: &'a str, from: &str) -> Vec<&'a str> {
    let mut left = BTreeMap::<&str, usize>::new();
    for line in from.lines() {
        *left.entry(line).or_default() += 1;
    }
    of.lines()
        .filter(|line| match left.get_mut(line) {
            Some(count) if *count > 0 => {
                *count -= 1;
                false
            }
            _ => true,
        })
        .collect()
}
