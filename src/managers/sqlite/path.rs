//! One key for each database file.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use super::SqliteManager;

/// The resolved path of a database file, as the key of a [`KeyedPool`](crate::KeyedPool) with a pool for each
/// file: `a.db`, `./a.db` and a symbolic link to it are equal.
///
/// The file need not exist yet, but its folder must. Hard links count as different files, as they do for
/// SQLite. Do not open one database under two hard links, because each would have its own journal. On a file
/// system that ignores case, a file that does not exist yet is identified by the case of the given path.
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
/// // A different path to the same file selects the same pool.
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
/// For other settings than the defaults: `.build(|path: &SqlitePath| path.manager().read_only(true))`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SqlitePath(PathBuf);

/// The number of symbolic links that Linux follows.
const LINKS: usize = 40;

impl SqlitePath {
    /// Resolves a path in its current state.
    ///
    /// # Errors
    ///
    /// Returns the system's error if the folder does not exist or is not accessible, and `InvalidInput` if
    /// the path does not end in a name.
    pub fn new(path: impl AsRef<Path>) -> io::Result<Self> {
        let mut path = path.as_ref().to_owned();
        for _ in 0..LINKS {
            match fs::canonicalize(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                resolved => return resolved.map(Self),
            }
            let missing = in_its_folder(&path)?;
            match fs::read_link(&missing) {
                // A link to a file that does not exist yet: SQLite creates the file at the target.
                Ok(target) => path = missing.with_file_name(target),
                Err(_) => return Ok(Self(missing)),
            }
        }
        Err(io::Error::other("too many symbolic links"))
    }

    /// Returns the path, absolute and without symbolic links.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// Returns a manager for the file, with the defaults of [`SqliteManager::file`].
    pub fn manager(&self) -> SqliteManager {
        SqliteManager::file(&self.0)
    }
}

/// Resolves the path of a file that does not exist in a folder that does.
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
