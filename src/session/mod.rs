//! WHO: one client, its settings, transaction, prepared statements, portals and cursors.
//!
//! The server speaks protocol and calls: [`Session::parse`] → [`Session::bind`] → [`Session::execute`], then
//! [`Session::sync`] (extended), or [`Session::begin_simple`] … [`Session::end_simple`] around them (simple query).

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::execution::SendableRecordBatchStream;
use tidemill_udfs::types::{SqlType, TextSettings};

use crate::Result;
use crate::error::Report;
use crate::instance::{Instance, SessionHandle};
use crate::statement::parse::Parsed;

/// The settings of a session: GUCs, their defaults, units and transaction-local values.
pub mod settings;

/// Who logs in, as the startup packet and authentication said.
#[derive(Debug, Clone)]
pub struct Login {
    /// Role name.
    pub user: String,
    /// Database name.
    pub database: String,
    /// Startup parameters other than user and database (`application_name`, `options` already split into settings, …).
    pub parameters: Vec<(String, String)>,
}

/// One client.
pub struct Session {
    /// The server.
    pub instance: Arc<Instance>,
    /// This client as others see it.
    pub handle: Arc<SessionHandle>,
}

/// ReadyForQuery's status byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    /// `I`
    Idle,
    /// `T`
    Active,
    /// `E`
    Failed,
}

/// A prepared statement: parsed, its parameters typed, its result described. Made by [`Session::parse`].
#[derive(Debug)]
pub struct Prepared {
    /// The statement; `None` for an empty query string.
    pub parsed: Option<Parsed>,
    /// Types of `$1…$n`.
    pub parameters: Vec<SqlType>,
    /// Columns of the result; `None`: it returns no rows (NoData).
    pub columns: Option<Vec<Column>>,
}

/// A result column, as RowDescription tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub sql_type: SqlType,
    /// The table it comes from; 0: none.
    pub table_oid: u32,
    /// Its number there; 0: none.
    pub attribute: i16,
}

/// A parameter's value as Bind sent it.
#[derive(Debug, Clone)]
pub enum Parameter {
    /// NULL.
    Null,
    /// Text format.
    Text(bytes::Bytes),
    /// Binary format.
    Binary(bytes::Bytes),
}

/// A bound statement, ready to run or running.
pub struct Portal {
    /// The statement.
    pub prepared: Arc<Prepared>,
    /// The requested format of each result column: empty: all text; one: for all; else one per column. 0 text, 1 binary.
    pub result_formats: Vec<i16>,
    /// Columns of its result: as the prepared ones, or as the plan at Bind has them.
    pub columns: Option<Vec<Column>>,
}

/// What executing gives. Streams hold no borrow of the session and end with an error when the statement is cancelled.
pub enum Outcome {
    /// Rows. When the stream ended the tag is `SELECT n` etc. by [`RowsTag`].
    Rows {
        /// Batches whose columns fit `columns` by position.
        stream: SendableRecordBatchStream,
        /// The columns.
        columns: Vec<Column>,
        /// How the command tag is made.
        tag: RowsTag,
    },
    /// No rows: the tag.
    Command(String),
    /// COPY FROM STDIN: the server sends CopyInResponse, then feeds it.
    CopyIn(Box<dyn CopyIn>),
    /// COPY TO STDOUT: the server sends CopyOutResponse, then CopyData for each item, then `COPY n`.
    CopyOut(CopyOut),
    /// EmptyQueryResponse.
    Empty,
}

/// How a row-returning statement's command tag is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowsTag {
    /// The word, then the number of rows sent: `SELECT 5`, `FETCH 5`.
    Counted(&'static str),
    /// The whole tag, known before: `INSERT 0 5` with RETURNING, `EXPLAIN`, `SHOW`.
    Fixed(String),
}

/// Receives COPY data.
#[async_trait::async_trait]
pub trait CopyIn: Send {
    /// True for the binary format.
    fn binary(&self) -> bool;
    /// Number of columns.
    fn columns(&self) -> usize;
    /// Takes bytes as they come, cut anywhere. Waits while the engine is behind (back-pressure).
    async fn write(&mut self, bytes: bytes::Bytes) -> Result<()>;
    /// CopyDone: makes the rows durable (or part of the open transaction); the command tag.
    async fn finish(self: Box<Self>, session: &mut Session) -> Result<String>;
    // CopyFail or a vanished client: drop it.
}

/// Gives COPY data.
pub struct CopyOut {
    /// True for the binary format.
    pub binary: bool,
    /// Number of columns.
    pub columns: usize,
    /// Chunks of bytes with the number of rows in each; each becomes CopyData messages, one per row where `row_ends` tells.
    pub stream: futures::stream::BoxStream<'static, Result<CopyChunk>>,
}

/// Some rows of COPY output.
#[derive(Debug, Clone)]
pub struct CopyChunk {
    /// The bytes.
    pub bytes: bytes::Bytes,
    /// Where each row ends in `bytes`: psql and drivers expect one CopyData per row.
    pub row_ends: Vec<usize>,
    /// How many of them count as rows (a header line does not).
    pub rows: u64,
}

impl Session {
    /// Begins a session for an authenticated client: 3D000 for an unknown database, 42501/53300 where refused.
    pub fn start(instance: Arc<Instance>, handle: Arc<SessionHandle>, login: Login) -> Result<Self> {
        let _ = login;
        Ok(Self { instance, handle })
    }

    /// ReadyForQuery's status.
    pub fn status(&self) -> TransactionStatus {
        todo!()
    }

    /// Notices raised since the last call, oldest first: the server sends them before the next response.
    pub fn take_notices(&mut self) -> Vec<(&'static str, Report)> {
        todo!()
    }

    /// Reported settings that changed since the last call (all of them after [`Self::start`]): ParameterStatus.
    pub fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        todo!()
    }

    /// How values print for this session now.
    pub fn text_settings(&mut self) -> Arc<TextSettings> {
        todo!()
    }

    /// A setting that is a time, milliseconds; `None`: 0 (off), or no such setting.
    pub fn timeout_ms(&self, name: &str) -> Option<u64> {
        let _ = name;
        todo!()
    }

    /// Prepares one statement. `types`: what the client declared; missing or `Unknown` ones are inferred.
    pub async fn parse(&mut self, statement: Option<Parsed>, types: &[SqlType]) -> Result<Arc<Prepared>> {
        let _ = (statement, types);
        todo!()
    }

    /// Stores a prepared statement under a name ("" is the unnamed one): 42P05 if a named one exists.
    pub fn store_statement(&mut self, name: &str, prepared: Arc<Prepared>) -> Result<()> {
        let _ = (name, prepared);
        todo!()
    }

    /// The prepared statement of that name: 26000 if there is none.
    pub fn statement(&self, name: &str) -> Result<Arc<Prepared>> {
        let _ = name;
        todo!()
    }

    /// Close (statement): no error if there is none.
    pub fn close_statement(&mut self, name: &str) {
        let _ = name;
        todo!()
    }

    /// Binds values: plans with them. 08P01 for a wrong number, 22P02/22P03 for a bad value.
    pub async fn bind(
        &mut self,
        prepared: &Arc<Prepared>,
        parameters: Vec<Parameter>,
        result_formats: Vec<i16>,
    ) -> Result<Portal> {
        let _ = (prepared, parameters, result_formats);
        todo!()
    }

    /// Runs a portal from its beginning. The transaction state moves as PostgreSQL's does; an error marks the transaction
    /// failed. The caller keeps the outcome while it suspends the portal (max_rows).
    pub async fn execute(&mut self, portal: &Portal) -> Result<Outcome> {
        let _ = portal;
        todo!()
    }

    /// A statement failed after [`Self::execute`] returned (in its stream, or in the protocol): marks the transaction.
    pub fn fail(&mut self) {
        todo!()
    }

    /// Begins a simple query string of `statements` statements: several form one implicit transaction.
    pub fn begin_simple(&mut self, statements: usize) {
        let _ = statements;
        todo!()
    }

    /// The client's next message is Sync: the next statement may commit before it is answered.
    pub fn expect_sync(&mut self) {
        todo!()
    }

    /// Commits the implicit transaction, if no explicit one is open: at the end of a simple query string, and at Sync.
    pub async fn sync(&mut self) -> Result<()> {
        todo!()
    }

    /// Ends the session: rolls back, drops temporary tables.
    pub fn end(self) {}
}

/// A map of portals by name, kept by the server; SQL cursors live in the session.
pub type Portals = HashMap<String, Portal>;
