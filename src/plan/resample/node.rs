//! Resampling as a node of a logical plan, and its operator.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, IntervalMonthDayNano};
use datafusion::common::{DFSchema, DFSchemaRef, Result, ScalarValue, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_plan::ExecutionPlan;
use tidemill_operators::gapfill::Steps;
use tidemill_operators::resample::{self, Aligned, Extent, Method, ResampleExec};
use tidemill_udfs::functions::Bucket;
use tidemill_udfs::types::SqlType;

use super::{FILLED, Options, USAGE, invalid};
use crate::plan::engine::Engine;
use crate::plan::gapfill::{Bound, Calendar, Edge, Side};
use crate::plan::typing::type_metadata;
use crate::plan::{Scope, cast};

/// Rows of a source on a regular grid.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::plan) struct Resample {
    pub(super) input: LogicalPlan,
    schema: DFSchemaRef,
    /// Columns of the input.
    pub(super) time: usize,
    pub(super) series: Vec<usize>,
    pub(super) values: Vec<usize>,
    method: Method,
    pub(super) options: Options,
    /// What is known of the time of the rows that are wanted.
    pub(super) bounds: Vec<Bound>,
}

impl Resample {
    pub(super) fn try_new(
        input: LogicalPlan,
        time: usize,
        series: Vec<usize>,
        values: Vec<usize>,
        method: Method,
        options: Options,
    ) -> Result<Self> {
        if values.is_empty() {
            return Err(invalid("there is no column of values to be resampled", USAGE));
        }
        let schema = schema_of(&input, time, &series, &values)?;
        Ok(Self { input, schema, time, series, values, method, options, bounds: vec![] })
    }

    /// The same with something changed about its input.
    pub(super) fn with_input(&self, input: LogicalPlan) -> Result<Self> {
        let schema = schema_of(&input, self.time, &self.series, &self.values)?;
        Ok(Self { input, schema, ..self.clone() })
    }
}

/// Series, time, values, and whether they were filled.
fn schema_of(input: &LogicalPlan, time: usize, series: &[usize], values: &[usize]) -> Result<DFSchemaRef> {
    let field = |at: usize| {
        let (relation, field) = input.schema().qualified_field(at);
        (relation.cloned(), Arc::clone(field))
    };
    let mut fields: Vec<_> = series.iter().chain([&time]).map(|at| field(*at)).collect();
    fields.extend(values.iter().map(|at| {
        let (relation, field) = field(*at);
        (relation, Arc::new(field.as_ref().clone().with_nullable(true)))
    }));
    let filled = Field::new(FILLED, DataType::Boolean, false).with_metadata(type_metadata(&SqlType::Bool));
    fields.push((None, Arc::new(filled)));
    Ok(Arc::new(DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?))
}

impl PartialOrd for Resample {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.input.partial_cmp(&other.input)
    }
}

impl UserDefinedLogicalNodeCore for Resample {
    fn name(&self) -> &str {
        "Resample"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.bounds.iter().map(|bound| bound.value.clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Resample: every={}, method={}", self.options.every, self.method)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (Some(input), true) = (inputs.pop(), inputs.is_empty()) else {
            return internal_err!("Resample has one input");
        };
        // A pruned input has other columns at the same places: they are found again by name.
        let find = |at: usize| {
            let (relation, field) = self.input.schema().qualified_field(at);
            match input.schema().index_of_column_by_name(relation, field.name()) {
                Some(found) => Ok(found),
                None => internal_err!("Resample lost a column"),
            }
        };
        let all = |places: &[usize]| places.iter().map(|at| find(*at)).collect::<Result<Vec<_>>>();
        let (time, series, values) = (find(self.time)?, all(&self.series)?, all(&self.values)?);
        let mut node =
            Self { schema: schema_of(&input, time, &series, &values)?, time, series, values, input, ..self.clone() };
        if exprs.len() != node.bounds.len() {
            return internal_err!("Resample lost an expression");
        }
        for (bound, expr) in node.bounds.iter_mut().zip(exprs) {
            bound.value = expr;
        }
        Ok(node)
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let mut needed: Vec<usize> = self.series.iter().chain([&self.time]).chain(&self.values).copied().collect();
        needed.sort_unstable();
        Some(vec![needed])
    }
}

/// Interval of a text argument.
pub(super) fn interval(scope: &Arc<Scope>, name: &str, text: &str) -> Result<IntervalMonthDayNano> {
    let wrong = || invalid(format!("invalid argument {name} of resample: \"{text}\""), USAGE);
    match cast::literal(scope, Some(text), &SqlType::Interval).map_err(|_| wrong())?.expr {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _) => Ok(interval),
        _ => Err(wrong()),
    }
}

/// The same in the unit of the time.
pub(super) fn length(scope: &Arc<Scope>, name: &str, text: &str, time_type: &DataType) -> Result<i64> {
    let wrong = || invalid(format!("invalid argument {name} of resample: \"{text}\""), USAGE);
    if time_type.is_integer() {
        return text.trim().parse().map_err(|_| wrong());
    }
    let IntervalMonthDayNano { months, days, nanoseconds } = interval(scope, name, text)?;
    let micros = i64::from(days).checked_mul(86_400_000_000).and_then(|days| days.checked_add(nanoseconds / 1000));
    let micros = micros.filter(|micros| months == 0 && *micros >= 0).ok_or_else(wrong)?;
    Ok(if *time_type == DataType::Date32 { micros / 86_400_000_000 } else { micros })
}

/// Makes the operator.
pub(in crate::plan) fn physical(
    node: &Resample,
    engine: &Engine,
    scope: &Arc<Scope>,
    input: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = input.schema();
    let time_type = schema.field(node.time).data_type().clone();
    let raise =
        |error: tidemill_udfs::types::ValueError| datafusion::common::DataFusionError::from(crate::Error::from(error));
    let every = node.options.every.as_str();
    let bucket = match (&time_type, &node.options.timezone) {
        (DataType::Int16 | DataType::Int32 | DataType::Int64, _) => {
            Bucket::of_integers(length(scope, "every", every, &time_type)?, None, i64::MIN..=i64::MAX)
        }
        (DataType::Date32, _) => Bucket::of_dates(interval(scope, "every", every)?, None, None),
        (_, Some(zone)) => Bucket::in_zone(interval(scope, "every", every)?, zone, None, None),
        (_, None) => Bucket::of_times(interval(scope, "every", every)?, None, None),
    }
    .map_err(raise)?;
    let fixed = match &node.options.timezone {
        Some(_) => None,
        None if time_type.is_integer() => Some(length(scope, "every", every, &time_type)?),
        None => {
            let width = interval(scope, "every", every)?;
            (width.months == 0).then(|| length(scope, "every", every, &time_type)).transpose()?
        }
    };
    let (mut start, mut finish) = (None::<i64>, None::<i64>);
    for bound in &node.bounds {
        let Edge::At(at) = bound.edge(engine, &time_type)? else { continue };
        match bound.side {
            Side::Start => start = start.max(Some(at)),
            Side::Finish => finish = Some(finish.map_or(at, |known| known.min(at))),
        }
    }
    // The first step that is wanted: rows before it would only be filtered out again.
    let start = start.map(|at| bucket.start_of(at)).transpose().map_err(raise)?;
    let values = node.values.iter().map(|at| {
        let data_type = schema.field(*at).data_type();
        let is_number =
            data_type.is_integer() || data_type.is_floating() || matches!(data_type, DataType::Decimal128(..));
        // What is no number has no line: it stays what it was.
        let method = if node.method == Method::Linear && !is_number { Method::Locf } else { node.method };
        (*at, method)
    });
    let max_gap = node.options.max_gap.as_deref();
    let resample = resample::Resample {
        time: node.time,
        series: node.series.clone(),
        values: values.collect(),
        steps: Arc::new(Grid(Calendar::new(bucket, fixed))),
        extent: Extent { start, finish },
        max_gap: max_gap.map(|text| length(scope, "max_gap", text, &time_type)).transpose()?,
        filled: FILLED.to_owned(),
    };
    Ok(Arc::new(ResampleExec::try_new(input, resample)?))
}

/// The calendar's buckets as steps.
#[derive(Debug)]
struct Grid(Calendar);

impl Steps for Grid {
    fn nth(&self, start: i64, k: u64) -> Result<Option<i64>> {
        self.0.nth(start, k)
    }

    fn fixed(&self) -> Option<i64> {
        self.0.fixed()
    }
}

impl Aligned for Grid {
    fn floor(&self, time: i64) -> Result<i64> {
        let start = self.0.bucket().start_of(time);
        start.map_err(|error| datafusion::common::DataFusionError::from(crate::Error::from(error)))
    }

    fn next(&self, at: i64) -> Result<Option<i64>> {
        Ok(self.0.bucket().following(at))
    }
}
