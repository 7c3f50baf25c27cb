//! A memory manager whose connections hold a descriptor each, so that a lost one shows.

use conpool::{ConnectionManager, MemoryConnection, MemoryError, MemoryManager};
use std::{
    fs::File,
    ops::{Deref, DerefMut},
};

pub(crate) struct WiredManager(pub(crate) MemoryManager);

#[derive(Debug)]
pub(crate) struct Wired {
    connection: MemoryConnection,
    _file: File,
}

impl Deref for Wired {
    type Target = MemoryConnection;

    fn deref(&self) -> &MemoryConnection {
        &self.connection
    }
}

impl DerefMut for Wired {
    fn deref_mut(&mut self) -> &mut MemoryConnection {
        &mut self.connection
    }
}

impl ConnectionManager for WiredManager {
    type Connection = Wired;
    type Error = MemoryError;

    fn create(&self) -> Result<Wired, MemoryError> {
        Ok(Wired {
            _file: File::open("/dev/null").expect("a descriptor"),
            connection: self.0.create()?,
        })
    }

    fn check_aliveness(&self, wired: &mut Wired) -> Result<(), MemoryError> {
        self.0.check_aliveness(wired)
    }

    fn dispose(&self, wired: Wired) {
        self.0.dispose(wired.connection);
    }

    fn has_broken(&self, wired: &mut Wired) -> bool {
        self.0.has_broken(wired)
    }

    fn on_checkout(&self, wired: &mut Wired) -> Result<(), MemoryError> {
        self.0.on_checkout(wired)
    }

    fn on_checkin(&self, wired: &mut Wired) -> Result<(), MemoryError> {
        self.0.on_checkin(wired)
    }

    fn is_transient(&self, error: &MemoryError) -> bool {
        self.0.is_transient(error)
    }

    fn check_may_block(&self) -> bool {
        self.0.check_may_block()
    }
}
