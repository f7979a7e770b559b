//! Functions that are none: what the parser said of a clause that no grammar knows, until a rewrite makes a node of it.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// A condition by its type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Marker {
    name: &'static str,
    signature: Signature,
}

/// The function that marks a clause.
pub(super) fn udf(name: &'static str) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Marker { name, signature: Signature::user_defined(Volatility::Immutable) }))
}

/// The mark's name, if the function is one.
pub(super) fn name(udf: &ScalarUDF) -> Option<&'static str> {
    (udf.inner().as_ref() as &dyn std::any::Any).downcast_ref::<Marker>().map(|marker| marker.name)
}

/// The name and the arguments of a marked condition.
pub(super) fn marked(expr: &Expr) -> Option<(&'static str, &[Expr])> {
    let Expr::ScalarFunction(call) = expr else { return None };
    name(&call.func).map(|name| (name, call.args.as_slice()))
}

impl ScalarUDFImpl for Marker {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name, DataType::Boolean, true)))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("a clause that was not recognised: {}", self.name.trim_start_matches('\u{1}'))
    }
}
