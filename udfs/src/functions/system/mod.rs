//! Functions on values of any type, identifiers and sizes.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion_common::Result;

use super::call::{Call, Value, fail};
use super::define::{Function, def};
use super::number::Num;
use crate::types::ValueError;

fn is_null(call: &Call<'_>, index: usize, row: usize) -> bool {
    let argument = &call.args[index];
    *argument.array.data_type() == DataType::Null || argument.array.is_null(argument.at(row))
}

/// How many arguments are null, or are not.
fn count(call: &Call<'_>, null: bool) -> Result<ArrayRef> {
    call.collect(|row| {
        let count = (0..call.args.len()).filter(|index| is_null(call, *index, row) == null).count();
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    })
}

/// Sizes up to this many of a unit are shown in it; one unit is 1024 of the one before.
const UNITS: [(&str, u32); 6] = [("bytes", 0), ("kB", 10), ("MB", 20), ("GB", 30), ("TB", 40), ("PB", 50)];

/// A size in the largest unit that keeps at least two digits before it is rounded.
fn pretty(size: i128) -> String {
    let mut scaled = size;
    for (index, (unit, _)) in UNITS.iter().enumerate() {
        // From kB on, values are kept doubled, so that halves can be rounded away from zero.
        let limit = if index == 0 { 10 * 1024 } else { 20 * 1024 - 1 };
        if scaled.abs() < limit || index + 1 == UNITS.len() {
            if index > 0 {
                scaled = (scaled + scaled.signum()) / 2;
            }
            return format!("{scaled} {unit}");
        }
        scaled /= if index == 0 { 512 } else { 1024 };
    }
    unreachable!("the last unit takes every size")
}

fn size_bytes(text: &str) -> Value<i64> {
    let trimmed = text.trim();
    let end = trimmed.char_indices().find(|(at, c)| {
        let sign = matches!(c, '+' | '-') && (*at == 0 || trimmed[..*at].ends_with(['e', 'E']));
        let exponent = matches!(c, 'e' | 'E')
            && trimmed[at + 1..].starts_with(|c: char| c.is_ascii_digit() || c == '+' || c == '-');
        !(c.is_ascii_digit() || *c == '.' || sign || exponent)
    });
    let (number, unit) = trimmed.split_at(end.map_or(trimmed.len(), |(at, _)| at));
    let Some(number) = Num::parse(number) else { return fail("22023", format!("invalid size: \"{text}\"")) };
    let unit = unit.trim();
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => Some(0),
        _ => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, shift)| *shift),
    };
    let Some(shift) = shift else {
        let mut error = ValueError::new("22023", format!("invalid size: \"{text}\""));
        error.detail = Some(format!("Invalid size unit: \"{unit}\"."));
        error.hint = Some("Valid units are \"bytes\", \"B\", \"kB\", \"MB\", \"GB\", \"TB\", and \"PB\".".into());
        return Err(error);
    };
    number.multiply(Num::new(1 << shift, 0))?.to_i64()
}

/// Every function of this family.
pub(crate) fn all() -> Vec<Function> {
    vec![
        def("num_nulls", "How many arguments are null.", "num_nulls(1, null)").on("...any -> int4", |c| count(c, true)),
        def("num_nonnulls", "How many arguments are not null.", "num_nonnulls(1, null)")
            .on("...any -> int4", |c| count(c, false)),
        def("gen_random_uuid", "A random uuid.", "gen_random_uuid()")
            .alias(&["uuid_generate_v4", "uuid"])
            .volatile()
            .on(" -> uuid", |c| c.map0(|| Ok(uuid::Uuid::new_v4().to_string()))),
        def("pg_typeof", "The name of the argument's type.", "pg_typeof(1.5)").on("any -> text", |c| {
            let name = c.sql_type(0).plain_name();
            c.collect(|_| Ok(name.as_str()))
        }),
        def("pg_size_pretty", "A number of bytes in a unit that reads well.", "pg_size_pretty(123456789)")
            .on("int8 -> text", |c| c.map1(|n: i64| Ok(pretty(n.into()))))
            .on("numeric -> text", |c| c.map1(|n: Num| Ok(pretty(n.trunc(0)?.value)))),
        def("pg_size_bytes", "A size with its unit in bytes.", "pg_size_bytes('1.5 MB')")
            .on("text -> int8", |c| c.map1(size_bytes)),
    ]
}
