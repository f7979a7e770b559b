//! SQL functions that DataFusion does not have, or has with other than PostgreSQL's meaning.
//!
//! One folder per family; each lists its functions in `all()` with the words that document them. A function's body reads
//! Arrow arrays through [`call::Call`]; what a function is called and takes is written with [`define::def`].

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion_expr::{AggregateUDF, ScalarUDF, WindowUDF};

mod aggregate;
pub use aggregate::{FirstRow, decided_by};
mod array;
mod call;
mod define;
mod json;
mod math;
mod number;
mod preimage;
mod series;
mod system;
mod text;
mod time;
pub use time::bucket::Bucket;
pub use time::round_time;
mod values;
mod window;

#[cfg(test)]
mod tests;

/// A function, for people: what `tidemill.functions` and the documentation show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionInfo {
    /// The name.
    pub name: &'static str,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// scalar, aggregate or window
    pub kind: &'static str,
    /// `left(text, int4) → text`, one for each signature.
    pub signatures: Vec<String>,
    /// A sentence.
    pub description: &'static str,
    /// An expression that shows it.
    pub example: &'static str,
}

fn scalars() -> Vec<define::Function> {
    let families = [json::all(), text::all(), time::all(), math::all(), array::all(), system::all()];
    families.into_iter().chain([series::all(), aggregate::accessors()]).flatten().collect()
}

/// Every scalar function.
pub fn all_scalar() -> Vec<Arc<ScalarUDF>> {
    scalars().into_iter().map(|function| Arc::new(ScalarUDF::new_from_impl(function))).collect()
}

/// Every aggregate function.
pub fn all_aggregate() -> Vec<Arc<AggregateUDF>> {
    aggregate::all()
}

/// `avg` of smallint, integer, bigint or numeric: exact, with as many digits as PostgreSQL gives.
pub fn exact_average() -> Arc<AggregateUDF> {
    aggregate::average::exact()
}

/// `var`, `var_pop`, `stddev` or `stddev_pop` of smallint, integer, bigint or numeric, exact; `None` for another name.
pub fn exact_variance(name: &str) -> Option<Arc<AggregateUDF>> {
    aggregate::variance::exact(name)
}

/// `sum` of real, which is real.
pub fn real_sum() -> Arc<AggregateUDF> {
    aggregate::real::sum()
}

/// `sum`, `avg`, `min` or `max` of intervals; `None` for another name.
pub fn interval_aggregate(name: &str) -> Option<Arc<AggregateUDF>> {
    aggregate::intervals::interval(name)
}

/// Every window function that DataFusion does not have: its own have PostgreSQL's meaning.
pub fn all_window() -> Vec<Arc<WindowUDF>> {
    window::all()
}

/// What there is to say about every function of these lists.
pub fn all_info() -> Vec<FunctionInfo> {
    let mut all: Vec<FunctionInfo> = scalars().iter().map(define::Function::info).collect();
    all.extend(aggregate::all_info());
    all.extend(window::all_info());
    all.sort_by_key(|info| info.name);
    all
}

/// The type that values of both types can be cast to without losing meaning, as for `anyelement` and GREATEST.
fn common_type(a: &DataType, b: &DataType) -> Option<DataType> {
    if a == b {
        return Some(a.clone());
    }
    match (a, b) {
        (DataType::Null, other) | (other, DataType::Null) => Some(other.clone()),
        (DataType::Utf8View, other) | (other, DataType::Utf8View) => Some(other.clone()),
        _ => datafusion_expr::type_coercion::binary::comparison_coercion(a, b),
    }
}
