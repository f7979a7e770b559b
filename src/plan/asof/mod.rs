//! Joins in time: `ASOF [NEAREST] [LEFT] JOIN … ON k AND a.ts >= b.ts [TOLERANCE '10 s']`, also with `USING` or
//! `MATCH_CONDITION`.
//!
//! ```text
//! text     a ASOF LEFT JOIN b ON a.k = b.k AND a.ts >= b.ts
//! tokens   a LEFT JOIN b ON "asof"(a.k = b.k AND a.ts >= b.ts)      `statement::parse::asof`
//! plan     Join Left filter=asof(…)
//!    →     AsofJoin Left keys=[a.k = b.k] match=a.ts >= b.ts        [`rewrite`]
//! ```

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result as DfResult, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use tidemill_udfs::types::SqlType;

use super::typing::{Typed, Typing};
use crate::statement::parse::{ASOF, ASOF_NEAREST};
use crate::{Error, Result};

mod node;
mod rewrite;

pub(super) use node::{AsofJoin, physical};
pub(super) use rewrite::rewrite;

/// The functions that wrap the condition of such a join.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    [ASOF, ASOF_NEAREST].map(Marker::udf).to_vec()
}

/// `asof(condition[, tolerance])`: true where the condition is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Marker {
    name: &'static str,
    signature: Signature,
}

impl Marker {
    fn udf(name: &'static str) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::new_from_impl(Self { name, signature: Signature::user_defined(Volatility::Immutable) }))
    }

    fn of(udf: &ScalarUDF) -> Option<&Self> {
        (udf.inner().as_ref() as &dyn std::any::Any).downcast_ref()
    }
}

impl ScalarUDFImpl for Marker {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs) -> DfResult<FieldRef> {
        Ok(Arc::new(Field::new(self.name, DataType::Boolean, true)))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        internal_err!("an ASOF join that was not recognised")
    }
}

/// True for the mark of such a join.
pub(super) fn is_marker(function: &ScalarUDF) -> bool {
    Marker::of(function).is_some()
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
