//! A folder for a server's files.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::process::User;

/// A folder with access for its owner only, removed on drop.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(owner: Option<&User>) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "conpool-live-{}-{}",
            process::id(),
            COUNT.fetch_add(1, Relaxed)
        );
        let folder = Self(env::temp_dir().join(name));
        fs::create_dir(&folder.0).expect("a new folder");
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o700)).expect("it is mine");
        if let Some(User { uid, gid }) = owner {
            chown(&folder.0, Some(*uid), Some(*gid)).expect("root may give it away");
        }
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
