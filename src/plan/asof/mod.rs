//! Joins in time: `ASOF [NEAREST] [LEFT] JOIN … ON k AND a.ts >= b.ts [TOLERANCE '10 s']`, also with `USING` or
//! `MATCH_CONDITION`; `LT JOIN` is `ASOF LEFT JOIN` with `>`. Without an inequality the tables' time columns say it.
//!
//! ```text
//! text     a ASOF LEFT JOIN b ON a.k = b.k AND a.ts >= b.ts
//! tokens   a LEFT JOIN b ON "asof"(a.k = b.k AND a.ts >= b.ts)      `statement::parse::asof`
//! plan     Join Left filter=asof(…)
//!    →     AsofJoin Left keys=[a.k = b.k] match=a.ts >= b.ts        [`rewrite`]
//! ```

use std::sync::Arc;

use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, ScalarUDF};
use tidemill_udfs::types::SqlType;

use super::marker;
use super::typing::{Typed, Typing};
use crate::statement::parse::{ASOF, ASOF_NEAREST, LT};
use crate::{Error, Result};

mod node;
mod rewrite;

pub(super) use node::{AsofJoin, physical};
pub(super) use rewrite::{check_type, distance, is_true, rewrite, times};

/// The functions that wrap the condition of such a join.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    [ASOF, ASOF_NEAREST, LT].map(marker::udf).to_vec()
}

/// True for the mark of such a join.
pub(super) fn is_marker(function: &ScalarUDF) -> bool {
    marker::name(function).is_some_and(is_mark)
}

fn is_mark(name: &str) -> bool {
    [ASOF, ASOF_NEAREST, LT].contains(&name)
}

/// The mark with its condition typed; the tolerance stays a text until the type of what is matched is known.
///
/// # Errors
/// 42804 for a condition that is none.
pub(super) fn typed(typing: &mut Typing, function: &Arc<ScalarUDF>, args: Vec<Typed>) -> Result<Typed> {
    let mut args = args.into_iter();
    let condition = args.next().ok_or_else(|| Error::internal("an ASOF join has a condition"))?;
    let mut exprs = vec![typing.condition(condition, "JOIN/ON")?];
    for tolerance in args {
        exprs.push(typing.decide(tolerance, &SqlType::Text)?.expr);
    }
    Ok(Typed::bool(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), exprs))))
}
