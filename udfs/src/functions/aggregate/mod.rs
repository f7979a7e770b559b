//! Aggregates: rows in, one value out.

use std::sync::Arc;

use datafusion_expr::AggregateUDF;

use super::FunctionInfo;

mod collect;

/// Every aggregate.
pub(crate) fn all() -> Vec<Arc<AggregateUDF>> {
    collect::all().into_iter().map(|function| Arc::new(AggregateUDF::new_from_impl(function))).collect()
}

/// What there is to say about them.
pub(crate) fn all_info() -> Vec<FunctionInfo> {
    collect::all().iter().map(collect::Collect::info).collect()
}
