//! `t WINDOW JOIN q ON k RANGE BETWEEN '10 s' PRECEDING AND CURRENT ROW`: each row of `t` with aggregates over the rows of `q`
//! around it in time.
//!
//! ```text
//! text     SELECT t.a, avg(q.b) FROM t WINDOW JOIN q ON t.k = q.k RANGE BETWEEN 1 s PRECEDING AND CURRENT ROW
//! tokens   … FROM t LEFT JOIN q ON "window"(t.k = q.k, 'preceding 1 s', 'current row', 'include')   `statement::parse::asof`
//! tree     … GROUP BY all columns of t                                                              `plan::sources`
//! plan     Aggregate groupBy=[t.k, t.a] aggr=[avg(q.b)]
//!            Join Left filter=window(…)
//!    →     Projection t.k, t.a, avg(q.b)
//!            WindowJoin keys=[t.k = q.k] window=[-1000000, 0] aggr=[avg(q.b)]                         [`rewrite`]
//! ```
//! So aggregates are resolved and typed as in any query. The groups are never made: equal left rows stay apart.

use std::sync::Arc;

use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, ScalarUDF};
use tidemill_udfs::types::SqlType;

use super::marker;
use super::typing::{Typed, Typing};
use crate::Result;
use crate::statement::parse::WINDOW;

mod node;
mod rewrite;

pub(super) use node::{WindowJoin, physical};
pub(super) use rewrite::rewrite;

/// The function that wraps the condition of such a join.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    vec![marker::udf(WINDOW)]
}

/// True for that function.
pub(super) fn is_marker(function: &ScalarUDF) -> bool {
    marker::name(function) == Some(WINDOW)
}

/// The mark with its condition typed, and the pair of times; the window stays texts until their type is known.
///
/// # Errors
/// 42804 for a condition that is none, 42883 for times that cannot be compared.
pub(super) fn typed(typing: &mut Typing, function: &Arc<ScalarUDF>, args: Vec<Typed>) -> Result<Typed> {
    let typed = |(at, arg)| match at {
        1..=3 => Ok(typing.decide(arg, &SqlType::Text)?.expr),
        _ => typing.condition(arg, "JOIN/ON"),
    };
    let exprs = args.into_iter().enumerate().map(typed).collect::<Result<_>>()?;
    Ok(Typed::bool(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), exprs))))
}
