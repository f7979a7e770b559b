//! No function panics or makes another type than it promised, whatever it is given: nulls, extremes, nonsense, no rows.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::take;
use arrow::datatypes::FieldRef;
use datafusion_common::config::ConfigOptions;
use datafusion_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::define::{Function, Kind};
use super::settings;
use crate::types::{SqlType, array_to_text, parse_scalar};

/// Values worth trying of a type, as text; null comes in addition.
fn values(sql_type: &SqlType) -> &'static [&'static str] {
    match sql_type {
        SqlType::Bool => &["t", "f"],
        SqlType::Int2 => &["0", "1", "-1", "32767", "-32768"],
        SqlType::Int4 => &["0", "1", "-1", "2", "7", "1000", "2147483647", "-2147483648"],
        SqlType::Int8 => &["0", "1", "-1", "5", "9223372036854775807", "-9223372036854775808"],
        SqlType::Float4 => &["0", "1.5", "-1e30", "NaN", "Infinity"],
        SqlType::Float8 => &["0", "-0", "1.5", "-2.5", "1e300", "-1e-300", "NaN", "Infinity", "-Infinity", "100"],
        SqlType::Numeric(_) => {
            &["0", "1", "-1.5", "12.345", "9999999999999999999999", "-9999999999999999999999", "0.0000000000000001"]
        }
        // The last are states of aggregates: of time_weight, stats_agg(x) and candlestick_agg.
        SqlType::Bytea => &[
            "",
            "\\x00",
            "\\x616263",
            "\\xff00ff",
            "\\xd701010140420f00000000000000000000000440405489000000000000000000000010c00000000000000cc0",
            "\\xd70104030000000000000000000000000000000000000000000000000000000080384000000000008046c00000000000c27240",
            "\\xd7010640420f0000000000000000000000044040420f00000000000000000000000440405489000000000000000000000010c0405489000000000000000000000010c0010000000000001c4000000000000023c0",
        ],
        SqlType::Date => &["1970-01-01", "2024-02-29", "infinity", "-infinity", "4714-11-24 BC", "5874897-12-31"],
        SqlType::Time => &["00:00", "24:00", "12:34:56.789"],
        SqlType::Timestamp | SqlType::TimestampTz => &[
            "1970-01-01",
            "2024-03-10 02:30",
            "infinity",
            "-infinity",
            "4713-01-01 BC",
            "294246-12-31 23:59:59.999999",
        ],
        SqlType::Interval => {
            &["0", "1 mon", "-1 day", "178956970 years", "-100 years 3 days", "2562047 hours", "0.000001 s"]
        }
        SqlType::Uuid => &["00000000-0000-0000-0000-000000000000"],
        SqlType::Json | SqlType::Jsonb => {
            &["{}", "[]", "null", "1", "\"a\"", "[1, {\"a\": [2]}]", "{\"a\": {\"b\": [1]}, \"é\": \"\\u00e9\"}"]
        }
        SqlType::Array(item) if **item == SqlType::Text => &["{}", "{a}", "{NULL,b}", "{a,1,é,-1}", "{0}"],
        SqlType::Array(item) if **item == SqlType::Float8 => &["{}", "{1}", "{NULL,2}"],
        SqlType::Array(_) => &["{}", "{1}", "{NULL,2}", "{3}"],
        _ => &[
            "",
            "a",
            "é日😀",
            "day",
            "epoch",
            "%s %1$s %-5I|%L%",
            "FMYYYY-MM-DD HH24:MI:SS.US TZ Day RM Y,YYY",
            "99,990.99MI th",
            "9V9EEEE",
            "SPLRN",
            "(",
            "[^\\",
            "a{2,1}",
            "\\y(\\w)?*",
            "$1\\1\\&",
            "hex",
            "base64",
            "utf8",
            "12:30",
            "2024-01-02",
            "Europe/Berlin",
            "+99:99",
            "1e5 MB",
            "\"a.\"\".b",
            "\\+1F600\\",
            "{\"a\":",
        ],
    }
}

fn type_of(kind: &Kind) -> SqlType {
    match kind {
        Kind::Type(sql_type) => sql_type.clone(),
        Kind::Any | Kind::AnyElement => SqlType::Int4,
        Kind::AnyArray => SqlType::Array(Arc::new(SqlType::Int4)),
    }
}

/// The values worth trying of every type met so far.
type Known = HashMap<SqlType, ArrayRef>;

fn parse_values(sql_type: &SqlType) -> ArrayRef {
    let texts = values(sql_type);
    let known: Vec<_> = texts.iter().filter_map(|text| parse_scalar(sql_type, text, &settings()).ok()).collect();
    assert!(known.len() + 2 >= texts.len(), "the values of {sql_type:?} are values");
    datafusion_common::ScalarValue::iter_to_array(known).expect("one type")
}

/// A column of random values of a type.
fn column(sql_type: &SqlType, rows: usize, random: &mut StdRng, known: &mut Known) -> (ArrayRef, FieldRef) {
    let field = Arc::new(sql_type.field("arg", true));
    let known = known.entry(sql_type.clone()).or_insert_with(|| parse_values(sql_type));
    let count = known.len();
    let picks: arrow::array::UInt32Array = (0..rows)
        .map(|_| (!random.random_bool(0.1)).then(|| u32::try_from(random.random_range(0..count)).expect("few")))
        .collect();
    (take(known, &picks, None).expect("in range"), field)
}

/// One call; whether it gave a result.
fn call(
    function: &Function,
    types: &[SqlType],
    rows: usize,
    random: &mut StdRng,
    known: &mut Known,
) -> Result<bool, String> {
    let columns: Vec<_> = types.iter().map(|sql_type| column(sql_type, rows, random, known)).collect();
    let fields: Vec<FieldRef> = columns.iter().map(|(_, field)| Arc::clone(field)).collect();
    let types: Vec<_> = fields.iter().map(|field| field.data_type().clone()).collect();
    // A signature may only be reachable with a literal of unknown type.
    let Ok(targets) = function.coerce_types(&types) else { return Ok(false) };
    let fields: Vec<FieldRef> = fields
        .iter()
        .zip(&targets)
        .map(|(field, target)| Arc::new(field.as_ref().clone().with_data_type(target.clone())))
        .collect();
    let constants = vec![None; fields.len()];
    let returns = function
        .return_field_from_args(ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &constants })
        .map_err(|e| e.to_string())?;
    let args = columns
        .iter()
        .zip(&targets)
        .map(|((array, _), target)| Ok(ColumnarValue::Array(arrow::compute::cast(array, target)?)))
        .collect::<Result<_, arrow::error::ArrowError>>();
    let Ok(args) = args else { return Ok(false) };
    let mut config = ConfigOptions::default();
    config.execution.time_zone = Some("America/New_York".into());
    let call = ScalarFunctionArgs {
        args,
        arg_fields: fields,
        number_rows: rows,
        return_field: Arc::clone(&returns),
        config_options: Arc::new(config),
    };
    // Errors are fine: only panics and wrong types are not.
    if let Ok(result) = function.invoke_with_args(call) {
        let array = result.to_array(rows).map_err(|e| e.to_string())?;
        if array.data_type() != returns.data_type() || array.len() != rows {
            return Err(format!(
                "{} rows of {} instead of {rows} of {}",
                array.len(),
                array.data_type(),
                returns.data_type()
            ));
        }
        array_to_text(&array, &returns, &settings()).map_err(|e| e.to_string())?;
        return Ok(true);
    }
    Ok(false)
}

#[test]
fn nothing_panics() {
    let seed = 20_240_229;
    let mut random = StdRng::seed_from_u64(seed);
    let (mut wrong, mut known) = (vec![], Known::new());
    for function in super::super::scalars() {
        for kinds in function.signatures() {
            let types: Vec<SqlType> = kinds.iter().map(type_of).collect();
            let mut answered = false;
            // One row at a time, so that an error in one does not hide the others.
            for round in 0..120 {
                let rows = if round == 0 { 0 } else { 1 };
                let outcome = catch_unwind(AssertUnwindSafe(|| call(&function, &types, rows, &mut random, &mut known)));
                match outcome {
                    Ok(Ok(result)) => answered |= result && rows > 0,
                    Ok(Err(message)) => wrong.push(format!("{} {types:?}: {message}", function.name())),
                    Err(_) => wrong.push(format!("{} {types:?} panicked", function.name())),
                }
                if wrong.len() > 40 {
                    break;
                }
            }
            if !answered {
                wrong.push(format!("{} {types:?} never gave a result", function.name()));
            }
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "seed {seed}:\n{}", wrong.join("\n"));
}
