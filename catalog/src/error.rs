//! What can go wrong, by what the caller can do about it.

use crate::Oid;

/// Shorthand for this crate's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the catalog or the storage beneath it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No object of that name or oid. `kind` is PostgreSQL's word: `relation`, `schema`, `database`, `role`.
    #[error("{kind} \"{name}\" does not exist")]
    NotFound {
        /// `relation`, `schema`, `database`, `role`.
        kind: &'static str,
        /// Its name as the user wrote it.
        name: String,
    },
    /// The name is taken.
    #[error("{kind} \"{name}\" already exists")]
    AlreadyExists {
        /// `relation`, `schema`, `database`, `role`.
        kind: &'static str,
        /// The taken name.
        name: String,
    },
    /// Another transaction committed first (40001): retry the whole transaction.
    #[error("could not serialize access due to concurrent update")]
    Conflict {
        /// The object both touched.
        oid: Oid,
        /// What was in the way, for the log and the error's detail.
        detail: String,
    },
    /// The change is not allowed: bad table option, too many columns, unsupported type.
    #[error("{0}")]
    Invalid(String),
    /// A limit of memory or disk: the message says which.
    #[error("{0}")]
    OutOfResources(String),
    /// The disk is full (53100): nothing was acknowledged, reads go on.
    #[error("could not write \"{path}\": no space left on device")]
    DiskFull {
        /// The file being written.
        path: String,
    },
    /// The log failed; nothing more will be acknowledged, the process must be restarted.
    #[error("write-ahead log failed: {0}")]
    Poisoned(String),
    /// Stored bytes are not what was written.
    #[error("data corrupted in \"{path}\": {detail}")]
    Corrupt {
        /// The damaged file.
        path: String,
        /// Offset and what was found.
        detail: String,
    },
    /// The data directory is in use by another server.
    #[error("data directory \"{0}\" is in use by another server")]
    Locked(String),
    /// Input or output failed.
    #[error("could not access \"{path}\": {source}")]
    Io {
        /// The file or folder.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Arrow or Parquet failed.
    #[error(transparent)]
    DataFusion(#[from] datafusion_common::DataFusionError),
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::DataFusion(error.into())
    }
}

impl From<parquet::errors::ParquetError> for Error {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Self::DataFusion(error.into())
    }
}

impl From<Error> for datafusion_common::DataFusionError {
    fn from(error: Error) -> Self {
        match error {
            Error::DataFusion(error) => error,
            error => Self::External(Box::new(error)),
        }
    }
}
