//! Errors as the client sees them: SQLSTATE, message, detail, hint, position. The only file that knows SQLSTATEs of
//! errors from below.

use datafusion::error::DataFusionError;
pub use tokio_postgres::error::SqlState;

/// Shorthand for this crate's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error for the client.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .0.message)]
pub struct Error(Box<Report>);

/// The fields of an ErrorResponse or NoticeResponse.
#[derive(Debug, Clone)]
pub struct Report {
    /// SQLSTATE.
    pub code: SqlState,
    /// Primary message: lower case, no full stop.
    pub message: String,
    /// One or more sentences.
    pub detail: Option<String>,
    /// A sentence that can be acted on.
    pub hint: Option<String>,
    /// Character (not byte) in the query's text, from 1.
    pub position: Option<usize>,
    /// Where in PL or SQL the error arose.
    pub context: Option<String>,
    /// The table, column, constraint a constraint error is about.
    pub schema: Option<String>,
    /// See `schema`.
    pub table: Option<String>,
    /// See `schema`.
    pub column: Option<String>,
    /// See `schema`.
    pub constraint: Option<String>,
    /// Byte offset in the statement's text while it is not yet turned into `position`.
    pub offset: Option<usize>,
    /// FATAL: the session ends after it.
    pub fatal: bool,
}

impl Error {
    /// An error with that SQLSTATE and primary message.
    pub fn new(code: SqlState, message: impl Into<String>) -> Self {
        Self(Box::new(Report {
            code,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            context: None,
            schema: None,
            table: None,
            column: None,
            constraint: None,
            offset: None,
            fatal: false,
        }))
    }

    /// 0A000: what Tidemill does not do.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(SqlState::FEATURE_NOT_SUPPORTED, message)
    }

    /// XX000: a bug of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(SqlState::INTERNAL_ERROR, message)
    }

    /// With a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// With a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// At a byte offset of the statement's text.
    #[must_use]
    pub fn at(mut self, offset: usize) -> Self {
        self.0.offset.get_or_insert(offset);
        self
    }

    /// Ends the session.
    #[must_use]
    pub fn fatal(mut self) -> Self {
        self.0.fatal = true;
        self
    }

    /// The fields.
    pub fn report(&self) -> &Report {
        &self.0
    }

    /// The fields, to add to.
    pub fn report_mut(&mut self) -> &mut Report {
        &mut self.0
    }

    /// SQLSTATE.
    pub fn code(&self) -> &SqlState {
        &self.0.code
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        Self::internal(error.to_string())
    }
}

impl From<tidemill_catalog::Error> for Error {
    fn from(error: tidemill_catalog::Error) -> Self {
        Self::internal(error.to_string())
    }
}

impl From<tidemill_udfs::types::ValueError> for Error {
    fn from(error: tidemill_udfs::types::ValueError) -> Self {
        let mut result = Self::new(SqlState::from_code(error.code), error.message);
        result.0.detail = error.detail;
        result.0.hint = error.hint;
        result
    }
}
