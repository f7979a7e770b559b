//! `time_bucket_gapfill`, `locf`, `interpolate`: rows for the buckets that have none, as TimescaleDB gives them.
//!
//! ```text
//! SELECT time_bucket_gapfill('5 s', ts) AS t, d, round(interpolate(avg(v)), 1) FROM r WHERE ts >= … AND ts < … GROUP BY 1, 2
//!
//!   Projection t, d, round(fill0, 1)
//!     GapFill time=t series=[d] fill0: interpolate               gap rows: aggregates are NULL in what stands above
//!       Projection t, d, avg(v), avg(v) AS fill0
//!         Aggregate time_bucket('5 s', ts), d: avg(v)
//! ```
//! In syntax and types ([`typed`]) the functions are calls that give their first argument, which they also are where there is
//! no gap to fill. [`rewrite`] finds them in a typed plan and puts a [`node::GapFill`] under them, whose range it infers from
//! the query's conditions; `physical` makes the operator of it when values of parameters and `now()` are known.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Result as DfResult, ScalarValue, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use tidemill_udfs::functions::FunctionInfo;
use tidemill_udfs::types::{NUMERIC_DEFAULT_SCALE, NUMERIC_PRECISION_MAX, SqlType};

use super::pending::PendingFunction;
use super::typing::{Typed, Typing};
use crate::Result;
use crate::error::{Error, SqlState};

mod interleave;
mod node;
mod physical;
mod range;
mod rewrite;

pub(super) use interleave::Interleave;
pub(super) use node::GapFill;
pub(super) use physical::{Calendar, physical, with_bounds};
pub(super) use range::{Bound, Edge, Side, conditions};
pub(super) use rewrite::rewrite;

/// The bucket.
pub(super) const BUCKET: &str = "time_bucket_gapfill";
/// What a gap is filled with.
const FILLS: [&str; 4] = ["locf", "interpolate", "interpolate_at", "fill_with"];

/// The functions as name resolution sees them.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    std::iter::once(BUCKET).chain(FILLS).map(Marker::udf).collect()
}

/// What there is to say about them.
pub(super) fn all_info() -> Vec<FunctionInfo> {
    let info = |name, signatures: &[&str], description, example| FunctionInfo {
        name,
        aliases: vec![],
        kind: "scalar",
        signatures: signatures.iter().map(ToString::to_string).collect(),
        description,
        example,
    };
    vec![
        info(
            BUCKET,
            &[
                "time_bucket_gapfill(interval, timestamptz, [start timestamptz, finish timestamptz, origin timestamptz, \"offset\" interval]) → timestamptz",
                "time_bucket_gapfill(interval, timestamptz, timezone text, [start timestamptz, finish timestamptz, origin timestamptz, \"offset\" interval]) → timestamptz",
                "time_bucket_gapfill(interval, timestamp, [start timestamp, finish timestamp, origin timestamp, \"offset\" interval]) → timestamp",
                "time_bucket_gapfill(interval, date, [start date, finish date, origin date, \"offset\" interval]) → date",
                "time_bucket_gapfill(int8, int8, [start int8, finish int8, \"offset\" int8]) → int8",
            ],
            "The start of a time's bucket; in GROUP BY, buckets without rows get one. Their range is given or follows from WHERE.",
            "time_bucket_gapfill('5 minutes', ts, start => '2026-01-01', finish => '2026-01-02')",
        ),
        info(
            "locf",
            &["locf(anyelement, [prev anyelement, treat_null_as_missing boolean]) → anyelement"],
            "The last observation carried forward into buckets without rows; prev finds what was before the first.",
            "locf(avg(temperature), treat_null_as_missing => true)",
        ),
        info(
            "interpolate",
            &["interpolate(number, [prev record, next record, treat_null_as_missing boolean]) → number"],
            "Buckets without rows get the value on the line between their neighbours; prev and next find the (time, value) outside.",
            "interpolate(avg(temperature))",
        ),
        info(
            "interpolate_at",
            &[
                "interpolate_at(number, timestamptz, [prev record, next record, treat_null_as_missing boolean]) → number",
            ],
            "As interpolate, with each value at its own time instead of at its bucket's start.",
            "interpolate_at(last(temperature, ts), max(ts))",
        ),
        FunctionInfo {
            kind: "table",
            aliases: vec!["align".to_owned()],
            ..info(
                "resample",
                &[
                    "resample(table, every, by => series, method => 'linear' | 'locf' | 'nearest' | 'next' | 'none', max_gap => interval, time => column, columns => columns, timezone => zone) → rows of the table's columns and filled boolean",
                ],
                "In FROM: a row of each series at every step of a regular grid, of a table or a subquery, without aggregation.",
                "SELECT * FROM resample('readings', every => '5 seconds', by => 'device_id', max_gap => '30 seconds') WHERE ts >= '2026-01-01'",
            )
        },
        info(
            "fill_with",
            &["fill_with(anyelement, anyelement) → anyelement"],
            "The first argument; in buckets without rows the second, a constant.",
            "fill_with(count(*), 0)",
        ),
    ]
}

/// A call that is its first argument's value, until [`rewrite`] finds it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Marker {
    name: &'static str,
    signature: Signature,
}

impl Marker {
    fn udf(name: &'static str) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::new_from_impl(Self { name, signature: Signature::user_defined(Volatility::Immutable) }))
    }

    fn of(udf: &ScalarUDF) -> Option<&Self> {
        (udf.inner().as_ref() as &dyn std::any::Any).downcast_ref()
    }
}

impl ScalarUDFImpl for Marker {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        types.first().cloned().map_or_else(|| internal_err!("{} has an argument", self.name), Ok)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        match args.arg_fields.first() {
            Some(first) => Ok(Arc::new(Field::clone(first).with_name(self.name).with_nullable(true))),
            None => internal_err!("{} has an argument", self.name),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        args.args.into_iter().next().map_or_else(|| internal_err!("{} has an argument", self.name), Ok)
    }
}

/// True for a call of one of these functions.
pub(super) fn is_marker(function: &ScalarUDF) -> bool {
    Marker::of(function).is_some()
}

/// True for an expression, not typed yet, with a bucket in it.
pub(super) fn is_bucket(expr: &Expr) -> bool {
    let is_call = |expr: &Expr| {
        let Expr::ScalarFunction(call) = expr else { return false };
        PendingFunction::of(&call.func).is_some_and(|pending| pending.name == BUCKET)
    };
    expr.exists(|expr| Ok(is_call(expr))).unwrap_or(false)
}

/// The arguments of a typed call.
fn call_of<'e>(expr: &'e Expr, names: &[&str]) -> Option<(&'static str, &'e [Expr])> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let marker = Marker::of(&call.func)?;
    names.contains(&marker.name).then_some((marker.name, call.args.as_slice()))
}

/// NULL where an optional argument is left out.
fn absent() -> Typed {
    Typed::of(Expr::Literal(ScalarValue::Null, None), SqlType::Unknown)
}

fn is_absent(value: &Typed) -> bool {
    value.is_unknown() && matches!(&value.expr, Expr::Literal(literal, _) if literal.is_null())
}

/// A call with typed arguments: a marker whose first argument is what the call is without gaps, and whose others have the
/// types that the operator needs.
///
/// # Errors
/// 42883 for arguments of other types or number, 0A000 for constants that are none.
pub(super) fn typed(typing: &mut Typing, function: &Arc<ScalarUDF>, args: Vec<Typed>) -> Result<Typed> {
    let marker = Marker::of(function).ok_or_else(|| Error::internal("not a function of gap filling"))?;
    let undefined = |args: &[Typed]| super::typing::undefined_function(marker.name, args);
    let args = match marker.name {
        BUCKET => bucket(typing, args)?,
        "locf" | "interpolate" | "interpolate_at" => {
            let (least, most) = match marker.name {
                "locf" => (1, 3),
                "interpolate" => (1, 4),
                _ => (2, 5),
            };
            if args.len() < least || args.len() > most {
                return Err(undefined(&args));
            }
            let given = args.len();
            let mut args = args;
            let first = typing.settled(args.remove(0))?;
            if marker.name != "locf" && !super::typing::is_number(&first.sql_type) {
                args.insert(0, first);
                return Err(undefined(&args));
            }
            // A quotient with all its digits, such as avg(integer): the operator has the digits that can be stored.
            let first = match &first.data_type {
                DataType::Decimal256(..) => {
                    let stored = DataType::Decimal128(NUMERIC_PRECISION_MAX, NUMERIC_DEFAULT_SCALE);
                    typing.convert_to(first, &SqlType::Numeric(None), stored)?
                }
                _ => first,
            };
            args.insert(0, first);
            args.resize_with(most, absent);
            if marker.name == "locf" && !is_absent(&args[1]) {
                let like = args[0].sql_type.clone();
                let plain = super::typing::without_modifier;
                let shared = super::types::common_type(&like, &args[1].sql_type);
                if shared.is_none_or(|shared| plain(&shared) != plain(&like)) {
                    args.truncate(given);
                    return Err(undefined(&args));
                }
                let prev = args.remove(1);
                args.insert(1, typing.implicitly(prev, &like)?);
            }
            let pairs = if marker.name == "locf" { 0..0 } else { least..most - 1 };
            if args[pairs].iter().any(|pair| !is_absent(pair) && pair.sql_type != SqlType::Record) {
                args.truncate(given);
                return Err(undefined(&args));
            }
            let flag = args.pop().unwrap_or_else(absent);
            args.push(self::flag(flag)?);
            args
        }
        _ => match args.as_slice() {
            [_, _] => {
                let (args, ..) = typing.unify(args, "fill_with")?;
                args
            }
            _ => return Err(undefined(&args)),
        },
    };
    let (sql_type, data_type) = (args[0].sql_type.clone(), args[0].data_type.clone());
    let args = args.into_iter().map(|arg| arg.expr).collect();
    let call = Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), args));
    Ok(Typed::new(call, sql_type, data_type))
}

/// `treat_null_as_missing`: a constant.
fn flag(value: Typed) -> Result<Typed> {
    if is_absent(&value) {
        return Ok(Typed::literal(ScalarValue::Boolean(Some(false)), SqlType::Bool));
    }
    match &value.expr {
        Expr::Literal(ScalarValue::Boolean(Some(_)), _) => Ok(value),
        _ => Err(Error::unsupported("invalid locf argument: treat_null_as_missing must be a BOOL literal")),
    }
}

/// `[time_bucket(…), ts, start, finish, width, zone, origin, offset]` of the arguments as written; with names, there are all
/// seven.
fn bucket(typing: &mut Typing, args: Vec<Typed>) -> Result<Vec<Typed>> {
    let undefined = |args: &[Typed]| super::typing::undefined_function(BUCKET, args);
    let count = args.len();
    if !matches!(count, 2..=5 | 7) {
        return Err(undefined(&args));
    }
    let mut args = args.into_iter();
    let mut next = || args.next().unwrap_or_else(absent);
    let (width, ts) = (next(), next());
    let (zone, start, finish) = match count {
        3 | 7 => {
            // A third argument without a name: a time zone, or the start.
            let third = next();
            if is_absent(&third) || is_zone(&third) {
                (third, next(), next())
            } else {
                let (second, finish) = (next(), next());
                if !is_absent(&second) && !is_absent(&finish) {
                    return Err(undefined(&[width, ts, third, second, finish]));
                }
                (absent(), third, if is_absent(&second) { finish } else { second })
            }
        }
        4 => (absent(), next(), next()),
        _ => (next(), next(), next()),
    };
    let (origin, offset) = (next(), next());
    let ts = if is_absent(&ts) { ts } else { typing.settled(ts)? };
    if is_absent(&ts) {
        let message = "invalid time_bucket_gapfill argument: ts cannot be NULL";
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    if ts.sql_type == SqlType::Uuid {
        return Err(undefined(&[width, ts]));
    }
    let is_integer = super::types::is_integer(&ts.sql_type);
    let width = if width.is_unknown() {
        typing.implicitly(width, if is_integer { &ts.sql_type } else { &SqlType::Interval })?
    } else {
        width
    };
    let mut like_ts = |value: Typed| -> Result<Typed> {
        if is_absent(&value) { Ok(value) } else { typing.implicitly(value, &ts.sql_type) }
    };
    let (start, finish, origin) = (like_ts(start)?, like_ts(finish)?, like_ts(origin)?);
    let zone = if is_absent(&zone) { zone } else { typing.implicitly(zone, &SqlType::Text)? };
    let offset = match (is_absent(&offset), is_integer) {
        (true, _) => offset,
        (false, true) => typing.implicitly(offset, &ts.sql_type)?,
        (false, false) => typing.implicitly(offset, &SqlType::Interval)?,
    };
    let constants = [("bucket_width", &width), ("timezone", &zone), ("start", &start), ("finish", &finish)];
    for (word, value) in constants.into_iter().chain([("origin", &origin), ("offset", &offset)]) {
        // The range may be what a query finds that does not depend on rows.
        let may_ask = matches!(word, "start" | "finish");
        let reads = |expr: &Expr| match expr {
            Expr::ScalarSubquery(query) => !may_ask || !query.outer_ref_columns.is_empty(),
            Expr::Column(_) | Expr::AggregateFunction(_) | Expr::WindowFunction(_) => true,
            Expr::Exists(_) | Expr::InSubquery(_) => true,
            _ => false,
        };
        if value.expr.exists(|expr| Ok(reads(expr)))? {
            let message = format!("invalid time_bucket_gapfill argument: {word} must be a simple expression");
            return Err(Error::unsupported(message)
                .hint("It may have constants, parameters and functions, but no columns, aggregates or subqueries."));
        }
    }
    let mut plain = vec![width.clone(), ts.clone()];
    if !is_absent(&zone) {
        plain.push(zone.clone());
    }
    if !is_absent(&origin) || !is_absent(&zone) && !is_absent(&offset) {
        let typed = ts.sql_type.clone();
        plain.push(if is_absent(&origin) { typing.implicitly(origin.clone(), &typed)? } else { origin.clone() });
    }
    if !is_absent(&offset) {
        plain.push(offset.clone());
    }
    let bucket = typing.call("time_bucket", plain)?;
    Ok(vec![bucket, ts, start, finish, width, zone, origin, offset])
}

/// The arguments of `time_bucket`: an untyped third one that is no time zone is an origin of the time's type.
///
/// # Errors
/// 22007 for a literal that is neither.
pub(super) fn with_origin(typing: &mut Typing, mut args: Vec<Typed>) -> Result<Vec<Typed>> {
    // The time in a uuid of version 7.
    if args.len() > 1 && args[1].sql_type == SqlType::Uuid {
        let id = args.remove(1);
        args.insert(1, typing.call("pg_uuid_time", vec![id])?);
    }
    if let [_, ts, third] | [_, ts, third, _] = args.as_slice()
        && !ts.is_unknown()
        && third.is_unknown()
        && matches!(third.expr, Expr::Literal(..))
        && !is_absent(third)
        && !is_zone(third)
    {
        let sql_type = ts.sql_type.clone();
        let third = args.remove(2);
        args.insert(2, typing.decide(third, &sql_type)?);
    }
    Ok(args)
}

/// True for what names a time zone rather than a time.
fn is_zone(value: &Typed) -> bool {
    match (&value.sql_type, &value.expr) {
        (SqlType::Unknown, Expr::Literal(literal, _)) => {
            literal.try_as_str().flatten().is_some_and(|text| !text.trim().starts_with(|c: char| c.is_ascii_digit()))
        }
        (sql_type, _) => super::typing::is_textual(sql_type),
    }
}
