//! `resample(source, every => …, by => …, method => …, max_gap => …)` in FROM: a regular grid for each series, without
//! aggregation.
//!
//! ```text
//! SELECT * FROM resample('readings', every => '5 s', by => 'device_id', max_gap => '30 s') WHERE ts >= a AND ts < b
//!
//!   Filter ts >= a AND ts < b
//!     Projection: the source's columns, filled
//!       Resample time=ts series=[device_id] from a to b      [`rewrite`] found the range
//!         Filter ts >= a - 30 s AND ts < b + 30 s             … and what need not be read
//!           readings
//! ```

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, DataFusionError, Result as DfResult};
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{
    self, Expr as AstExpr, FunctionArg, FunctionArgExpr, Ident, ObjectName, ObjectNamePart, TableAlias, TableFactor,
};
use tidemill_operators::resample::Method;

use super::prepare::folded;
use crate::Error;
use crate::error::SqlState;

mod node;
mod rewrite;

pub(super) use node::{Resample, physical};
pub(super) use rewrite::rewrite;

/// The names of the function.
pub(super) const NAMES: [&str; 2] = ["resample", "align"];
/// The column that says whether a value of the row was not measured.
const FILLED: &str = "filled";

/// What the arguments say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Options {
    every: String,
    by: Vec<String>,
    method: Option<String>,
    max_gap: Option<String>,
    time: Option<String>,
    columns: Vec<String>,
    timezone: Option<String>,
}

fn invalid(message: impl Into<String>, hint: &str) -> DataFusionError {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message).hint(hint).into()
}

const USAGE: &str =
    "Write resample('table', every => '5 seconds', by => 'series', method => 'linear', max_gap => '1 minute').";

/// Plans the function.
///
/// # Errors
/// 42601 and 22023 for arguments that are not understood, 42703 for columns that are not there.
pub(super) fn relation(
    args: Vec<FunctionArg>,
    alias: Option<TableAlias>,
    context: &mut dyn RelationPlannerContext,
) -> DfResult<RelationPlanning> {
    let mut args = args.into_iter();
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(source))) = args.next() else {
        return Err(invalid("resample needs a table", USAGE));
    };
    let options = options(args)?;
    let input = context.plan(factor(source)?)?;
    let node = node(input, options)?;
    let columns = node.in_order();
    let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
    let plan = LogicalPlanBuilder::from(plan).project(columns)?.build()?;
    let alias = alias.unwrap_or_else(|| TableAlias {
        explicit: true,
        name: Ident::with_quote('"', NAMES[0]),
        columns: vec![],
        at: None,
    });
    Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, Some(alias)))))
}

fn options(args: impl Iterator<Item = FunctionArg>) -> DfResult<Options> {
    let mut options = Options::default();
    for (at, arg) in args.enumerate() {
        let (name, value) = match arg {
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. }
            | FunctionArg::ExprNamed { name: AstExpr::Identifier(name), arg: FunctionArgExpr::Expr(value), .. } => {
                (name.value.to_lowercase(), value)
            }
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) if at == 0 => ("every".to_owned(), value),
            _ => return Err(invalid("resample takes named arguments", USAGE)),
        };
        let text =
            text(&value).ok_or_else(|| invalid(format!("argument {name} of resample must be a constant"), USAGE))?;
        match name.as_str() {
            "every" => options.every = text,
            "by" => options.by = names(&text),
            "method" => options.method = Some(text),
            "max_gap" => options.max_gap = Some(text),
            "time" => options.time = Some(text),
            "columns" => options.columns = names(&text),
            "timezone" => options.timezone = Some(text),
            _ => return Err(invalid(format!("resample has no argument \"{name}\""), USAGE)),
        }
    }
    if options.every.is_empty() {
        return Err(invalid("resample needs the distance of its rows", USAGE));
    }
    Ok(options)
}

/// A constant's text: `'5 s'`, `INTERVAL '5 s'`, `5`, `ARRAY['a', 'b']`.
fn text(value: &AstExpr) -> Option<String> {
    match value {
        AstExpr::Value(value) => match &value.value {
            ast::Value::SingleQuotedString(text) | ast::Value::EscapedStringLiteral(text) => Some(text.clone()),
            ast::Value::Number(digits, _) => Some(digits.clone()),
            _ => None,
        },
        AstExpr::Cast { expr, .. } | AstExpr::Nested(expr) => text(expr),
        AstExpr::Array(array) => Some(array.elem.iter().map(text).collect::<Option<Vec<_>>>()?.join(",")),
        AstExpr::Interval(interval) => text(&interval.value),
        _ => None,
    }
}

fn names(text: &str) -> Vec<String> {
    text.split(',').map(|name| name.trim().trim_matches('"').to_owned()).filter(|name| !name.is_empty()).collect()
}

/// `'schema.table'` or `(SELECT …)`.
fn factor(source: AstExpr) -> DfResult<TableFactor> {
    match source {
        AstExpr::Subquery(subquery) => Ok(TableFactor::Derived {
            lateral: false,
            subquery,
            alias: Some(TableAlias {
                explicit: true,
                name: Ident::with_quote('"', "\u{1}source"),
                columns: vec![],
                at: None,
            }),
            sample: None,
        }),
        AstExpr::Nested(inner) => factor(*inner),
        other => {
            let name = text(&other)
                .ok_or_else(|| invalid("the first argument of resample must be a table's name or a query", USAGE))?;
            let parts = tidemill_name(&name).ok_or_else(|| {
                DataFusionError::from(Error::new(SqlState::INVALID_NAME, format!("invalid name syntax: \"{name}\"")))
            })?;
            let parts = parts.into_iter().map(|part| ObjectNamePart::Identifier(Ident::with_quote('"', part)));
            Ok(TableFactor::Table {
                name: ObjectName(parts.collect()),
                alias: None,
                args: None,
                with_hints: vec![],
                version: None,
                with_ordinality: false,
                partitions: vec![],
                json_path: None,
                sample: None,
                index_hints: vec![],
            })
        }
    }
}

/// The parts of a name as `to_regclass` reads it.
fn tidemill_name(text: &str) -> Option<Vec<String>> {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;
    let name = Parser::new(&PostgreSqlDialect {}).try_with_sql(text).ok()?.parse_object_name(false).ok()?;
    name.0.iter().map(|part| part.as_ident().map(folded)).collect()
}

/// The node over an input whose types may not be known yet: columns are told apart by name.
fn node(input: LogicalPlan, options: Options) -> DfResult<Resample> {
    let schema = Arc::clone(input.schema());
    let find = |name: &str| {
        let found: Vec<usize> = (0..schema.fields().len()).filter(|at| schema.field(*at).name() == name).collect();
        match found.as_slice() {
            [at] => Ok(*at),
            _ => Err(DataFusionError::from(Error::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column \"{name}\" does not exist in what is resampled"),
            ))),
        }
    };
    let time = match &options.time {
        Some(name) => find(name)?,
        None => {
            schema.fields().iter().position(|field| matches!(field.data_type(), DataType::Timestamp(..))).ok_or_else(
                || invalid("what is resampled has no column of time", "Say which it is: time => 'column'."),
            )?
        }
    };
    let series = options.by.iter().map(|name| find(name)).collect::<DfResult<Vec<_>>>()?;
    let values = if options.columns.is_empty() {
        (0..schema.fields().len()).filter(|at| *at != time && !series.contains(at)).collect()
    } else {
        options.columns.iter().map(|name| find(name)).collect::<DfResult<Vec<_>>>()?
    };
    if series.contains(&time) || values.contains(&time) {
        return Err(invalid("the time cannot be a series or a value", USAGE));
    }
    let method = method(options.method.as_deref().unwrap_or("linear"))?;
    Resample::try_new(input, time, series, values, method, options)
}

fn method(name: &str) -> DfResult<Method> {
    Ok(match name.to_lowercase().as_str() {
        "linear" | "interpolate" => Method::Linear,
        "locf" | "prev" | "previous" => Method::Locf,
        "nearest" => Method::Nearest,
        "next" | "nocb" => Method::Next,
        "none" | "null" => Method::None,
        _ => {
            return Err(invalid(
                format!("resample has no method \"{name}\""),
                "There are linear, locf, nearest, next and none.",
            ));
        }
    })
}

impl Resample {
    /// The output's columns in the order of the input's, then whether they were filled.
    fn in_order(&self) -> Vec<Expr> {
        let schema = self.input.schema();
        let mut columns: Vec<Expr> = (0..schema.fields().len())
            .filter(|at| *at == self.time || self.series.contains(at) || self.values.contains(at))
            .map(|at| Expr::Column(Column::from(schema.qualified_field(at))))
            .collect();
        columns.push(Expr::Column(Column::new_unqualified(FILLED)));
        columns
    }
}
