//! Window functions of series: the rows of a partition in order, each with what is remembered of the ones before it.
//!
//! They look at every row once and never at the frame, so they run over ordered input as it comes. DataFusion's own window
//! functions have PostgreSQL's meaning; these are in addition. Rows in which an argument is NULL are not remembered.

use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field, FieldRef};
use datafusion_common::{Result, ScalarValue, internal_err};
use datafusion_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion_expr::{PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl};

use super::FunctionInfo;
use super::call::{Value, primitive_array};
use super::define::cast_cost;
use super::number::DIGITS_MAX;
use crate::types::{SqlType, ValueError};

mod delta;
mod ema;
mod session;
#[cfg(test)]
mod tests;

fn functions() -> Vec<Running> {
    vec![delta::delta(), delta::rate(), ema::function(), session::function()]
}

/// Every window function.
pub(crate) fn all() -> Vec<Arc<WindowUDF>> {
    functions().into_iter().map(|function| Arc::new(WindowUDF::new_from_impl(function))).collect()
}

/// What there is to say about them.
pub(crate) fn all_info() -> Vec<FunctionInfo> {
    functions().iter().map(Running::info).collect()
}

/// Makes what evaluates a partition, by the result's type.
type Start = fn(&DataType) -> Box<dyn PartitionEvaluator>;

/// A window function.
#[derive(Debug, Clone)]
struct Running {
    name: &'static str,
    description: &'static str,
    example: &'static str,
    overloads: Vec<Overload>,
    signature: Signature,
}

#[derive(Debug, Clone)]
struct Overload {
    args: Vec<SqlType>,
    returns: SqlType,
    start: Start,
}

/// Starts a definition.
fn running(name: &'static str, description: &'static str, example: &'static str) -> Running {
    let signature = Signature::user_defined(Volatility::Immutable);
    Running { name, description, example, overloads: vec![], signature }
}

impl Running {
    /// Adds a signature: `float8, timestamp -> float8`. A numeric has as many decimals as the first argument.
    fn on(mut self, text: &str, start: Start) -> Self {
        let sql_type = |name: &str| SqlType::parse(name.trim()).expect("a type in a signature exists");
        let (args, returns) = text.split_once("->").expect("a signature has an arrow");
        let args = args.split(',').map(sql_type).collect();
        self.overloads.push(Overload { args, returns: sql_type(returns), start });
        self
    }

    fn info(&self) -> FunctionInfo {
        let text = |overload: &Overload| {
            let args: Vec<String> = overload.args.iter().map(SqlType::name).collect();
            format!("{}({}) → {}", self.name, args.join(", "), overload.returns.name())
        };
        FunctionInfo {
            name: self.name,
            aliases: vec![],
            kind: "window",
            signatures: self.overloads.iter().map(text).collect(),
            description: self.description,
            example: self.example,
        }
    }

    /// The overload that arguments of these types mean, and the types they are cast to.
    fn resolve(&self, types: &[DataType]) -> Result<(&Overload, Vec<DataType>)> {
        let mut best: Option<(u32, &Overload, Vec<DataType>)> = None;
        for overload in self.overloads.iter().filter(|overload| overload.args.len() == types.len()) {
            let casts = types.iter().zip(&overload.args).map(|(from, to)| cast_cost(from, to));
            let Some(casts) = casts.collect::<Option<Vec<_>>>() else { continue };
            let cost = casts.iter().map(|(cost, _)| cost).sum();
            if best.as_ref().is_none_or(|(least, ..)| cost < *least) {
                best = Some((cost, overload, casts.into_iter().map(|(_, target)| target).collect()));
            }
        }
        match best {
            Some((_, overload, targets)) => Ok((overload, targets)),
            None => {
                let names: Vec<String> = types.iter().map(|t| SqlType::of_data_type(t).name()).collect();
                let message = format!("function {}({}) does not exist", self.name, names.join(", "));
                Err(ValueError::new("42883", message).into())
            }
        }
    }

    fn of_fields(&self, fields: &[FieldRef]) -> Result<(&Overload, Field)> {
        let types: Vec<DataType> = fields.iter().map(|field| field.data_type().clone()).collect();
        let (overload, targets) = self.resolve(&types)?;
        let field = match (&overload.returns, targets.first()) {
            (SqlType::Numeric(_), Some(DataType::Decimal128(_, scale))) => {
                Field::new(self.name, DataType::Decimal128(DIGITS_MAX, *scale), true)
            }
            (returns, _) => returns.field(self.name, true),
        };
        Ok((overload, field))
    }
}

/// There is one function of a name.
impl PartialEq for Running {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Running {}

impl Hash for Running {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl WindowUDFImpl for Running {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(self.resolve(types)?.1)
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(self.of_fields(args.input_fields())?.1.with_name(args.name())))
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        let (overload, field) = self.of_fields(args.input_fields())?;
        Ok((overload.start)(field.data_type()))
    }
}

/// What is remembered of a partition's rows.
trait Memory: std::fmt::Debug + Send + 'static {
    type Result: ArrowPrimitiveType;

    /// The result of the next row, whose arguments are at `row`; `None` is NULL.
    fn next(&mut self, args: &[ArrayRef], row: usize) -> Value<Option<<Self::Result as ArrowPrimitiveType>::Native>>;
}

/// Runs over one partition.
#[derive(Debug)]
struct Evaluator<M> {
    memory: M,
    data_type: DataType,
}

/// Evaluates a partition with that memory.
fn with<M: Memory>(memory: M, data_type: &DataType) -> Box<dyn PartitionEvaluator> {
    Box::new(Evaluator { memory, data_type: data_type.clone() })
}

impl<M: Memory> PartitionEvaluator for Evaluator<M> {
    fn evaluate_all(&mut self, args: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        primitive_array::<M::Result>(rows, &self.data_type, |row| Ok(self.memory.next(args, row)?))
    }

    /// Called once for each row in order, with that row's range.
    fn evaluate(&mut self, args: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        let Some(row) = range.end.checked_sub(1) else { return internal_err!("a row's range is empty") };
        ScalarValue::new_primitive::<M::Result>(self.memory.next(args, row)?, &self.data_type)
    }

    fn is_causal(&self) -> bool {
        true
    }

    fn supports_bounded_execution(&self) -> bool {
        true
    }
}

/// A value of a column; `None` is NULL.
fn value<T: ArrowPrimitiveType>(column: &ArrayRef, row: usize) -> Option<T::Native> {
    use arrow::array::{Array, AsArray};
    let column = column.as_primitive::<T>();
    column.is_valid(row).then(|| column.value(row))
}
