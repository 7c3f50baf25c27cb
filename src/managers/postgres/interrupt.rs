//! The interrupter of a session: asks the server to cancel the running statement.

use super::tls::Connector;
use crate::Interrupt;
use ::postgres::CancelToken;
use std::sync::Arc;

pub(super) struct Cancel {
    pub(super) connector: Arc<dyn Connector>,
    pub(super) token: CancelToken,
}

impl Interrupt for Cancel {
    fn interrupt(&self) {
        // A server that cannot be reached cannot be asked, and a session that has ended already needs no request.
        let _ = self.connector.cancel(&self.token);
    }
}
