//! Aggregates that put one piece of text per row together: string_agg, json_agg, json_object_agg and the jsonb forms.
//!
//! Every accumulator keeps its rows' pieces with their ORDER BY values and sorts at the end, so partial results of several
//! partitions merge into the right order.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray, new_empty_array};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::utils::{SingleRowListArrayBuilder, compare_rows};
use datafusion_common::{Result, ScalarValue, exec_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::AggregateOrderSensitivity;
use datafusion_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};

use super::super::FunctionInfo;
use super::super::call::error;
use super::super::define::view_type;
use super::super::json::build::{Writer, to_jsonb};
use crate::types::{SqlType, TextSettings};

/// What the pieces are and how they are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    /// Text with separators.
    Strings,
    /// `[a, b]`
    Array { binary: bool },
    /// `{ "a" : 1, "b" : 2 }`
    Object { binary: bool },
}

/// One such aggregate function.
#[derive(Debug, Clone)]
pub(crate) struct Collect {
    pub(crate) name: &'static str,
    pub(crate) signature_text: &'static str,
    pub(crate) description: &'static str,
    pub(crate) example: &'static str,
    shape: Shape,
    signature: Signature,
}

impl Collect {
    fn new(
        name: &'static str,
        signature_text: &'static str,
        description: &'static str,
        example: &'static str,
        shape: Shape,
    ) -> Self {
        let signature = Signature::user_defined(Volatility::Immutable);
        Self { name, signature_text, description, example, shape, signature }
    }

    /// What the function is, for documentation.
    pub(crate) fn info(&self) -> FunctionInfo {
        FunctionInfo {
            name: self.name,
            aliases: vec![],
            kind: "aggregate",
            signatures: vec![self.signature_text.to_owned()],
            description: self.description,
            example: self.example,
        }
    }

    fn sql_type(&self) -> SqlType {
        match self.shape {
            Shape::Strings => SqlType::Text,
            Shape::Array { binary: false } | Shape::Object { binary: false } => SqlType::Json,
            Shape::Array { binary: true } | Shape::Object { binary: true } => SqlType::Jsonb,
        }
    }
}

/// Every function of this kind.
pub(crate) fn all() -> Vec<Collect> {
    vec![
        Collect::new(
            "string_agg",
            "string_agg(text, text) → text",
            "The values that are not null, each but the first after its row's separator.",
            "string_agg(name, ', ' ORDER BY name)",
            Shape::Strings,
        ),
        Collect::new(
            "json_agg",
            "json_agg(any) → json",
            "All values, nulls too, as one json array.",
            "json_agg(name ORDER BY name)",
            Shape::Array { binary: false },
        ),
        Collect::new(
            "jsonb_agg",
            "jsonb_agg(any) → jsonb",
            "All values, nulls too, as one jsonb array.",
            "jsonb_agg(name ORDER BY name)",
            Shape::Array { binary: true },
        ),
        Collect::new(
            "json_object_agg",
            "json_object_agg(any, any) → json",
            "One json object with a key and a value from each row.",
            "json_object_agg(name, price)",
            Shape::Object { binary: false },
        ),
        Collect::new(
            "jsonb_object_agg",
            "jsonb_object_agg(any, any) → jsonb",
            "One jsonb object with a key and a value from each row; of equal keys the last counts.",
            "jsonb_object_agg(name, price)",
            Shape::Object { binary: true },
        ),
    ]
}

impl PartialEq for Collect {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Collect {}

impl Hash for Collect {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl AggregateUDFImpl for Collect {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn return_field(&self, _: &[FieldRef]) -> Result<FieldRef> {
        Ok(Arc::new(self.sql_type().field(self.name, true)))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let count = if matches!(self.shape, Shape::Array { .. }) { 1 } else { 2 };
        if types.len() != count {
            let names: Vec<String> = types.iter().map(|t| SqlType::of_data_type(t).name()).collect();
            return Err(error("42883", format!("function {}({}) does not exist", self.name, names.join(", "))));
        }
        Ok(match self.shape {
            Shape::Strings => vec![DataType::Utf8View; 2],
            _ => types.iter().map(view_type).collect(),
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Pieces {
            shape: self.shape,
            fields: args.expr_fields.to_vec(),
            options: args.order_bys.iter().map(|order| order.options).collect(),
            order_types: args.order_bys.iter().map(|order| order.expr.data_type(args.schema)).collect::<Result<_>>()?,
            reversed: args.is_reversed,
            distinct: args.is_distinct,
            rows: vec![],
            bytes: 0,
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let list = |name: String, data_type: DataType| {
            Arc::new(Field::new_list(name, Field::new_list_field(data_type, true), true))
        };
        let mut fields = vec![
            list(format!("{}[pieces]", args.name), DataType::Utf8View),
            list(format!("{}[before]", args.name), DataType::Utf8View),
        ];
        for (number, ordering) in args.ordering_fields.iter().enumerate() {
            fields.push(list(format!("{}[order {number}]", args.name), ordering.data_type().clone()));
        }
        Ok(fields)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::SoftRequirement
    }

    fn with_beneficial_ordering(self: Arc<Self>, _: bool) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        // Sorted input or not: the rows are sorted at the end, which costs little if they are already.
        Ok(Some(self))
    }
}

/// One row's part.
#[derive(Debug)]
struct Piece {
    text: String,
    /// What stands before it if it is not the first.
    before: String,
    order: Vec<ScalarValue>,
}

#[derive(Debug)]
struct Pieces {
    shape: Shape,
    fields: Vec<FieldRef>,
    options: Vec<SortOptions>,
    order_types: Vec<DataType>,
    reversed: bool,
    distinct: bool,
    rows: Vec<Piece>,
    bytes: usize,
}

impl Pieces {
    fn push(&mut self, text: String, before: String, order: Vec<ScalarValue>) {
        self.bytes +=
            text.len() + before.len() + order.iter().map(ScalarValue::size).sum::<usize>() + size_of::<Piece>();
        self.rows.push(Piece { text, before, order });
    }

    fn update_strings(&mut self, values: &[ArrayRef], orders: &[ArrayRef]) -> Result<()> {
        let (texts, separators) = (strings(&values[0])?, strings(&values[1])?);
        for row in 0..texts.len() {
            if texts.is_valid(row) {
                let before = if separators.is_valid(row) { separators.value(row) } else { "" };
                self.push(texts.value(row).to_owned(), before.to_owned(), order_at(orders, row)?);
            }
        }
        Ok(())
    }

    fn update_json(&mut self, values: &[ArrayRef], orders: &[ArrayRef]) -> Result<()> {
        let settings = TextSettings::default();
        let writers = values
            .iter()
            .zip(&self.fields)
            .map(|(array, field)| Writer::new(array, field, &settings))
            .collect::<Result<Vec<_>>>()?;
        for row in 0..values[0].len() {
            let mut text = String::new();
            let mut before = ", ";
            match self.shape {
                Shape::Object { .. } => {
                    if values[0].is_null(row) {
                        return Err(error("22023", "field name must not be null"));
                    }
                    writers[0].write_key(&mut text, row)?;
                    text.push_str(" : ");
                    writers[1].write(&mut text, row, ",")?;
                }
                _ => {
                    if writers[0].is_composite() && values[0].is_valid(row) {
                        before = ", \n ";
                    }
                    writers[0].write(&mut text, row, ",")?;
                }
            }
            self.push(text, before.to_owned(), order_at(orders, row)?);
        }
        Ok(())
    }

    fn sort(&mut self) -> Result<()> {
        if self.options.is_empty() {
            return Ok(());
        }
        let mut failed = None;
        let (options, reversed) = (&self.options, self.reversed);
        self.rows.sort_by(|a, b| {
            let order = compare_rows(&a.order, &b.order, options).unwrap_or_else(|e| {
                failed = Some(e);
                Ordering::Equal
            });
            if reversed { order.reverse() } else { order }
        });
        failed.map_or(Ok(()), Err)
    }
}

fn strings(array: &ArrayRef) -> Result<&StringViewArray> {
    match array.as_string_view_opt() {
        Some(strings) => Ok(strings),
        None => exec_err!("text was expected, not {}", array.data_type()),
    }
}

fn order_at(orders: &[ArrayRef], row: usize) -> Result<Vec<ScalarValue>> {
    orders.iter().map(|order| ScalarValue::try_from_array(order, row)).collect()
}

impl Accumulator for Pieces {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (values, orders) = values.split_at(self.fields.len().min(values.len()));
        match self.shape {
            Shape::Strings => self.update_strings(values, orders),
            _ => self.update_json(values, orders),
        }
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for row in 0..states[0].len() {
            if states[0].is_null(row) {
                continue;
            }
            let lists: Vec<ArrayRef> = states.iter().map(|state| state.as_list::<i32>().value(row)).collect();
            let (texts, before) = (strings(&lists[0])?, strings(&lists[1])?);
            for piece in 0..texts.len() {
                let order = order_at(&lists[2..], piece)?;
                self.push(texts.value(piece).to_owned(), before.value(piece).to_owned(), order);
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(self.rows.iter().map(|piece| &piece.text)));
        let before: ArrayRef = Arc::new(StringViewArray::from_iter_values(self.rows.iter().map(|piece| &piece.before)));
        let mut state = vec![texts, before];
        for (order, data_type) in self.order_types.iter().enumerate() {
            state.push(match self.rows.is_empty() {
                true => new_empty_array(data_type),
                false => ScalarValue::iter_to_array(self.rows.iter().map(|piece| piece.order[order].clone()))?,
            });
        }
        Ok(state.into_iter().map(|array| SingleRowListArrayBuilder::new(array).build_list_scalar()).collect())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.rows.is_empty() {
            return Ok(ScalarValue::Utf8View(None));
        }
        self.sort()?;
        let (open, close) = match self.shape {
            Shape::Strings => ("", ""),
            Shape::Array { .. } => ("[", "]"),
            Shape::Object { .. } => ("{ ", " }"),
        };
        let mut out = String::with_capacity(self.bytes / 2);
        out.push_str(open);
        let mut seen = HashSet::new();
        for (number, piece) in self.rows.iter().enumerate() {
            if self.distinct && !seen.insert((&piece.text, &piece.before)) {
                continue;
            }
            if number > 0 {
                out.push_str(&piece.before);
            }
            out.push_str(&piece.text);
        }
        out.push_str(close);
        let out = match self.shape {
            Shape::Array { binary: true } | Shape::Object { binary: true } => to_jsonb(&out)?,
            _ => out,
        };
        Ok(ScalarValue::Utf8View(Some(out)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.bytes
    }
}
