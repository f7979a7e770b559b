//! Scalar functions that need the session or the catalog. Each is one line of a list: name, number of arguments, result,
//! and a function from one row's arguments to one value.
//!
//! Arguments arrive loosely typed: an oid may come as oid, integer or text (an untyped literal), a relation also by name.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray, StringViewArray, UInt32Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Float64Type, Int64Type, UInt32Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use tidemill_catalog::Oid;
use tidemill_catalog::record::SequenceRule;
use tidemill_udfs::types::SqlType;

use super::batch::{Value, array};
use super::names;
use crate::error::{Error, Result, SqlState};
use crate::plan::Scope;

pub(crate) mod admin;
mod describe;
mod privilege;
pub(crate) mod sequence;
mod session;
mod size;

/// Functions whose list result stands for a set of rows.
pub(crate) const SET_RETURNING: &[&str] = &["pg_partition_ancestors", "_pg_expandarray", "pg_listening_channels"];

/// Computes one row.
pub(crate) type Run = fn(&Call<'_>) -> Result<Value<'static>>;

/// A function.
pub(crate) struct Function {
    name: &'static str,
    least: usize,
    most: usize,
    returns: &'static str,
    run: Run,
    volatile: bool,
    /// NULL in, NULL out.
    strict: bool,
}

/// A strict, stable function with `least` to `most` arguments.
const fn function(name: &'static str, least: usize, most: usize, returns: &'static str, run: Run) -> Function {
    Function { name, least, most, returns, run, volatile: false, strict: true }
}

impl Function {
    /// Has an effect, or another result each time.
    const fn volatile(self) -> Self {
        Self { volatile: true, ..self }
    }

    /// Is called with NULLs too.
    const fn lenient(self) -> Self {
        Self { strict: false, ..self }
    }
}

/// The lists, searched in order.
const LISTS: [&[Function]; 6] = [
    session::FUNCTIONS,
    describe::FUNCTIONS,
    privilege::FUNCTIONS,
    size::FUNCTIONS,
    admin::FUNCTIONS,
    sequence::FUNCTIONS,
];

/// The names of all of them.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    LISTS.iter().flat_map(|list| list.iter()).map(|function| function.name).chain([sequence::NEXTVAL])
}

/// See [`super::function`].
pub(crate) fn find(scope: &Arc<Scope>, name: &str) -> Option<Arc<ScalarUDF>> {
    if name == sequence::NEXTVAL {
        return Some(sequence::nextval(scope, SequenceRule::Default));
    }
    let function = LISTS.iter().flat_map(|list| list.iter()).find(|function| function.name == name)?;
    Some(Arc::new(ScalarUDF::new_from_impl(Bound::new(function, scope))))
}

/// One row of arguments.
pub(crate) struct Call<'a> {
    /// Whose call it is.
    pub(crate) scope: &'a Scope,
    columns: &'a [Column],
    row: usize,
}

/// An argument's values.
enum Column {
    Text(StringViewArray),
    Int(Int64Array),
    Oid(UInt32Array),
    Bool(BooleanArray),
    Float(Float64Array),
    List(ListArray),
    Null,
    Other(ArrayRef),
}

impl Column {
    fn new(array: &ArrayRef) -> DataFusionResult<Self> {
        Ok(match array.data_type() {
            DataType::Utf8View => Self::Text(array.as_string_view().clone()),
            DataType::Int64 => Self::Int(array.as_primitive::<Int64Type>().clone()),
            DataType::UInt32 => Self::Oid(array.as_primitive::<UInt32Type>().clone()),
            DataType::Boolean => Self::Bool(array.as_boolean().clone()),
            DataType::Float64 => Self::Float(array.as_primitive::<Float64Type>().clone()),
            DataType::List(_) => Self::List(array.as_list::<i32>().clone()),
            DataType::Null => Self::Null,
            other => match normal(other) {
                Some(to) => return Self::new(&cast(array, &to)?),
                None => Self::Other(Arc::clone(array)),
            },
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Text(array) => array.is_null(row),
            Self::Int(array) => array.is_null(row),
            Self::Oid(array) => array.is_null(row),
            Self::Bool(array) => array.is_null(row),
            Self::Float(array) => array.is_null(row),
            Self::List(array) => array.is_null(row),
            Self::Null => true,
            Self::Other(array) => array.is_null(row),
        }
    }
}

/// The type that [`Column`] reads values of this type in, where it is another one.
fn normal(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => Some(DataType::Utf8View),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 | DataType::UInt64 => {
            Some(DataType::Int64)
        }
        DataType::Float16 | DataType::Float32 | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            Some(DataType::Float64)
        }
        _ => None,
    }
}

impl<'a> Call<'a> {
    /// How many arguments there are.
    pub(crate) fn len(&self) -> usize {
        self.columns.len()
    }

    /// A text argument.
    pub(crate) fn text(&self, index: usize) -> Option<&'a str> {
        match self.columns.get(index)? {
            Column::Text(array) if array.is_valid(self.row) => Some(array.value(self.row)),
            _ => None,
        }
    }

    /// A boolean argument; text as boolean's input function reads it.
    pub(crate) fn boolean(&self, index: usize) -> Option<bool> {
        match self.columns.get(index)? {
            Column::Bool(array) if array.is_valid(self.row) => Some(array.value(self.row)),
            Column::Int(array) if array.is_valid(self.row) => Some(array.value(self.row) != 0),
            Column::Text(array) if array.is_valid(self.row) => Some(matches!(
                array.value(self.row).trim().to_lowercase().as_str(),
                "t" | "true" | "on" | "yes" | "y" | "1"
            )),
            _ => None,
        }
    }

    /// An integer argument.
    pub(crate) fn int(&self, index: usize) -> Option<i64> {
        match self.columns.get(index)? {
            Column::Int(array) if array.is_valid(self.row) => Some(array.value(self.row)),
            Column::Oid(array) if array.is_valid(self.row) => Some(i64::from(array.value(self.row))),
            #[expect(clippy::cast_possible_truncation, reason = "saturates; sizes and keys are far below")]
            Column::Float(array) if array.is_valid(self.row) => Some(array.value(self.row) as i64),
            Column::Text(array) if array.is_valid(self.row) => array.value(self.row).trim().parse().ok(),
            _ => None,
        }
    }

    /// A number argument.
    pub(crate) fn float(&self, index: usize) -> Option<f64> {
        match self.columns.get(index)? {
            Column::Float(array) if array.is_valid(self.row) => Some(array.value(self.row)),
            Column::Text(array) if array.is_valid(self.row) => array.value(self.row).trim().parse().ok(),
            #[expect(clippy::cast_precision_loss, reason = "seconds")]
            _ => self.int(index).map(|value| value as f64),
        }
    }

    /// True if the argument is text: many functions take a name or an oid.
    pub(crate) fn is_text(&self, index: usize) -> bool {
        matches!(self.columns.get(index), Some(Column::Text(_)))
    }

    /// An oid argument; 0 for one that no oid can be.
    ///
    /// # Errors
    /// 22P02 for text that is no number.
    pub(crate) fn oid(&self, index: usize) -> Result<Oid> {
        match self.text(index) {
            Some(text) => names::parse_oid(text),
            None => Ok(self.int(index).and_then(|value| Oid::try_from(value).ok()).unwrap_or_default()),
        }
    }

    /// A regclass argument: an oid, or a relation's name.
    ///
    /// # Errors
    /// 42P01 if there is no relation of that name.
    pub(crate) fn relation(&self, index: usize) -> Result<Oid> {
        match self.text(index) {
            Some(text) => names::resolve_regclass(self.scope, text),
            None => self.oid(index),
        }
    }

    /// An array argument's values as an array; `None` for what is none.
    pub(crate) fn list(&self, index: usize) -> Option<ArrayRef> {
        match self.columns.get(index)? {
            Column::List(array) if array.is_valid(self.row) => Some(array.value(self.row)),
            _ => None,
        }
    }

    /// True if the argument is NULL or absent.
    pub(crate) fn is_null(&self, index: usize) -> bool {
        self.columns.get(index).is_none_or(|column| column.is_null(self.row))
    }
}

/// A function of one scope.
struct Bound {
    function: &'static Function,
    scope: Arc<Scope>,
    signature: Signature,
    returns: SqlType,
}

impl Bound {
    fn new(function: &'static Function, scope: &Arc<Scope>) -> Self {
        let volatility = if function.volatile { Volatility::Volatile } else { Volatility::Stable };
        let returns = SqlType::parse(function.returns).unwrap_or(SqlType::Text);
        Self { function, scope: Arc::clone(scope), signature: Signature::user_defined(volatility), returns }
    }

    fn evaluate(&self, columns: &[Column], rows: usize, data_type: &DataType) -> Result<ArrayRef> {
        let mut values = Vec::with_capacity(rows);
        for row in 0..rows {
            let is_null = self.function.strict && columns.iter().any(|column| column.is_null(row));
            let call = Call { scope: &self.scope, columns, row };
            values.push(if is_null { Value::Null } else { (self.function.run)(&call)? });
        }
        if self.function.name == "_pg_expandarray" {
            return describe::expanded(values, data_type);
        }
        Ok(array(data_type, false, rows, values.into_iter()))
    }
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.function.name)
    }
}

// The same function of two scopes is the same in a plan: which scope it is called with is the execution's business.
impl PartialEq for Bound {
    fn eq(&self, other: &Self) -> bool {
        self.function.name == other.function.name
    }
}

impl Eq for Bound {}

impl Hash for Bound {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.name.hash(state);
    }
}

impl ScalarUDFImpl for Bound {
    fn name(&self) -> &str {
        self.function.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DataFusionResult<DataType> {
        Ok(if self.function.name == "_pg_expandarray" { describe::expanded_type() } else { self.returns.data_type() })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DataFusionResult<FieldRef> {
        if self.function.name == "_pg_expandarray" {
            let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
            return Ok(Arc::new(arrow::datatypes::Field::new(self.name(), self.return_type(&types)?, true)));
        }
        Ok(Arc::new(self.returns.field(self.name(), true)))
    }

    fn coerce_types(&self, types: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        if types.len() < self.function.least || types.len() > self.function.most {
            let names: Vec<String> = types.iter().map(|data_type| SqlType::of_data_type(data_type).name()).collect();
            let message = format!("function {}({}) does not exist", self.function.name, names.join(", "));
            let hint =
                "No function matches the given name and argument types. You might need to add explicit type casts.";
            return Err(external(Error::new(SqlState::UNDEFINED_FUNCTION, message).hint(hint)));
        }
        Ok(types.iter().map(|data_type| normal(data_type).unwrap_or_else(|| data_type.clone())).collect())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let is_constant =
            args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_))) && !self.function.volatile;
        let rows = if is_constant { 1 } else { args.number_rows };
        let columns: Vec<Column> =
            args.args.iter().map(|arg| Column::new(&arg.to_array(rows)?)).collect::<DataFusionResult<_>>()?;
        let result = self.evaluate(&columns, rows, args.return_field.data_type()).map_err(external)?;
        if is_constant {
            // Not try_from_array for lists: it forgets the element's SQL type.
            let list = result.as_list_opt::<i32>().map(|list| ScalarValue::List(Arc::new(list.clone())));
            return Ok(ColumnarValue::Scalar(list.map_or_else(|| ScalarValue::try_from_array(&result, 0), Ok)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// An error of ours on its way through DataFusion.
fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
