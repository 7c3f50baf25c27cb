//! The service: notes to read and to write, and a report that takes long.

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use conpool::{
    GetError, Interact, InteractError, Pool, SqliteConnection, SqliteError, SqliteManager, rusqlite,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

#[derive(Clone)]
pub(crate) struct Service {
    pool: Pool<SqliteManager>,
    pub(crate) handlers: Arc<Handlers>,
}

/// The handlers that touched the database.
#[derive(Default)]
pub(crate) struct Handlers {
    pub(crate) begun: AtomicU64,
    pub(crate) answered: AtomicU64,
    /// axum drops the future of a handler when its client hangs up.
    pub(crate) dropped: AtomicU64,
}

impl Service {
    pub(crate) fn new(pool: Pool<SqliteManager>) -> Self {
        let handlers = Arc::default();
        Self { pool, handlers }
    }

    pub(crate) fn routes(&self) -> Router {
        Router::new()
            .route("/notes", post(write))
            .route("/notes/{id}", get(read))
            .route("/report", get(report))
            .with_state(self.clone())
    }

    /// Awaits a closure on a connection.
    async fn answer<T: Send>(
        &self,
        closure: Interact<SqliteManager, rusqlite::Result<T>>,
    ) -> Result<T, Failed> {
        let mut handler = Handler::enter(&self.handlers);
        let outcome = closure.await;
        handler.has_answer = true;
        Ok(outcome??)
    }
}

async fn read(State(service): State<Service>, Path(id): Path<i64>) -> Result<String, Failed> {
    let closure = service.pool.interact(move |connection| {
        let mut statement = connection.prepare_cached("SELECT text FROM notes WHERE id = ?1")?;
        statement.query_row([id], |row| row.get(0))
    });
    service.answer(closure).await
}

async fn write(State(service): State<Service>, text: String) -> Result<String, Failed> {
    let closure = service.pool.interact(move |connection| {
        connection.execute("INSERT INTO notes (text) VALUES (?1)", [text])?;
        Ok(connection.last_insert_rowid().to_string())
    });
    service.answer(closure).await
}

async fn report(State(service): State<Service>) -> Result<String, Failed> {
    let query = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
                 SELECT sum(i % 7) FROM n";
    let sum = move |connection: &mut SqliteConnection| {
        connection.query_row(query, [], |row| row.get::<_, i64>(0))
    };
    // Nobody reads the report of a client that has hung up, so its query ends.
    let closure = service.pool.interact(sum).interrupt_on_drop();
    Ok(service.answer(closure).await?.to_string())
}

struct Handler<'a> {
    handlers: &'a Handlers,
    has_answer: bool,
}

impl<'a> Handler<'a> {
    fn enter(handlers: &'a Handlers) -> Self {
        handlers.begun.fetch_add(1, Relaxed);
        let has_answer = false;
        Self {
            handlers,
            has_answer,
        }
    }
}

impl Drop for Handler<'_> {
    fn drop(&mut self) {
        let counter = match self.has_answer {
            true => &self.handlers.answered,
            false => &self.handlers.dropped,
        };
        counter.fetch_add(1, Relaxed);
    }
}

/// Why a request failed. Its text is the body of the answer.
pub(crate) enum Failed {
    Interact(InteractError<SqliteError>),
    Statement,
}

impl From<InteractError<SqliteError>> for Failed {
    fn from(error: InteractError<SqliteError>) -> Self {
        Self::Interact(error)
    }
}

impl From<rusqlite::Error> for Failed {
    fn from(_: rusqlite::Error) -> Self {
        Self::Statement
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let (status, kind) = match &self {
            Self::Interact(InteractError::Get(error)) => {
                let kind = match error {
                    GetError::TimedOut(_) => "no connection in time",
                    GetError::Create { .. } => "no database",
                    _ => "no connection",
                };
                (StatusCode::SERVICE_UNAVAILABLE, kind)
            }
            Self::Interact(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the closure panicked"),
            Self::Statement => (StatusCode::INTERNAL_SERVER_ERROR, "the statement failed"),
        };
        (status, kind).into_response()
    }
}
