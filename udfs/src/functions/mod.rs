//! SQL functions that DataFusion does not have, or has with other than PostgreSQL's meaning.

use datafusion_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use std::sync::Arc;

/// Every scalar function.
pub fn all_scalar() -> Vec<Arc<ScalarUDF>> {
    vec![]
}

/// Every aggregate function.
pub fn all_aggregate() -> Vec<Arc<AggregateUDF>> {
    vec![]
}

/// Every window function.
pub fn all_window() -> Vec<Arc<WindowUDF>> {
    vec![]
}
