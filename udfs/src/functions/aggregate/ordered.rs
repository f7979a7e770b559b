//! Ordered-set aggregates: `percentile_disc(0.9) WITHIN GROUP (ORDER BY x)` and `mode() WITHIN GROUP (ORDER BY x)`.
//!
//! The values are collected as arrays and sorted once, at the end; partial results are lists of them.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array, make_comparator, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{SortOptions, cast, concat, is_not_null, sort_to_indices, take};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion_common::utils::SingleRowListArrayBuilder;
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::AggregateOrderSensitivity;
use datafusion_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};

use super::super::FunctionInfo;
use super::super::call::error;
use super::super::define::view_type;
use crate::types::SqlType;

/// Which value of the sorted ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pick {
    Percentile,
    Mode,
}

/// One such aggregate function.
#[derive(Debug, Clone)]
pub(crate) struct Ordered {
    pick: Pick,
    signature: Signature,
}

/// Every function of this kind.
pub(crate) fn all() -> Vec<Ordered> {
    let signature = Signature::user_defined(Volatility::Immutable);
    vec![Ordered { pick: Pick::Percentile, signature: signature.clone() }, Ordered { pick: Pick::Mode, signature }]
}

impl Ordered {
    /// What the function is, for documentation.
    pub(crate) fn info(&self) -> FunctionInfo {
        let (signatures, description, example) = match self.pick {
            Pick::Percentile => (
                vec![
                    "percentile_disc(float8) WITHIN GROUP (ORDER BY anyelement) → anyelement".to_owned(),
                    "percentile_disc(float8[]) WITHIN GROUP (ORDER BY anyelement) → anyarray".to_owned(),
                ],
                "The first value that is at or above a fraction of all values in order.",
                "percentile_disc(0.9) WITHIN GROUP (ORDER BY duration)",
            ),
            Pick::Mode => (
                vec!["mode() WITHIN GROUP (ORDER BY anyelement) → anyelement".to_owned()],
                "The most frequent value.",
                "mode() WITHIN GROUP (ORDER BY city)",
            ),
        };
        FunctionInfo { name: self.name_of(), aliases: vec![], kind: "aggregate", signatures, description, example }
    }

    fn name_of(&self) -> &'static str {
        match self.pick {
            Pick::Percentile => "percentile_disc",
            Pick::Mode => "mode",
        }
    }
}

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.pick == other.pick
    }
}

impl Eq for Ordered {}

impl Hash for Ordered {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name_of().hash(state);
    }
}

/// True if several fractions are asked for at once.
fn is_list(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..))
}

impl AggregateUDFImpl for Ordered {
    fn name(&self) -> &str {
        self.name_of()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match types.get(1) {
            Some(fractions) if is_list(fractions) => DataType::new_list(types[0].clone(), true),
            _ => types[0].clone(),
        })
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        let value = fields[0].as_ref().clone().with_nullable(true);
        Ok(Arc::new(match fields.get(1) {
            Some(fractions) if is_list(fractions.data_type()) => {
                Field::new_list(self.name_of(), value.with_name(Field::LIST_FIELD_DEFAULT_NAME), true)
            }
            _ => value.with_name(self.name_of()),
        }))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match (self.pick, types) {
            (Pick::Mode, [value]) => Ok(vec![view_type(value)]),
            (Pick::Percentile, [value, fractions]) if is_list(fractions) => {
                Ok(vec![view_type(value), DataType::new_list(DataType::Float64, true)])
            }
            (Pick::Percentile, [value, _]) => Ok(vec![view_type(value), DataType::Float64]),
            _ => {
                let names: Vec<String> = types.iter().map(|t| SqlType::of_data_type(t).name()).collect();
                Err(error("42883", format!("function {}({}) does not exist", self.name_of(), names.join(", "))))
            }
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Values {
            pick: self.pick,
            field: Arc::clone(&args.expr_fields[0]),
            many: args.expr_fields.get(1).is_some_and(|fractions| is_list(fractions.data_type())),
            returns: args.return_field.data_type().clone(),
            options: args.order_bys.first().map(|order| order.options).unwrap_or_default(),
            arrays: vec![],
            fractions: None,
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let list = |name: &str, data_type: DataType| {
            Arc::new(Field::new_list(format!("{}[{name}]", args.name), Field::new_list_field(data_type, true), true))
        };
        let values = list("values", args.input_fields[0].data_type().clone());
        Ok(vec![values, list("fractions", DataType::Float64)])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }
}

/// Collected values, without nulls.
#[derive(Debug)]
struct Values {
    pick: Pick,
    field: FieldRef,
    many: bool,
    returns: DataType,
    options: SortOptions,
    arrays: Vec<ArrayRef>,
    /// The same in every row.
    fractions: Option<ArrayRef>,
}

impl Values {
    fn add(&mut self, values: &ArrayRef) -> Result<()> {
        let values = if values.null_count() > 0 {
            arrow::compute::filter(values, &is_not_null(values)?)?
        } else {
            Arc::clone(values)
        };
        if !values.is_empty() {
            self.arrays.push(values);
        }
        Ok(())
    }

    fn all(&self) -> Result<ArrayRef> {
        if self.arrays.is_empty() {
            return Ok(new_empty_array(self.field.data_type()));
        }
        Ok(concat(&self.arrays.iter().map(AsRef::as_ref).collect::<Vec<_>>())?)
    }

    fn null(&self) -> Result<ScalarValue> {
        ScalarValue::try_from(&self.returns)
    }

    /// Where the value of a fraction is among `count` sorted ones.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a fraction of a count is within it")]
    fn place(fraction: f64, count: usize) -> Result<u32> {
        if !(0.0..=1.0).contains(&fraction) {
            return Err(error("22003", format!("percentile value {fraction} is not between 0 and 1")));
        }
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Ok(((f64::from(count) * fraction).ceil() as u32).saturating_sub(1))
    }

    fn percentile(&self, values: &ArrayRef, order: &UInt32Array) -> Result<ScalarValue> {
        let Some(fractions) = &self.fractions else { return self.null() };
        let fractions = fractions.as_primitive::<Float64Type>();
        let places: UInt32Array = fractions
            .iter()
            .map(|fraction| fraction.map(|f| Ok(order.value(Self::place(f, order.len())? as usize))).transpose())
            .collect::<Result<_>>()?;
        let picked = take(values, &places, None)?;
        if !self.many {
            return if picked.is_empty() { self.null() } else { ScalarValue::try_from_array(&picked, 0) };
        }
        let DataType::List(item) = &self.returns else { return self.null() };
        let offsets = OffsetBuffer::from_lengths([picked.len()]);
        Ok(ScalarValue::List(Arc::new(ListArray::try_new(Arc::clone(item), offsets, picked, None)?)))
    }

    /// The value with the longest run; of equal ones the first in order.
    fn mode(values: &ArrayRef, order: &UInt32Array) -> Result<ScalarValue> {
        let compare = make_comparator(values, values, SortOptions::default())?;
        let (mut best, mut best_length, mut length) = (order.value(0), 0, 0);
        for place in 0..order.len() {
            let at = order.value(place) as usize;
            let same = place > 0 && compare(order.value(place - 1) as usize, at) == Ordering::Equal;
            length = if same { length + 1 } else { 1 };
            if length > best_length {
                (best, best_length) = (order.value(place), length);
            }
        }
        ScalarValue::try_from_array(values, best as usize)
    }
}

impl Accumulator for Values {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if self.pick == Pick::Percentile && self.fractions.is_none() && values.len() > 1 && !values[1].is_empty() {
            let first = values[1].slice(0, 1);
            self.fractions = Some(if self.many { first.as_list::<i32>().value(0) } else { first });
        }
        self.add(&values[0])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (values, fractions) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        for row in 0..values.len() {
            self.add(&values.value(row))?;
            let fractions = fractions.value(row);
            if self.fractions.is_none() && !fractions.is_empty() {
                self.fractions = Some(fractions);
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let fractions = self.fractions.clone().unwrap_or_else(|| new_empty_array(&DataType::Float64));
        Ok([self.all()?, cast(&fractions, &DataType::Float64)?]
            .into_iter()
            .map(|array| SingleRowListArrayBuilder::new(array).build_list_scalar())
            .collect())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let values = self.all()?;
        if values.is_empty() {
            return self.null();
        }
        let order = sort_to_indices(&values, Some(self.options), None)?;
        match self.pick {
            Pick::Percentile => self.percentile(&values, &order),
            Pick::Mode => Self::mode(&values, &order),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.arrays.iter().map(|array| array.get_array_memory_size()).sum::<usize>()
    }
}
