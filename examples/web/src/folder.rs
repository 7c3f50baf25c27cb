//! The folder of the database, which can be taken away.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process,
};

/// A temporary folder with the folder of the database in it. It is removed on drop.
pub(crate) struct Folder {
    outer: PathBuf,
}

impl Folder {
    pub(crate) fn new() -> io::Result<Self> {
        let outer = env::temp_dir().join(format!("conpool-web-{}", process::id()));
        fs::create_dir_all(outer.join("data"))?;
        Ok(Self { outer })
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.here().join("notes.db")
    }

    pub(crate) fn take_away(&self) -> io::Result<()> {
        fs::rename(self.here(), self.away())
    }

    pub(crate) fn bring_back(&self) -> io::Result<()> {
        fs::rename(self.away(), self.here())
    }

    fn here(&self) -> PathBuf {
        self.outer.join("data")
    }

    fn away(&self) -> PathBuf {
        self.outer.join("away")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(Path::new(&self.outer));
    }
}
