//! every(condition): SQL's word for bool_and.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::AggregateOrderSensitivity;
use datafusion_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};

use super::super::FunctionInfo;

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Every {
    signature: Signature,
}

impl Every {
    pub(crate) fn new() -> Self {
        Self { signature: Signature::exact(vec![DataType::Boolean], Volatility::Immutable) }
    }

    /// What the function is, for documentation.
    pub(crate) fn info() -> FunctionInfo {
        FunctionInfo {
            name: "every",
            aliases: vec![],
            kind: "aggregate",
            signatures: vec!["every(bool) → bool".to_owned()],
            description: "Are all values that are not null true?",
            example: "every(price > 0)",
        }
    }
}

impl AggregateUDFImpl for Every {
    fn name(&self) -> &str {
        "every"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(All(None)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[all]", args.name), DataType::Boolean, true))])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

#[derive(Debug)]
struct All(Option<bool>);

impl Accumulator for All {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = values[0].as_boolean();
        if values.null_count() < values.len() {
            let all = values.iter().flatten().all(|value| value);
            self.0 = Some(all && self.0 != Some(false));
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Boolean(self.0)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Boolean(self.0))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}
