//! A pool for each database file, whatever the file is called.

use crate::common;
use crate::sqlite;

use common::{SOON, secs};
use conpool::{IsolationLevel, KeyedPool, SqliteManager, SqlitePath, TransactionError, rusqlite};
use sqlite::{Folder, id, number};
use std::{collections::HashSet, fs, io, path::Path};

fn files() -> KeyedPool<SqlitePath, SqliteManager> {
    KeyedPool::builder()
        .max_total(8)
        .max_per_key(2)
        .get_timeout(secs(30))
        .build(SqlitePath::manager)
        .unwrap()
}

fn path(path: impl AsRef<Path>) -> SqlitePath {
    SqlitePath::new(path).unwrap()
}

#[test]
fn ways_to_one_file_are_one_key_before_it_exists_and_after() {
    let folder = Folder::new();
    fs::create_dir(folder.file("sub")).unwrap();
    let ways = || {
        [
            folder.file("a.db"),
            folder.file("./a.db"),
            folder.file("sub/../a.db"),
        ]
        .map(path)
    };
    let before = HashSet::from(ways());
    assert_eq!(before.len(), 1);
    fs::write(folder.file("a.db"), "").unwrap();
    assert_eq!(HashSet::from(ways()), before);
    let resolved = before.into_iter().next().unwrap();
    assert!(resolved.as_path().is_absolute());
    assert_eq!(resolved.as_ref(), resolved.as_path());
    assert_eq!(
        resolved.to_string(),
        resolved.as_path().display().to_string()
    );
    assert_ne!(path(folder.file("b.db")), resolved);
}

#[test]
fn a_relative_path_is_one_from_the_current_folder() {
    let here = std::env::current_dir().unwrap();
    assert_eq!(path("nobody.db"), path(here.join("nobody.db")));
    assert_eq!(path("./nobody.db"), path("nobody.db"));
}

#[cfg(unix)]
#[test]
fn symbolic_links_lead_to_the_file_before_it_exists_and_after() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new();
    symlink(folder.file("a.db"), folder.file("link.db")).unwrap();
    symlink("link.db", folder.file("relative.db")).unwrap();
    symlink(&*folder, folder.file("self")).unwrap();
    let ways = || {
        ["a.db", "link.db", "relative.db", "self/self/link.db"].map(|way| path(folder.file(way)))
    };
    let before = HashSet::from(ways());
    assert_eq!(before.len(), 1, "{before:?}");
    fs::write(folder.file("a.db"), "").unwrap();
    assert_eq!(HashSet::from(ways()), before);

    symlink(folder.file("round"), folder.file("about")).unwrap();
    symlink(folder.file("about"), folder.file("round")).unwrap();
    SqlitePath::new(folder.file("round")).unwrap_err();
}

#[test]
fn a_path_that_leads_nowhere_is_an_error() {
    let folder = Folder::new();
    let error = SqlitePath::new(folder.file("nowhere/a.db")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let error = SqlitePath::new("").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let error = SqlitePath::new(folder.file("nowhere/..")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn each_file_has_a_pool_and_each_way_to_it_the_same() {
    let folder = Folder::new();
    let files = files();
    let keys = ["a.db", "b.db", "./a.db"].map(|name| path(folder.file(name)));
    for (n, key) in (1..).zip(&keys) {
        let said = files.transaction(key, IsolationLevel::Immediate, |tx| {
            tx.execute_batch("CREATE TABLE IF NOT EXISTS t (n INTEGER)")?;
            tx.execute("INSERT INTO t VALUES (?1)", [n])
        });
        said.unwrap();
    }
    assert_eq!(files.keys().len(), 2);
    let sum = |key| number(&files.get(key).unwrap(), "SELECT sum(n) FROM t");
    assert_eq!((sum(&keys[0]), sum(&keys[1])), (4, 2));
    // The very same connection.
    let first = id(&files.get(&keys[0]).unwrap());
    assert_eq!(id(&files.get(&keys[2]).unwrap()), first);
    files.close_timeout(SOON).unwrap();
    let said = files.transaction(&keys[0], IsolationLevel::Deferred, |_| {
        Ok::<_, rusqlite::Error>(())
    });
    assert!(matches!(said, Err(TransactionError::Get(_))));
}

#[test]
fn the_total_holds_over_all_files() {
    let folder = Folder::new();
    let files = KeyedPool::builder()
        .max_total(2)
        .build(SqlitePath::manager)
        .unwrap();
    for n in 0..6 {
        let key = path(folder.file(&format!("{n}.db")));
        let held = files.get_timeout(&key, SOON).unwrap();
        assert_eq!(number(&held, "SELECT 7"), 7);
    }
    assert!(files.stats().size <= 2);
    files.close_timeout(SOON).unwrap();
}
