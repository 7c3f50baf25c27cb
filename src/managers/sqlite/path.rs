//! One name for each database file.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use super::SqliteManager;

/// The resolved path of a database file, for a [`KeyedPool`](crate::KeyedPool) with a pool for each
/// file: `a.db`, `./a.db` and a symbolic link to it are equal.
///
/// A file that does not exist yet is fine; its folder must exist. Hard links are different files to it,
/// as they are to SQLite, which must not be given one database under two names: their journals would
/// not meet. Where the file system takes large and small letters for the same, a file that does not
/// exist yet is known by the letters it was given.
///
/// ```
/// use conpool::{IsolationLevel, KeyedPool, SqlitePath, rusqlite};
///
/// # let folder = std::env::temp_dir().join(format!("conpool-doc-path-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// let databases = KeyedPool::builder()
///     .max_total(20)
///     .max_per_key(4)
///     .build(SqlitePath::manager)?;
///
/// let customer = SqlitePath::new(folder.join("customer-7.db"))?;
/// databases.transaction(&customer, IsolationLevel::Immediate, |tx| {
///     tx.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY); INSERT INTO orders VALUES (1)")
/// })?;
///
/// // Another way to the same file, so the same pool.
/// let again = SqlitePath::new(folder.join(".").join("customer-7.db"))?;
/// let orders: i64 = databases
///     .get(&again)?
///     .query_row("SELECT count(*) FROM orders", [], |row| row.get(0))?;
/// assert_eq!((orders, databases.keys().len()), (1, 1));
/// # databases.close_timeout(std::time::Duration::from_secs(5))?;
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Other settings than the defaults: `.build(|path: &SqlitePath| path.manager().read_only(true))`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SqlitePath(PathBuf);

/// As many symbolic links in a row as Linux follows.
const LINKS: usize = 40;

impl SqlitePath {
    /// Resolves a path, as things are now.
    ///
    /// # Errors
    ///
    /// The system's, where the folder does not exist or may not be looked into; `InvalidInput` where the
    /// path does not end in a name.
    pub fn new(path: impl AsRef<Path>) -> io::Result<Self> {
        let mut path = path.as_ref().to_owned();
        for _ in 0..LINKS {
            match fs::canonicalize(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                resolved => return resolved.map(Self),
            }
            let missing = in_its_folder(&path)?;
            match fs::read_link(&missing) {
                // A link to a file that is still to be made: SQLite will make it there.
                Ok(target) => path = missing.with_file_name(target),
                Err(_) => return Ok(Self(missing)),
            }
        }
        Err(io::Error::other("too many symbolic links"))
    }

    /// The path, absolute and without symbolic links.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// A manager for the file, with the defaults of [`SqliteManager::file`].
    pub fn manager(&self) -> SqliteManager {
        SqliteManager::file(&self.0)
    }
}

/// The path of a file that does not exist, in a folder that does.
fn in_its_folder(path: &Path) -> io::Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path does not end in the name of a file",
        ));
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    Ok(fs::canonicalize(folder)?.join(name))
}

impl AsRef<Path> for SqlitePath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for SqlitePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}
