//! What depends on the order of an enum's labels: comparisons and sorting by the labels' places, `min`, `max`, `greatest`,
//! `least`, `enum_first`, `enum_last`, `enum_range`.
//!
//! Values are labels, which the engine would order as texts. Where only the order counts, [`ordinal`] stands for them.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray, StringViewArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int32Type};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use tidemill_udfs::types::{EnumType, SqlType};

use super::typing::{Typed, type_metadata};
use crate::Result;
use crate::error::{Error, SqlState};

/// What a function on labels does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Job {
    /// Labels, or arrays of them, to their places.
    Ordinal,
    /// Places to labels.
    Label,
    /// Two labels to the labels from the one to the other.
    Range,
}

/// A function on the labels of one enum.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Labels {
    job: Job,
    of: Arc<EnumType>,
    /// What the labels are called now: another version of the type is another function.
    labels: Vec<String>,
    data_type: DataType,
    /// Of the result, if it is the enum's.
    sql_type: Option<SqlType>,
    signature: Signature,
}

fn call(job: Job, of: &Arc<EnumType>, data_type: DataType, sql_type: Option<SqlType>, args: Vec<Expr>) -> Expr {
    let function = Labels {
        job,
        of: Arc::clone(of),
        labels: of.labels.clone(),
        data_type,
        sql_type,
        signature: Signature::any(args.len(), Volatility::Immutable),
    };
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::new_from_impl(function)), args))
}

/// What stands for labels, or arrays of them, where their order counts; the value itself if it is of another type.
pub(super) fn ordinal(value: Typed) -> Typed {
    let SqlType::Enum(of) = value.sql_type.innermost() else { return value };
    let mut sql_type = SqlType::Int4;
    let mut data_type = DataType::Int32;
    for _ in 0..value.sql_type.dimensions() {
        sql_type = SqlType::Array(Arc::new(sql_type));
        data_type = DataType::new_list(data_type, true);
    }
    Typed::new(call(Job::Ordinal, of, data_type.clone(), None, vec![value.expr]), sql_type, data_type)
}

/// As [`ordinal`], of an expression that has its type.
///
/// # Errors
/// Of the engine: the expression is of other columns.
pub(super) fn sorted(expr: Expr, schema: &DFSchema) -> DfResult<Expr> {
    let (_, field) = expr.to_field(schema)?;
    Ok(ordinal(Typed::new(expr, SqlType::of_field(&field), field.data_type().clone())).expr)
}

/// A place as the label that has it.
pub(super) fn label(place: Typed, of: &Arc<EnumType>) -> Typed {
    let sql_type = SqlType::Enum(Arc::clone(of));
    let data_type = sql_type.data_type();
    let expr = call(Job::Label, of, data_type.clone(), Some(sql_type.clone()), vec![place.expr]);
    Typed::new(expr, sql_type, data_type)
}

/// `enum_first(anyenum)` and its kin, literals beside an enum being its labels; `None`: there is no such function.
///
/// # Errors
/// 42804 if no argument says which enum it is about.
pub(super) fn support(name: &str, args: &mut Vec<Typed>) -> Result<Option<Typed>> {
    if !matches!((name, args.len()), ("enum_first" | "enum_last" | "enum_range", 1) | ("enum_range", 2)) {
        return Ok(None);
    }
    let of = args.iter().find_map(|arg| match &arg.sql_type {
        SqlType::Enum(of) => Some(Arc::clone(of)),
        _ => None,
    });
    let Some(of) = of else {
        if args.iter().all(Typed::is_unknown) {
            let message = "could not determine polymorphic type because input has type unknown";
            return Err(Error::new(SqlState::DATATYPE_MISMATCH, message));
        }
        return Ok(None);
    };
    let sql_type = SqlType::Enum(Arc::clone(&of));
    if args.iter().any(|arg| arg.sql_type != sql_type) {
        return Ok(None);
    }
    let array = SqlType::Array(Arc::new(sql_type.clone()));
    let text = |label: Option<&String>| ScalarValue::Utf8View(label.cloned());
    if of.labels.is_empty() && name != "enum_range" {
        let message = format!("enum {of} contains no values");
        return Err(Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
    }
    Ok(match (name, args.len()) {
        ("enum_first", _) => Some(Typed::literal(text(of.labels.first()), sql_type)),
        ("enum_last", _) => Some(Typed::literal(text(of.labels.last()), sql_type)),
        (_, 1) => {
            let labels: Vec<ScalarValue> = of.labels.iter().map(|label| text(Some(label))).collect();
            let list = ScalarValue::List(ScalarValue::new_list_nullable(&labels, &DataType::Utf8View));
            Some(Typed::literal(list, array))
        }
        _ => {
            let ends = args.drain(..).map(|arg| arg.expr);
            let data_type = array.data_type();
            let expr = call(Job::Range, &of, data_type.clone(), Some(array.clone()), ends.collect());
            Some(Typed::new(expr, array, data_type))
        }
    })
}

impl ScalarUDFImpl for Labels {
    fn name(&self) -> &str {
        match self.job {
            Job::Ordinal => "enum_ordinal",
            Job::Label => "enum_label",
            Job::Range => "enum_range",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(self.data_type.clone())
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let metadata = self.sql_type.as_ref().map(type_metadata).unwrap_or_default();
        Ok(Arc::new(Field::new("", self.data_type.clone(), true).with_metadata(metadata)))
    }

    fn is_strict(&self) -> bool {
        self.job != Job::Range
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let is_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if is_scalar { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|arg| arg.to_array(rows)).collect::<DfResult<Vec<_>>>()?;
        let result = match (self.job, arrays.as_slice()) {
            (Job::Ordinal, [values]) => ordinals(&self.of, values)?,
            (Job::Label, [places]) => {
                let places = places.as_primitive::<Int32Type>();
                let label = |place: Option<i32>| self.of.labels.get(usize::try_from(place?).ok()?);
                Arc::new(places.iter().map(label).collect::<StringViewArray>())
            }
            (Job::Range, [from, to]) => ranges(&self.of, from, to)?,
            _ => return internal_err!("arguments of a function on labels"),
        };
        Ok(if is_scalar {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)
        } else {
            ColumnarValue::Array(result)
        })
    }
}

/// The places of labels, or of those in lists. What is no label, which no value is, comes first.
fn ordinals(of: &EnumType, values: &ArrayRef) -> DfResult<ArrayRef> {
    if let DataType::List(_) = values.data_type() {
        let list = values.as_list::<i32>();
        let items = ordinals(of, list.values())?;
        let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
        return Ok(Arc::new(ListArray::try_new(field, list.offsets().clone(), items, list.nulls().cloned())?));
    }
    let texts = cast(values, &DataType::Utf8View)?;
    let places = of.ordinals();
    let place = |text: Option<&str>| text.map(|text| places.get(text).copied().unwrap_or(-1));
    Ok(Arc::new(texts.as_string_view().iter().map(place).collect::<Int32Array>()))
}

fn ranges(of: &EnumType, from: &ArrayRef, to: &ArrayRef) -> DfResult<ArrayRef> {
    let (from, to) = (cast(from, &DataType::Utf8View)?, cast(to, &DataType::Utf8View)?);
    let mut lists = datafusion::arrow::array::ListBuilder::new(datafusion::arrow::array::StringViewBuilder::new());
    for (from, to) in from.as_string_view().iter().zip(to.as_string_view()) {
        let first = from.map_or(Some(0), |label| of.ordinal(label));
        let end = to.map_or(Some(of.labels.len()), |label| of.ordinal(label).map(|place| place + 1));
        let labels = first.zip(end).and_then(|(first, end)| of.labels.get(first..end)).unwrap_or_default();
        for label in labels {
            lists.values().append_value(label);
        }
        lists.append(true);
    }
    Ok(Arc::new(lists.finish()))
}

/// `min` or `max` of labels.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    name: &'static str,
    of: Arc<EnumType>,
    labels: Vec<String>,
    signature: Signature,
}

/// The aggregate of that name over an enum.
pub(super) fn extreme(name: &str, of: &Arc<EnumType>) -> Option<Arc<AggregateUDF>> {
    let name = ["min", "max"].into_iter().find(|own| *own == name)?;
    let signature = Signature::any(1, Volatility::Immutable);
    let function = Extreme { name, of: Arc::clone(of), labels: of.labels.clone(), signature };
    Some(Arc::new(AggregateUDF::new_from_impl(function)))
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8View)
    }

    fn return_field(&self, _fields: &[FieldRef]) -> DfResult<FieldRef> {
        let sql_type = SqlType::Enum(Arc::clone(&self.of));
        Ok(Arc::new(Field::new(self.name, DataType::Utf8View, true).with_metadata(type_metadata(&sql_type))))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[place]", args.name), DataType::Int32, true))])
    }

    fn accumulator(&self, _args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        Ok(Box::new(Counts { of: Arc::clone(&self.of), is_max: self.name == "max", rows: vec![] }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        self.accumulator(args)
    }
}

/// How many rows had each label: so rows can leave a window's frame again.
#[derive(Debug)]
struct Counts {
    of: Arc<EnumType>,
    is_max: bool,
    /// By the label's place; empty before the first row.
    rows: Vec<u64>,
}

impl Counts {
    fn place(&self) -> Option<usize> {
        let is_there = |rows: &u64| *rows > 0;
        if self.is_max { self.rows.iter().rposition(is_there) } else { self.rows.iter().position(is_there) }
    }

    fn each(&mut self, places: &Int32Array, change: impl Fn(&mut u64)) {
        self.rows.resize(self.of.labels.len(), 0);
        for place in places.iter().flatten() {
            if let Some(rows) = usize::try_from(place).ok().and_then(|place| self.rows.get_mut(place)) {
                change(rows);
            }
        }
    }
}

impl Accumulator for Counts {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let places = ordinals(&self.of, &values[0])?;
        self.each(places.as_primitive::<Int32Type>(), |rows| *rows += 1);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let places = ordinals(&self.of, &values[0])?;
        self.each(places.as_primitive::<Int32Type>(), |rows| *rows = rows.saturating_sub(1));
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(ScalarValue::Utf8View(self.place().and_then(|place| self.of.labels.get(place).cloned())))
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Int32(self.place().and_then(|place| i32::try_from(place).ok()))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.each(states[0].as_primitive::<Int32Type>(), |rows| *rows += 1);
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.rows.capacity() * size_of::<u64>()
    }
}
