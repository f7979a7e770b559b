//! Rows of INSERT … VALUES without a query: their expressions, compiled once, over one row that holds the parameters.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column as PlanColumn, DFSchema, DataFusionError, ScalarValue};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use tidemill_catalog::record::ColumnSequence;
use tidemill_udfs::types::SqlType;

use super::engine::Engine;
use super::typing::{parameter_index, type_metadata};
use super::{Scope, cast, clock, system};
use crate::Result;
use crate::error::{Error, SqlState};

/// The input's columns besides the parameters.
const TRANSACTION_AT: &str = "now";
const STATEMENT_AT: &str = "statement_timestamp";

/// Parameters of one expression above which it is not compiled: names are looked up one after the other.
const PARAMETERS_MAX: usize = 64;

/// VALUES, ready to run any number of times. Depends on nothing but the table's columns and the parameters' types.
#[derive(Debug)]
pub struct RowProgram {
    /// The parameters, then the two times.
    input: SchemaRef,
    /// The table's columns, all nullable.
    output: SchemaRef,
    /// For each of the table's columns, a cell for each row.
    columns: Vec<Vec<Cell>>,
}

#[derive(Debug)]
enum Cell {
    Constant(ScalarValue),
    /// The index of a parameter.
    Parameter(usize),
    /// The next number of a sequence, as such an integer.
    Number(ColumnSequence, SqlType),
    Computed(Arc<dyn PhysicalExpr>),
}

impl RowProgram {
    /// The program of a plan that [`super::dml`] made of VALUES. `None`: an expression in it needs the statement's scope
    /// (a subquery, a function that depends on settings or on the session), or there is none.
    pub(super) fn new(scope: &Arc<Scope>, plan: &LogicalPlan, parameters: &[SqlType], table: &Schema) -> Option<Self> {
        let rows: Vec<&[Expr]> = match plan {
            LogicalPlan::Projection(projection) => match projection.input.as_ref() {
                LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => vec![&projection.expr],
                _ => return None,
            },
            LogicalPlan::Values(values) => values.values.iter().map(Vec::as_slice).collect(),
            _ => return None,
        };
        let instant = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let mut fields: Vec<Field> = (parameters.iter().enumerate())
            .map(|(at, parameter)| {
                Field::new(format!("${}", at + 1), parameter.data_type(), true).with_metadata(type_metadata(parameter))
            })
            .collect();
        fields.push(Field::new(TRANSACTION_AT, instant(), false));
        fields.push(Field::new(STATEMENT_AT, instant(), false));
        let input = Arc::new(Schema::new(fields));
        let engine = Engine::detached(scope);
        let mut columns: Vec<Vec<Cell>> = (0..table.fields().len()).map(|_| Vec::with_capacity(rows.len())).collect();
        for row in rows {
            if row.len() != columns.len() {
                return None;
            }
            for (column, expr) in columns.iter_mut().zip(row) {
                column.push(cell(&engine, expr, &input)?);
            }
        }
        let output = table.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>();
        Some(Self { input, output: Arc::new(Schema::new(output)), columns })
    }

    /// True if a sequence gives some of the values.
    pub fn has_numbers(&self) -> bool {
        self.columns.iter().flatten().any(|cell| matches!(cell, Cell::Number(..)))
    }

    /// The rows, with the table's columns. `values`: of the parameters; times in microseconds since the epoch; `scope`: whose
    /// sequences give numbers, needed where [`Self::has_numbers`].
    ///
    /// # Errors
    /// Of the expressions: 22003, 22012, ….
    pub fn evaluate(
        &self,
        values: &[ScalarValue],
        transaction_at: i64,
        statement_at: i64,
        scope: Option<&Scope>,
    ) -> Result<RecordBatch> {
        let computes = self.columns.iter().flatten().any(|cell| matches!(cell, Cell::Computed(_)));
        let input = if computes { Some(self.input(values, transaction_at, statement_at)?) } else { None };
        let arrays = self
            .columns
            .iter()
            .zip(self.output.fields())
            .map(|(cells, field)| Self::column(cells, field.data_type(), values, input.as_ref(), scope))
            .collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&self.output), arrays).map_err(DataFusionError::from)?)
    }

    fn input(&self, values: &[ScalarValue], transaction_at: i64, statement_at: i64) -> Result<RecordBatch> {
        let fields = self.input.fields();
        let mut arrays = Vec::with_capacity(fields.len());
        for (value, field) in values.iter().zip(fields) {
            arrays.push(fitting(value.to_array_of_size(1)?, field.data_type())?);
        }
        for time in [transaction_at, statement_at] {
            arrays.push(Arc::new(TimestampMicrosecondArray::new(vec![time].into(), None).with_timezone("UTC")));
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.input), arrays).map_err(DataFusionError::from)?)
    }

    fn column(
        cells: &[Cell],
        data_type: &DataType,
        values: &[ScalarValue],
        input: Option<&RecordBatch>,
        scope: Option<&Scope>,
    ) -> Result<ArrayRef> {
        let value_of = |index: usize| values.get(index).ok_or_else(|| Error::internal("a parameter without a value"));
        if let [cell] = cells {
            let array = match cell {
                Cell::Constant(value) => value.to_array_of_size(1)?,
                Cell::Parameter(index) => value_of(*index)?.to_array_of_size(1)?,
                Cell::Number(sequence, sql_type) => number(scope, sequence, sql_type)?.to_array_of_size(1)?,
                Cell::Computed(expr) => {
                    let input = input.ok_or_else(|| Error::internal("no input"))?;
                    expr.evaluate(input)?.into_array(1)?
                }
            };
            return fitting(array, data_type);
        }
        let scalars = cells
            .iter()
            .map(|cell| {
                let value = match cell {
                    Cell::Constant(value) => value.clone(),
                    Cell::Parameter(index) => value_of(*index)?.clone(),
                    Cell::Number(sequence, sql_type) => number(scope, sequence, sql_type)?,
                    Cell::Computed(expr) => {
                        let input = input.ok_or_else(|| Error::internal("no input"))?;
                        ScalarValue::try_from_array(&expr.evaluate(input)?.into_array(1)?, 0)?
                    }
                };
                if value.data_type() == *data_type {
                    return Ok(value);
                }
                Ok(ScalarValue::try_from_array(&fitting(value.to_array_of_size(1)?, data_type)?, 0)?)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(ScalarValue::iter_to_array(scalars)?)
    }
}

/// A numeric comes with the scale it was computed with; the column has its own.
fn fitting(array: ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if array.data_type() == data_type {
        return Ok(array);
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(&array, data_type, &options).map_err(DataFusionError::from)?)
}

/// The next number of a sequence, as such an integer.
fn number(scope: Option<&Scope>, sequence: &ColumnSequence, sql_type: &SqlType) -> Result<ScalarValue> {
    let scope = scope.ok_or_else(|| Error::internal("a sequence without a scope"))?;
    let number = system::next_number(scope, sequence)?;
    let out_of_range = |_| {
        let message = format!("{} out of range", sql_type.name());
        Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message)
    };
    Ok(match sql_type {
        SqlType::Int2 => ScalarValue::Int16(Some(i16::try_from(number).map_err(out_of_range)?)),
        SqlType::Int4 => ScalarValue::Int32(Some(i32::try_from(number).map_err(out_of_range)?)),
        _ => ScalarValue::Int64(Some(number)),
    })
}

/// The sequence of a call of nextval, and the integer type that the number is cast to.
fn numbered(expr: &Expr) -> Option<(ColumnSequence, SqlType)> {
    let Expr::ScalarFunction(call) = expr else { return None };
    if let Some((to @ (SqlType::Int2 | SqlType::Int4 | SqlType::Int8), _)) = cast::target(&call.func) {
        return Some((numbered(call.args.first()?)?.0, to));
    }
    match call.args.as_slice() {
        [Expr::Literal(ScalarValue::UInt32(Some(oid)), _)] => {
            let rule = system::nextval_rule(&call.func)?;
            Some((ColumnSequence { oid: *oid, rule }, SqlType::Int8))
        }
        _ => None,
    }
}

fn cell(engine: &Engine, expr: &Expr, input: &Schema) -> Option<Cell> {
    match expr {
        Expr::Alias(alias) => return cell(engine, &alias.expr, input),
        Expr::Literal(value, _) => return Some(Cell::Constant(value.clone())),
        Expr::ScalarFunction(_) => {
            if let Some((sequence, sql_type)) = numbered(expr) {
                return Some(Cell::Number(sequence, sql_type));
            }
        }
        Expr::Placeholder(Placeholder { id, field: Some(field) }) => {
            let index = parameter_index(id).ok()?;
            if input.fields().get(index)?.data_type() == field.data_type() {
                return Some(Cell::Parameter(index));
            }
        }
        _ => {}
    }
    let mut is_free = true;
    // The places of the input's columns that it reads.
    let mut read: Vec<usize> = vec![];
    let mut column = |at: usize| {
        if !read.contains(&at) && read.len() <= PARAMETERS_MAX {
            read.push(at);
        }
        Expr::Column(PlanColumn::new_unqualified(input.field(at).name()))
    };
    let parameters = input.fields().len() - 2;
    let compiled = expr.clone().transform_up(|expr| {
        Ok(match expr {
            Expr::Placeholder(Placeholder { ref id, field: Some(ref field) }) => {
                let known = parameter_index(id).ok().filter(|at| *at < parameters);
                match known.filter(|at| input.field(*at).data_type() == field.data_type()) {
                    Some(at) => Transformed::yes(column(at)),
                    None => {
                        is_free = false;
                        Transformed::no(expr)
                    }
                }
            }
            Expr::ScalarFunction(call) => {
                if let Some(name) = clock::instant(&call.func) {
                    let at = parameters + usize::from(name != clock::Instant::Transaction);
                    return Ok(Transformed::yes(column(at)));
                }
                is_free &= call.func.signature().volatility == Volatility::Immutable;
                Transformed::no(Expr::ScalarFunction(call))
            }
            plain @ (Expr::Literal(..)
            | Expr::Column(_)
            | Expr::Alias(_)
            | Expr::BinaryExpr(_)
            | Expr::Cast(_)
            | Expr::Negative(_)
            | Expr::Not(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::Case(_)
            | Expr::Between(_)
            | Expr::InList(_)) => Transformed::no(plain),
            other => {
                is_free = false;
                Transformed::no(other)
            }
        })
    });
    let compiled = compiled.ok()?.data;
    if !is_free || read.len() > PARAMETERS_MAX {
        return None;
    }
    // With the columns that it reads only: thousands of rows have thousands of parameters.
    let schema = DFSchema::try_from(input.project(&read).ok()?).ok()?;
    let computed = engine.expression(compiled, &schema).ok()?;
    let placed = computed.transform_up(|expr| {
        Ok(match expr.downcast_ref::<Column>() {
            Some(column) => {
                let at = read.get(column.index()).copied().unwrap_or_default();
                Transformed::yes(Arc::new(Column::new(column.name(), at)))
            }
            None => Transformed::no(expr),
        })
    });
    placed.ok().map(|placed| Cell::Computed(placed.data))
}
