//! The operator of a [`GapFill`] node: constants are known now.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result, ScalarValue, internal_err, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::{ExecutionPlan, collect};
use parking_lot::Mutex;
use tidemill_operators::gapfill::{Fill, GapFillExec, Lookup, Range, Sample, Steps};
use tidemill_udfs::functions::Bucket;

use super::node::{Filling, GapFill};
use super::range::Side;
use crate::error::{Error, SqlState};
use crate::plan::engine::Engine;
use crate::plan::{Scope, apply, run};

/// Makes the operator. `scope`: the statement's, for lookups.
pub(in crate::plan) fn physical(
    node: &GapFill,
    engine: &Engine,
    scope: &Arc<Scope>,
    input: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let time_type = node.schema.field(node.time).data_type().clone();
    let bucket = bucket(node, engine, &time_type)?;
    let range = range(node, engine, &time_type, &bucket)?;
    let steps = Arc::new(Calendar::new(bucket, fixed(node, engine, &time_type)?));
    let lookup = |place: &Option<usize>, column: usize, is_pair: bool| -> Option<Arc<dyn Lookup>> {
        let plan = node.lookups.get((*place)?)?.clone();
        let series =
            node.series.iter().map(|at| datafusion::common::Column::from(node.input.schema().qualified_field(*at)));
        Some(Arc::new(Query {
            plan,
            series: series.collect(),
            scope: Arc::clone(scope),
            time_type: time_type.clone(),
            value_type: node.schema.field(column).data_type().clone(),
            is_pair,
        }))
    };
    let columns = (0..)
        .zip(&node.fillings)
        .map(|(column, filling)| {
            Ok(match filling {
                Filling::Time => Fill::Time,
                Filling::Series => Fill::Series,
                Filling::Null => Fill::Null,
                Filling::Value(place) => {
                    let empty = datafusion::common::DFSchema::empty();
                    Fill::Value(engine.expression(node.constants[*place].clone(), &empty)?)
                }
                Filling::Locf { null_is_missing, prev } => {
                    Fill::Locf { treat_null_as_missing: *null_is_missing, prev: lookup(prev, column, false) }
                }
                Filling::Interpolate { null_is_missing, prev, next, at } => Fill::Interpolate {
                    treat_null_as_missing: *null_is_missing,
                    prev: lookup(prev, column, true),
                    next: lookup(next, column, true),
                    at: *at,
                },
            })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(GapFillExec::try_new(input, node.time, node.series.clone(), range, steps, columns)?))
}

fn invalid(detail: impl std::fmt::Display) -> DataFusionError {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid time_bucket_gapfill argument: {detail}")).into()
}

/// A constant in the unit of the column of time; `None`: NULL.
pub(in crate::plan) fn whole(engine: &Engine, expr: &Expr, data_type: &DataType) -> Result<Option<i64>> {
    number(&engine.value(expr)?.cast_to(data_type)?)
}

fn number(value: &ScalarValue) -> Result<Option<i64>> {
    Ok(match value {
        ScalarValue::Null => None,
        ScalarValue::Int16(value) => value.map(i64::from),
        ScalarValue::Int32(value) | ScalarValue::Date32(value) => value.map(i64::from),
        ScalarValue::Int64(value) | ScalarValue::TimestampMicrosecond(value, _) => *value,
        other => return plan_err!("{} is no type of buckets", other.data_type()),
    })
}

fn bucket(node: &GapFill, engine: &Engine, time_type: &DataType) -> Result<Bucket> {
    let [width, zone, origin, offset] = &node.bucket;
    let raise = |error: tidemill_udfs::types::ValueError| DataFusionError::from(Error::from(error));
    let width = engine.value(width)?;
    if width.is_null() {
        return Err(invalid("bucket_width cannot be NULL"));
    }
    let origin = whole(engine, origin, time_type)?;
    let offset = engine.value(offset)?;
    let ScalarValue::IntervalMonthDayNano(Some(width)) = width else {
        let least_most = match time_type {
            DataType::Int16 => i16::MIN.into()..=i16::MAX.into(),
            DataType::Int32 => i32::MIN.into()..=i32::MAX.into(),
            _ => i64::MIN..=i64::MAX,
        };
        let width = number(&width)?.unwrap_or_default();
        return Bucket::of_integers(width, number(&offset)?, least_most).map_err(raise);
    };
    let offset = match offset {
        ScalarValue::IntervalMonthDayNano(offset) => offset,
        _ => None,
    };
    let zone = engine.value(zone)?;
    match (time_type, zone.try_as_str().flatten()) {
        (DataType::Date32, _) => {
            let origin = origin.and_then(|origin| i32::try_from(origin).ok());
            Bucket::of_dates(width, origin, offset).map_err(raise)
        }
        (_, Some(zone)) => Bucket::in_zone(width, zone, origin, offset).map_err(raise),
        (_, None) => Bucket::of_times(width, origin, offset).map_err(raise),
    }
}

/// The width, where every bucket has the same.
fn fixed(node: &GapFill, engine: &Engine, time_type: &DataType) -> Result<Option<i64>> {
    let [width, zone, _, offset] = &node.bucket;
    let months = |value: &ScalarValue| matches!(value, ScalarValue::IntervalMonthDayNano(Some(v)) if v.months != 0);
    let (width, zone, offset) = (engine.value(width)?, engine.value(zone)?, engine.value(offset)?);
    Ok(match (time_type, &width) {
        _ if !zone.is_null() || months(&width) || months(&offset) => None,
        (DataType::Date32, ScalarValue::IntervalMonthDayNano(Some(width))) => {
            Some(i64::from(width.days) + width.nanoseconds / 86_400_000_000_000)
        }
        (_, ScalarValue::IntervalMonthDayNano(Some(width))) => {
            Some(i64::from(width.days) * 86_400_000_000 + width.nanoseconds / 1000)
        }
        (_, width) => number(width)?,
    })
}

/// From the latest start to the earliest finish.
fn range(node: &GapFill, engine: &Engine, time_type: &DataType, bucket: &Bucket) -> Result<Range> {
    let (mut start, mut finish) = (i64::MIN, i64::MAX);
    for bound in &node.bounds {
        let word = if bound.side == Side::Start { "start" } else { "finish" };
        let value = whole(engine, &bound.value, time_type)?.ok_or_else(|| invalid(format!("{word} cannot be NULL")))?;
        let is_infinite = match time_type {
            DataType::Date32 => value == i64::from(i32::MIN) || value == i64::from(i32::MAX),
            DataType::Timestamp(..) => value == i64::MIN || value == i64::MAX,
            _ => false,
        };
        if is_infinite {
            return Err(invalid(format!("{word} cannot be infinite")));
        }
        // `> x` begins after x, `<= x` ends after it.
        match (bound.side, bound.inclusive) {
            (Side::Start, true) => start = start.max(value),
            (Side::Start, false) => start = start.max(value.saturating_add(1)),
            (Side::Finish, true) => finish = finish.min(value.saturating_add(1)),
            (Side::Finish, false) => finish = finish.min(value),
        }
    }
    let start = bucket.start_of(start).map_err(|error| DataFusionError::from(Error::from(error)))?;
    Ok(Range { start, finish })
}

/// Buckets by the calendar.
#[derive(Debug)]
pub(in crate::plan) struct Calendar {
    bucket: Bucket,
    fixed: Option<i64>,
    /// With a zone: the first buckets' starts, each found from the one before it, shared by all series; and the one asked
    /// for last beyond them.
    known: Mutex<Known>,
}

/// See [`Calendar::known`].
type Known = (Vec<i64>, Option<(u64, i64)>);

/// Starts that are remembered, 8 MB.
const KNOWN_MAX: usize = 1 << 20;

impl Calendar {
    /// `fixed`: the width, where every bucket has the same.
    pub(in crate::plan) fn new(bucket: Bucket, fixed: Option<i64>) -> Self {
        Self { bucket, fixed, known: Mutex::default() }
    }

    pub(in crate::plan) fn bucket(&self) -> &Bucket {
        &self.bucket
    }
}

impl Steps for Calendar {
    fn nth(&self, start: i64, k: u64) -> Result<Option<i64>> {
        if !self.bucket.has_zone() {
            return Ok(i64::try_from(k).ok().and_then(|k| self.bucket.nth(start, k)));
        }
        let place = usize::try_from(k).unwrap_or(usize::MAX);
        let (starts, beyond) = &mut *self.known.lock();
        if starts.first() != Some(&start) {
            (*starts, *beyond) = (vec![start], None);
        }
        while starts.len() <= place.min(KNOWN_MAX - 1) {
            let Some(next) = starts.last().and_then(|last| self.bucket.following(*last)) else { return Ok(None) };
            starts.push(next);
        }
        if let Some(known) = starts.get(place) {
            return Ok(Some(*known));
        }
        let (mut at, mut count) = match *beyond {
            Some((count, at)) if count <= k => (at, count),
            _ => (starts[KNOWN_MAX - 1], KNOWN_MAX as u64 - 1),
        };
        while count < k {
            let Some(next) = self.bucket.following(at) else { return Ok(None) };
            (at, count) = (next, count + 1);
        }
        *beyond = Some((count, at));
        Ok(Some(at))
    }

    fn fixed(&self) -> Option<i64> {
        self.fixed
    }
}

/// What `prev` and `next` find.
struct Query {
    /// A query of one row and column; outer columns are the series'.
    plan: LogicalPlan,
    series: Vec<datafusion::common::Column>,
    scope: Arc<Scope>,
    time_type: DataType,
    value_type: DataType,
    /// The value is a row of time and value.
    is_pair: bool,
}

impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.plan.display())
    }
}

#[async_trait]
impl Lookup for Query {
    async fn row(&self, series: &[ScalarValue]) -> Result<Option<Sample>> {
        let known = |column: &datafusion::common::Column| {
            let place = self.series.iter().position(|other| other == column)?;
            series.get(place).cloned()
        };
        let plan = self.plan.clone().transform_down_with_subqueries(|node| {
            node.map_expressions(|expr| {
                expr.transform_up(|expr| match expr {
                    Expr::OuterReferenceColumn(field, column) => match known(&column) {
                        Some(value) => {
                            let metadata = datafusion::common::metadata::FieldMetadata::new_from_field(&field);
                            Ok(Transformed::yes(Expr::Literal(value, Some(metadata))))
                        }
                        None => Ok(Transformed::no(Expr::OuterReferenceColumn(field, column))),
                    },
                    other => Ok(Transformed::no(other)),
                })
            })
        })?;
        // Subqueries say again which outer columns they name: none by now.
        let plan = plan.data.transform_up_with_subqueries(|node| {
            node.map_expressions(|expr| {
                expr.transform_up(|expr| match expr {
                    Expr::ScalarSubquery(mut subquery) => {
                        subquery.outer_ref_columns = subquery.subquery.all_out_ref_exprs();
                        Ok(Transformed::yes(Expr::ScalarSubquery(subquery)))
                    }
                    other => Ok(Transformed::no(other)),
                })
            })
        })?;
        let engine = Engine::new(&self.scope, run::runtime(&self.scope));
        let physical = apply::physical(&engine, plan.data).await?;
        let batches = collect(physical, engine.task()).await?;
        let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else { return Ok(None) };
        self.sample(&ScalarValue::try_from_array(batch.column(0), 0)?)
    }
}

impl Query {
    fn sample(&self, value: &ScalarValue) -> Result<Option<Sample>> {
        if !self.is_pair {
            return Ok(Some(Sample { time: 0, value: value.cast_to(&self.value_type)? }));
        }
        let ScalarValue::Struct(pair) = value else {
            return Err(invalid_pair("interpolate RECORD arguments must have 2 elements"));
        };
        if value.is_null() {
            return Ok(None);
        }
        let [time, value] = pair.columns() else {
            return Err(invalid_pair("interpolate RECORD arguments must have 2 elements"));
        };
        let (time, value) = (ScalarValue::try_from_array(time, 0)?, ScalarValue::try_from_array(value, 0)?);
        if time.is_null() || value.is_null() {
            return Ok(None);
        }
        if !time.data_type().equals_datatype(&self.time_type) {
            return Err(invalid_pair(
                "first argument of interpolate returned record must match used timestamp datatype",
            ));
        }
        if !same_kind(&value.data_type(), &self.value_type) {
            return Err(invalid_pair(
                "second argument of interpolate returned record must match used interpolate datatype",
            ));
        }
        let Some(time) = number(&time)? else { return internal_err!("a time that is not NULL") };
        Ok(Some(Sample { time, value: value.cast_to(&self.value_type)? }))
    }
}

/// Decimals of any scale are one type.
fn same_kind(left: &DataType, right: &DataType) -> bool {
    left == right || (left.is_decimal() && right.is_decimal())
}

fn invalid_pair(message: &str) -> DataFusionError {
    Error::new(SqlState::DATATYPE_MISMATCH, message).into()
}
