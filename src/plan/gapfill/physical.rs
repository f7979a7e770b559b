//! The operator of a [`GapFill`] node: constants are known now.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, ScalarValue, internal_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan};
use datafusion::physical_plan::{ExecutionPlan, collect};
use parking_lot::Mutex;
use tidemill_operators::gapfill::{Fill, GapFillExec, Lookup, Range, Sample, Steps};
use tidemill_udfs::functions::Bucket;

use super::node::{Filling, GapFill};
use super::range::{Edge, Side, number};
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

/// The plan with values in place of the queries that a range was given as. They are run here: a range is wanted before rows.
///
/// # Errors
/// Of the queries; 21000 for one of several rows.
pub(in crate::plan) async fn with_bounds(engine: &Engine, plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut queries = vec![];
    plan.apply_with_subqueries(|node| {
        let LogicalPlan::Extension(Extension { node }) = node else { return Ok(TreeNodeRecursion::Continue) };
        let bounds = node.as_any().downcast_ref::<GapFill>().map_or(&[][..], |node| &node.bounds);
        for bound in bounds {
            bound.value.apply(|expr| {
                if let Expr::ScalarSubquery(query) = expr {
                    queries.push(Arc::clone(&query.subquery));
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if queries.is_empty() {
        return Ok(plan);
    }
    let mut values = vec![];
    for query in queries {
        let data_type = query.schema().field(0).data_type().clone();
        let physical = Box::pin(apply::physical(engine, query.as_ref().clone())).await?;
        let rows = collect(physical, engine.task()).await?;
        let rows: Vec<_> = rows.iter().filter(|batch| batch.num_rows() > 0).collect();
        let value = match rows.as_slice() {
            [] => ScalarValue::try_from(&data_type)?,
            [batch] if batch.num_rows() == 1 => ScalarValue::try_from_array(batch.column(0), 0)?,
            _ => {
                let message = "more than one row returned by a subquery used as an expression";
                return Err(Error::new(SqlState::CARDINALITY_VIOLATION, message).into());
            }
        };
        values.push((query, value));
    }
    let value_of = |expr: Expr| match &expr {
        Expr::ScalarSubquery(query) => match values.iter().find(|(known, _)| Arc::ptr_eq(known, &query.subquery)) {
            Some((_, value)) => Ok(Transformed::yes(Expr::Literal(value.clone(), None))),
            None => internal_err!("a query of a range that was not run"),
        },
        _ => Ok(Transformed::no(expr)),
    };
    let replaced = plan.transform_down_with_subqueries(|node| {
        let LogicalPlan::Extension(Extension { node: extension }) = &node else { return Ok(Transformed::no(node)) };
        let Some(gaps) = extension.as_any().downcast_ref::<GapFill>() else { return Ok(Transformed::no(node)) };
        let mut gaps = gaps.clone();
        for bound in &mut gaps.bounds {
            bound.value = std::mem::take(&mut bound.value).transform_down(value_of)?.data;
        }
        Ok(Transformed::yes(LogicalPlan::Extension(Extension { node: Arc::new(gaps) })))
    })?;
    Ok(replaced.data)
}

fn invalid(detail: impl std::fmt::Display) -> DataFusionError {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid time_bucket_gapfill argument: {detail}")).into()
}

/// A constant in the unit of the column of time; `None`: NULL.
fn whole(engine: &Engine, expr: &Expr, data_type: &DataType) -> Result<Option<i64>> {
    number(&engine.value(expr)?.cast_to(data_type)?)
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
        match (bound.side, bound.edge(engine, time_type)?) {
            (_, Edge::Null) => return Err(invalid(format!("{word} cannot be NULL"))),
            (_, Edge::Infinite) => return Err(invalid(format!("{word} cannot be infinite"))),
            (Side::Start, Edge::At(at)) => start = start.max(at),
            (Side::Finish, Edge::At(at)) => finish = finish.min(at),
        }
    }
    // Bounds of a wider type: no time of the column's is outside of its own.
    let (least, most) = match time_type {
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        _ => (i64::MIN, i64::MAX),
    };
    let start = if start > most {
        finish = least;
        most
    } else {
        start.max(least)
    };
    let start = bucket.start_of(start).map_err(|error| DataFusionError::from(Error::from(error)))?;
    Ok(Range { start, finish: finish.min(most.saturating_add(1)) })
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
