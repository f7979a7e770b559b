//! Physical operators that DataFusion does not have: record batches in, record batches out. Knows nothing of the server, of
//! SQL's types or of tables.

mod asof;

pub use asof::{AsofJoinExec, AsofOp};
