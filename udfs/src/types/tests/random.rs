//! Random values: what is printed reads as the same value, and random bytes never panic.

use arrow::array::{
    BinaryViewArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int64Array, IntervalMonthDayNanoArray,
    Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::datatypes::IntervalMonthDayNano;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

const SEED: u64 = 20_240_229;
const COUNT: usize = 2_000;

/// Every set of settings that changes the text.
fn all_settings() -> Vec<TextSettings> {
    let mut all = vec![];
    for (at, zone) in ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu"].into_iter().enumerate() {
        all.push(TextSettings {
            time_zone: zone_by_name(zone).unwrap(),
            bytea_escape: at == 1,
            interval_style: [
                IntervalStyle::Postgres,
                IntervalStyle::PostgresVerbose,
                IntervalStyle::SqlStandard,
                IntervalStyle::Iso8601,
            ][at],
            ..TextSettings::default()
        });
    }
    all
}

fn round_trip(sql_type: &SqlType, array: &ArrayRef) {
    for settings in all_settings() {
        let encoder = ColumnEncoder::new(array, sql_type, &settings).unwrap();
        let mut text_parser = ColumnParser::new(sql_type, &settings).unwrap();
        let mut binary_parser = ColumnParser::new(sql_type, &settings).unwrap();
        let mut out = vec![];
        for row in 0..array.len() {
            if encoder.is_null(row) {
                text_parser.push_null();
                binary_parser.push_null();
                continue;
            }
            out.clear();
            encoder.write_text(row, &mut out);
            if let Err(error) = text_parser.push(&out) {
                panic!("seed {SEED}, {}: {error}", String::from_utf8_lossy(&out));
            }
            out.clear();
            encoder.write_binary(row, &mut out);
            binary_parser.push_binary(&out).unwrap();
        }
        assert_eq!(&text_parser.finish(), array, "seed {SEED}, text of {}", sql_type.name());
        assert_eq!(&binary_parser.finish(), array, "seed {SEED}, binary of {}", sql_type.name());
    }
}

#[test]
fn numbers() {
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut float = || loop {
        let value = f64::from_bits(rng.random());
        if value.is_finite() {
            return value;
        }
    };
    let floats: Vec<f64> = (0..COUNT).map(|_| float()).collect();
    round_trip(&SqlType::Float8, &(Arc::new(Float64Array::from(floats)) as ArrayRef));
    let mut rng = StdRng::seed_from_u64(SEED);
    let floats: Vec<f32> = (0..COUNT).map(|_| f32::from_bits(rng.random())).filter(|x| x.is_finite()).collect();
    round_trip(&SqlType::Float4, &(Arc::new(Float32Array::from(floats)) as ArrayRef));
    let integers: Vec<Option<i64>> =
        (0..COUNT).map(|_| rng.random_bool(0.9).then(|| rng.random::<i64>() >> rng.random_range(0..63))).collect();
    round_trip(&SqlType::Int8, &(Arc::new(Int64Array::from(integers)) as ArrayRef));
    for (precision, scale) in [(38, 0), (38, 38), (20, 7), (5, 2), (38, 16)] {
        let limit = 10i128.pow(u32::from(precision));
        let values: Vec<i128> =
            (0..COUNT).map(|_| (rng.random::<i128>() >> rng.random_range(0..120)) % limit).collect();
        let array = Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap();
        let array: ArrayRef = Arc::new(array);
        round_trip(&SqlType::Numeric(Some((precision, scale))), &array);
        if (precision, scale) == (NUMERIC_PRECISION_MAX, NUMERIC_DEFAULT_SCALE) {
            round_trip(&SqlType::Numeric(None), &array);
        }
    }
}

#[test]
fn times() {
    let mut rng = StdRng::seed_from_u64(SEED);
    let dates: Vec<i32> = (0..COUNT).map(|_| rng.random_range(-2_440_588..=2_145_042_905)).collect();
    round_trip(&SqlType::Date, &(Arc::new(Date32Array::from(dates)) as ArrayRef));
    let times: Vec<i64> = (0..COUNT).map(|_| rng.random_range(0..=86_400_000_000)).collect();
    round_trip(&SqlType::Time, &(Arc::new(Time64MicrosecondArray::from(times)) as ArrayRef));
    let near = -4_000_000_000_000_000..8_000_000_000_000_000i64;
    let instants: Vec<i64> = (0..COUNT).map(|_| rng.random_range(near.clone())).collect();
    round_trip(&SqlType::Timestamp, &(Arc::new(TimestampMicrosecondArray::from(instants.clone())) as ArrayRef));
    let array = TimestampMicrosecondArray::from(instants).with_timezone("UTC");
    round_trip(&SqlType::TimestampTz, &(Arc::new(array) as ArrayRef));
    let intervals: Vec<IntervalMonthDayNano> = (0..COUNT)
        .map(|_| {
            let us = rng.random::<i64>() >> rng.random_range(11..63);
            let sign = us.signum();
            let same = |value: i32| if sign < 0 { -(value & 0xff_ffff) } else { value & 0xff_ffff };
            IntervalMonthDayNano::new(same(rng.random()), same(rng.random()), us * 1000)
        })
        .collect();
    round_trip(&SqlType::Interval, &(Arc::new(IntervalMonthDayNanoArray::from(intervals)) as ArrayRef));
}

#[test]
fn strings() {
    let mut rng = StdRng::seed_from_u64(SEED);
    let letters = ['a', ' ', '"', '\\', ',', '{', '}', '\n', 'é', '😀', '\t', 'N', '\'', '\x01'];
    let texts: Vec<Option<String>> = (0..COUNT)
        .map(|_| {
            let length = rng.random_range(0..20);
            rng.random_bool(0.9).then(|| (0..length).map(|_| letters[rng.random_range(0..letters.len())]).collect())
        })
        .collect();
    let array: ArrayRef = Arc::new(StringViewArray::from_iter(texts.clone()));
    round_trip(&SqlType::Text, &array);
    let bytes: Vec<Vec<u8>> =
        (0..COUNT).map(|_| (0..rng.random_range(0..20)).map(|_| rng.random()).collect()).collect();
    round_trip(&SqlType::Bytea, &(Arc::new(BinaryViewArray::from_iter_values(bytes)) as ArrayRef));
    // Arrays of them, and as strings of JSON.
    let list = SqlType::Array(Arc::new(SqlType::Text));
    let DataType::List(field) = list.data_type() else { panic!() };
    let offsets = (0..=COUNT / 4).map(|at| i32::try_from(at * 4).unwrap()).collect::<Vec<_>>();
    let lists = arrow::array::ListArray::new(field, arrow::buffer::OffsetBuffer::new(offsets.into()), array, None);
    round_trip(&list, &(Arc::new(lists) as ArrayRef));
    for text in texts.iter().flatten() {
        let mut quoted = vec![];
        json::write_string(text, &mut quoted);
        let quoted = String::from_utf8(quoted).unwrap();
        assert_eq!(json::canonical(&quoted).unwrap(), quoted);
        assert_eq!(&serde_json::from_str::<String>(&quoted).unwrap(), text);
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut rng = StdRng::seed_from_u64(SEED);
    let alphabet = b"0123456789-+:. /eETZPYMDHSabcjnotu{}[],\"\\xNULinfy\xff\xc3\xa9";
    let names = [
        "bool",
        "int4",
        "float4",
        "float8",
        "numeric",
        "numeric(9,3)",
        "text",
        "varchar(4)",
        "char(2)",
        "\"char\"",
        "name",
        "bytea",
        "date",
        "time",
        "timestamp",
        "timestamptz",
        "interval",
        "uuid",
        "json",
        "jsonb",
        "oid",
        "int[]",
        "text[][]",
        "interval[]",
        "int2vector",
    ];
    for name in names {
        let sql_type = SqlType::parse(name).unwrap();
        let settings = all_settings().remove(2);
        for _ in 0..3_000 {
            let bytes: Vec<u8> =
                (0..rng.random_range(0..24)).map(|_| alphabet[rng.random_range(0..alphabet.len())]).collect();
            let mut parser = ColumnParser::new(&sql_type, &settings).unwrap();
            if parser.push(&bytes).is_ok() {
                let encoder = ColumnEncoder::new(&parser.finish(), &sql_type, &settings).unwrap();
                encoder.write_text(0, &mut vec![]);
            }
            let bytes: Vec<u8> =
                (0..rng.random_range(0..40)).map(|_| rng.random::<u8>() >> rng.random_range(0..8)).collect();
            let mut parser = ColumnParser::new(&sql_type, &settings).unwrap();
            if parser.push_binary(&bytes).is_ok() {
                let encoder = ColumnEncoder::new(&parser.finish(), &sql_type, &settings).unwrap();
                encoder.write_text(0, &mut vec![]);
                encoder.check_binary().unwrap();
                encoder.write_binary(0, &mut vec![]);
            }
        }
    }
}
