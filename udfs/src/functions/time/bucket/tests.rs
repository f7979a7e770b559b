//! Buckets against a naive calculation with chrono, and what the operator that fills gaps relies on.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, IntervalMonthDayNanoArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, MappedLocalTime, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use datafusion_common::ScalarValue;
use datafusion_common::config::ConfigOptions;
use datafusion_expr::interval_arithmetic::Interval as Range;
use datafusion_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::super::define::Function;
use super::*;
use crate::types::SqlType;
use crate::types::calendar::{HOUR, MINUTE, SECOND};

const SEED: u64 = 20_241_027;
/// Zones whose clocks change by an hour or half of one, or not at all.
const ZONES: [Tz; 5] =
    [Tz::Europe__Berlin, Tz::America__New_York, Tz::Australia__Lord_Howe, Tz::Asia__Kathmandu, Tz::America__Havana];

fn moment(text: &str) -> i64 {
    let parsed = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S");
    parsed.unwrap().and_utc().timestamp_micros()
}

fn naive_of(micros: i64) -> NaiveDateTime {
    DateTime::from_timestamp_micros(micros).unwrap().naive_utc()
}

fn micros_of(naive: NaiveDateTime) -> i64 {
    naive.and_utc().timestamp_micros()
}

fn micros(width: i64) -> Interval {
    Interval::new(0, 0, width * 1000)
}

/// The bucket, found by walking from the origin.
fn walked(width: Interval, at: i64, origin: Option<i64>) -> i64 {
    let at = naive_of(at);
    let mut start = match origin {
        Some(origin) => naive_of(origin),
        None if width.months != 0 => naive_of(moment("2000-01-01 00:00:00")),
        None => naive_of(moment("2000-01-03 00:00:00")),
    };
    if width.months != 0 {
        start = NaiveDate::from_ymd_opt(start.year(), start.month(), 1).unwrap().and_hms_opt(0, 0, 0).unwrap();
    }
    let months = chrono::Months::new(width.months.unsigned_abs());
    let length = TimeDelta::days(width.days.into()) + TimeDelta::microseconds(width.nanoseconds / 1000);
    while start > at {
        start = start - months - length;
    }
    while start + months + length <= at {
        start = start + months + length;
    }
    micros_of(start)
}

fn local_of(zone: Tz, at: i64) -> i64 {
    micros_of(Utc.from_utc_datetime(&naive_of(at)).with_timezone(&zone).naive_local())
}

fn instant_of(zone: Tz, local: i64) -> i64 {
    let offset = match zone.offset_from_local_datetime(&naive_of(local)) {
        MappedLocalTime::Single(offset) => offset,
        MappedLocalTime::Ambiguous(_, later) => later,
        MappedLocalTime::None => match zone.offset_from_local_datetime(&naive_of(local - DAY)) {
            MappedLocalTime::Single(offset) => offset,
            _ => panic!("two changes within a day"),
        },
    };
    local - i64::from(offset.fix().local_minus_utc()) * SECOND
}

/// The bucket by a zone's clock; what is after the time goes back by widths, one by one.
fn walked_in(zone: Tz, width: Interval, at: i64, origin: Option<i64>) -> i64 {
    let origin = origin.map(|origin| local_of(zone, origin));
    let mut local = walked(width, local_of(zone, at), origin);
    let mut start = instant_of(zone, local);
    while start > at {
        if width.months != 0 || width.days != 0 {
            local = walked(width, local - 1, origin);
            start = instant_of(zone, local);
        } else {
            start -= width.nanoseconds / 1000;
        }
    }
    start
}

fn width_of(random: &mut StdRng) -> Interval {
    match random.random_range(0..7) {
        0 => Interval::new(random.random_range(1..30), 0, 0),
        1 => Interval::new(0, random.random_range(1..40), 0),
        2 => Interval::new(0, random.random_range(1..4), random.random_range(1..86_400) * 1_000_000_000),
        3 => micros(random.random_range(20..200) * MINUTE),
        4 => micros([10, 15, 30, 60, 120][random.random_range(0..5)] * MINUTE),
        5 => micros(random.random_range(20 * MINUTE..3 * DAY)),
        _ => Interval::new(0, 7, 0),
    }
}

fn origin_of(random: &mut StdRng) -> Option<i64> {
    let near = moment("1995-01-01 00:00:00")..moment("2010-01-01 00:00:00");
    random.random_bool(0.5).then(|| random.random_range(near))
}

/// Not too far from the origins: each bucket is walked to.
fn time_of(random: &mut StdRng) -> i64 {
    random.random_range(moment("1998-01-01 00:00:00")..moment("2002-01-01 00:00:00"))
}

/// Around the moments at which a zone's clock changes.
fn change_of(zone: Tz, random: &mut StdRng) -> i64 {
    let offset = |at: i64| zone.offset_from_utc_datetime(&naive_of(at)).fix().local_minus_utc();
    let mut at = time_of(random);
    if zone != Tz::Asia__Kathmandu {
        while offset(at) == offset(at + HOUR) {
            at += HOUR;
        }
    }
    at + random.random_range(-4 * HOUR..5 * HOUR) / MINUTE * MINUTE
}

#[test]
fn as_one_walks() {
    let mut random = StdRng::seed_from_u64(SEED);
    for _ in 0..400 {
        let (width, at, origin) = (width_of(&mut random), time_of(&mut random), origin_of(&mut random));
        let bucket = Bucket::of_times(width, origin, None).unwrap();
        let said = format!("seed {SEED}: {width:?} {} {origin:?}", naive_of(at));
        let start = walked(width, at, origin);
        assert_eq!(bucket.start_of(at).unwrap(), start, "{said}");
        assert_eq!(bucket.start_of(start).unwrap(), start, "{said}");
        let next = bucket.following(start).unwrap();
        assert_eq!(next, walked(width, next, origin), "{said}");
        assert_eq!(bucket.start_of(next - 1).unwrap(), start, "{said}");
        let k = random.random_range(-50..50);
        assert_eq!(bucket.nth(bucket.nth(start, k).unwrap(), -k), Some(start), "{said} {k}");

        let offset = micros(random.random_range(-5 * DAY..5 * DAY));
        let moved = Bucket::of_times(width, origin, Some(offset)).unwrap();
        let by = offset.nanoseconds / 1000;
        assert_eq!(moved.start_of(at).unwrap(), walked(width, at - by, origin) + by, "{said} {by}");
    }
}

#[test]
fn dates_are_midnights() {
    let mut random = StdRng::seed_from_u64(SEED);
    for _ in 0..200 {
        let width = match random.random_range(0..3) {
            0 => Interval::new(random.random_range(1..30), 0, 0),
            1 => micros(random.random_range(1..20) * DAY),
            _ => Interval::new(0, random.random_range(1..400), 0),
        };
        let (day, origin) = (time_of(&mut random).div_euclid(DAY), origin_of(&mut random).map(|at| at.div_euclid(DAY)));
        let bucket = Bucket::of_dates(width, origin.map(|day| i32::try_from(day).unwrap()), None).unwrap();
        let start = walked(width, day * DAY, origin.map(|day| day * DAY)) / DAY;
        assert_eq!(bucket.start_of(day).unwrap(), start, "{width:?} {day} {origin:?}");
        let next = bucket.following(start).unwrap();
        assert_eq!(next, walked(width, next * DAY, origin.map(|day| day * DAY)) / DAY);
        assert_eq!(bucket.start_of(next - 1).unwrap(), start);
    }
}

#[test]
fn around_changes_of_the_clock() {
    let mut random = StdRng::seed_from_u64(SEED);
    for round in 0..600 {
        let zone = ZONES[round % ZONES.len()];
        let (width, at, origin) = (width_of(&mut random), change_of(zone, &mut random), origin_of(&mut random));
        let bucket = Bucket::in_zone(width, zone.name(), origin, None).unwrap();
        let said = format!("seed {SEED}: {zone} {width:?} {} {origin:?}", naive_of(at));
        let start = walked_in(zone, width, at, origin);
        assert_eq!(bucket.start_of(at).unwrap(), start, "{said}");
        assert!(start <= at, "{said}");

        // An offset is subtracted and added in UTC.
        let by = random.random_range(-30 * HOUR..30 * HOUR);
        let moved = Bucket::in_zone(width, zone.name(), origin, Some(micros(by))).unwrap();
        assert_eq!(moved.start_of(at).unwrap(), walked_in(zone, width, at - by, origin) + by, "{said} {by}");
    }
}

#[test]
fn every_bucket_in_a_zone_is_come_by() {
    let mut random = StdRng::seed_from_u64(SEED);
    let widths = [
        micros(15 * MINUTE),
        micros(30 * MINUTE),
        micros(HOUR),
        micros(2 * HOUR),
        Interval::new(0, 1, 0),
        Interval::new(0, 2, 0),
        Interval::new(1, 0, 0),
    ];
    for round in 0..140 {
        let (zone, width) = (ZONES[round % ZONES.len()], widths[round % widths.len()]);
        let bucket = Bucket::in_zone(width, zone.name(), None, None).unwrap();
        let change = change_of(zone, &mut random);
        let (from, until) = (change - 12 * HOUR, change + 12 * HOUR);
        let mut starts = vec![bucket.start_of(from).unwrap()];
        while let Some(next) = bucket.following(starts[starts.len() - 1]).filter(|next| *next <= until) {
            assert!(next > starts[starts.len() - 1], "always later");
            starts.push(next);
        }
        for (k, start) in starts.iter().enumerate() {
            let nth = bucket.nth(starts[0], i64::try_from(k).unwrap());
            assert_eq!(nth, Some(*start), "seed {SEED}: {zone} {width:?} {k}");
        }
        for at in (from..until).step_by(5 * 60_000_000) {
            let start = bucket.start_of(at).unwrap();
            assert!(starts.contains(&start), "seed {SEED}: {zone} {width:?} {} {}", naive_of(at), naive_of(start));
        }
    }
}

#[test]
fn months_do_not_drift() {
    let offset = Some(Interval::new(0, 30, 0));
    let bucket = Bucket::of_times(Interval::new(1, 0, 0), None, offset).unwrap();
    let start = bucket.start_of(moment("2024-02-05 00:00:00")).unwrap();
    assert_eq!(start, moment("2024-01-31 00:00:00"));
    assert_eq!(bucket.nth(start, 1), Some(moment("2024-03-02 00:00:00")));
    assert_eq!(bucket.nth(start, 2), Some(moment("2024-03-31 00:00:00")));
    assert_eq!(bucket.nth(start, -1), Some(moment("2023-12-31 00:00:00")));

    // Days by an offset of a month: the ends of a long month fall on one day, and no day is left out.
    let bucket = Bucket::of_times(Interval::new(0, 1, 0), None, Some(Interval::new(1, 0, 0))).unwrap();
    let start = moment("2023-02-28 00:00:00");
    assert_eq!(bucket.following(start), Some(moment("2023-03-01 00:00:00")));

    let bucket = Bucket::in_zone(Interval::new(0, 1, 0), "America/Havana", None, None).unwrap();
    // 2024-03-10 begins at one o'clock there; the next day does not.
    let start = bucket.start_of(moment("2024-03-10 12:00:00")).unwrap();
    assert_eq!(start, moment("2024-03-10 05:00:00"));
    assert_eq!(bucket.nth(start, 1), Some(moment("2024-03-11 04:00:00")));
}

#[test]
fn ends_of_types() {
    let day = Interval::new(0, 1, 0);
    let last = moment("2262-04-11 00:00:00");
    assert!(Bucket::of_times(day, None, None).unwrap().following(last).is_some());
    for bucket in [
        Bucket::of_times(Interval::new(12, 0, 0), None, None).unwrap(),
        Bucket::in_zone(micros(HOUR), "Europe/Berlin", None, None).unwrap(),
        Bucket::in_zone(day, "Europe/Berlin", None, None).unwrap(),
    ] {
        let start = bucket.start_of(i64::MAX - 1).unwrap();
        assert_eq!(bucket.following(start), None, "{bucket:?}");
        assert_eq!(bucket.nth(i64::MAX, 1), None);
        assert_eq!(bucket.start_of(i64::MAX).unwrap(), i64::MAX);
        assert_eq!(bucket.start_of(super::super::arithmetic::FIRST).err().map(|e| e.code), Some("22008"), "{bucket:?}");
    }
    let dates = Bucket::of_dates(day, None, None).unwrap();
    assert_eq!(dates.following(LAST_DAY), None);
    assert_eq!(dates.following(i32::MAX.into()), None);
    assert_eq!(dates.nth(FIRST_DAY, -1), None);
    assert_eq!(dates.nth(i64::MAX, 1), None);
    assert_eq!(dates.start_of(i64::MIN).err().map(|e| e.code), Some("22008"));
    let months = Bucket::of_dates(Interval::new(i32::MAX, 0, 0), None, None).unwrap();
    assert_eq!(months.start_of(0).err().map(|e| e.code), Some("22008"));
    assert_eq!(months.nth(10_957, i64::MAX), None);
    let integers = Bucket::of_integers(10, Some(3), -128..=127).unwrap();
    assert_eq!(integers.nth(-127, 25), Some(123));
    assert_eq!(integers.following(123), None);
    assert_eq!(integers.start_of(-128).err().map(|e| e.code), Some("22008"));
    let widest = Bucket::of_integers(i64::MAX, Some(i64::MIN), i64::MIN..=i64::MAX).unwrap();
    assert_eq!(widest.start_of(i64::MAX).unwrap(), i64::MAX - 1);
}

#[test]
fn invalid_buckets() {
    let error = |made: Value<Bucket>| made.map_err(|e| (e.code, e.message)).err();
    let times = |width| error(Bucket::of_times(width, None, None));
    let period = Some(("22023", "period must be greater than 0".to_owned()));
    assert_eq!(times(Interval::ZERO), period);
    assert_eq!(times(Interval::new(0, 0, -1000)), period);
    assert_eq!(times(Interval::new(-1, 0, 0)), period);
    // Less than a microsecond is nothing.
    assert_eq!(times(Interval::new(0, 0, 999)), period);
    assert_eq!(error(Bucket::of_integers(0, None, RangeInclusive::new(0, 1))), period);
    let mixed = Some(("0A000", "month intervals cannot have day or time component".to_owned()));
    assert_eq!(times(Interval::new(1, 1, 0)), mixed);
    assert_eq!(times(Interval::new(-1, 0, 1000)), mixed);
    assert_eq!(times(Interval::new(0, i32::MAX, 0)), Some(("22008", "interval out of range".to_owned())));
    assert_eq!(
        error(Bucket::in_zone(Interval::new(0, 1, 0), "Nowhere", None, None)),
        Some(("22023", "time zone \"Nowhere\" not recognized".to_owned()))
    );
    assert_eq!(
        error(Bucket::of_times(Interval::new(0, 1, 0), Some(i64::MIN), None)),
        Some(("22008", "timestamp out of range".to_owned()))
    );
}

fn invoke(function: &Function, args: Vec<ColumnarValue>, rows: usize) -> datafusion_common::Result<ArrayRef> {
    let fields: Vec<FieldRef> =
        args.iter().map(|arg| Arc::new(SqlType::of_data_type(&arg.data_type()).field("arg", true))).collect();
    let constants = vec![None; fields.len()];
    let return_field =
        function.return_field_from_args(ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &constants })?;
    let config_options = Arc::new(ConfigOptions::default());
    let call = ScalarFunctionArgs { args, arg_fields: fields, number_rows: rows, return_field, config_options };
    function.invoke_with_args(call)?.to_array(rows)
}

#[test]
fn columns_are_cut_as_values_are() {
    let mut random = StdRng::seed_from_u64(SEED);
    let function = functions().remove(0);
    let near = [0, i64::MIN, i64::MAX, i64::MAX - 1, super::super::arithmetic::FIRST];
    for round in 0..200 {
        let width = match random.random_range(0..3) {
            0 => Interval::new(0, 0, random.random_range(1000..i64::MAX)),
            1 => Interval::new(0, random.random_range(1..10_000_000), 0),
            _ => width_of(&mut random),
        };
        // One time in four there are times whose bucket starts before all times.
        let times: TimestampMicrosecondArray = (0..20)
            .map(|_| match random.random_range(0..10) {
                0 => None,
                1 if round % 4 == 0 => Some(near[random.random_range(0..near.len())]),
                2 => Some([i64::MIN, i64::MAX][random.random_range(0..2)]),
                _ => Some(random.random_range(-210_866_803_200_000_000..i64::MAX)),
            })
            .collect();
        let origin = random.random_bool(0.5).then(|| random.random_range(-200_866_803_200_000_000..i64::MAX));
        let constant = ScalarValue::IntervalMonthDayNano(Some(width));
        let mut args = vec![ColumnarValue::Scalar(constant), ColumnarValue::Array(Arc::new(times))];
        if let Some(origin) = origin {
            args.push(ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(Some(origin), None)));
        }
        let fast = invoke(&function, args.clone(), 20);
        args[0] = ColumnarValue::Array(Arc::new(IntervalMonthDayNanoArray::from(vec![width; 20])));
        let slow = invoke(&function, args, 20);
        match (fast, slow) {
            (Ok(fast), Ok(slow)) => assert_eq!(
                fast.as_primitive::<TimestampMicrosecondType>(),
                slow.as_primitive::<TimestampMicrosecondType>(),
                "seed {SEED}: {width:?} {origin:?}"
            ),
            (Err(fast), Err(slow)) => assert_eq!(fast.to_string(), slow.to_string()),
            (fast, slow) => panic!("seed {SEED}: {width:?} {origin:?}: {fast:?} but {slow:?}"),
        }
    }
}

/// The order of a call's result over ordered values of its second argument.
fn ordered(name: &str, types: &[&str]) -> bool {
    let function = super::super::all().into_iter().find(|function| function.name() == name).unwrap();
    let order = SortProperties::Ordered(arrow::compute::SortOptions::default());
    let inputs: Vec<ExprProperties> = types
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let data_type: DataType = SqlType::parse(name).unwrap().data_type();
            let range = Range::make_unbounded(&data_type).unwrap();
            let order = if index == 1 { order } else { SortProperties::Singleton };
            ExprProperties::new_unknown().with_range(range).with_order(order)
        })
        .collect();
    function.output_ordering(&inputs).unwrap() == order
}

#[test]
fn what_is_monotonic() {
    for types in
        [&["interval", "timestamp"] as &[&str], &["interval", "timestamptz"], &["interval", "date"], &["int4", "int4"]]
    {
        assert!(ordered("time_bucket", types), "{types:?}");
    }
    assert!(ordered("time_bucket", &["interval", "timestamp", "timestamp"]));
    assert!(ordered("time_bucket", &["int8", "int8", "int8"]));
    assert!(!ordered("time_bucket", &["interval", "timestamp", "interval"]));
    assert!(!ordered("time_bucket", &["interval", "timestamptz", "text"]));
    assert!(ordered("date_bin", &["interval", "timestamptz", "timestamptz"]));
    assert!(ordered("date_trunc", &["text", "timestamp"]));
    assert!(!ordered("date_trunc", &["text", "timestamptz"]));
    assert!(!ordered("date_trunc", &["text", "timestamptz", "text"]));
    assert!(ordered("date_trunc", &["text", "date"]));
}

/// What is marked as monotonic is.
#[test]
fn starts_follow_the_times() {
    let mut random = StdRng::seed_from_u64(SEED);
    for _ in 0..100 {
        let mut times: Vec<i64> = (0..50).map(|_| time_of(&mut random)).collect();
        times.sort_unstable();
        let (width, origin) = (width_of(&mut random), origin_of(&mut random));
        let bucket = Bucket::of_times(width, origin, None).unwrap();
        let starts: Vec<i64> = times.iter().map(|time| bucket.start_of(*time).unwrap()).collect();
        assert!(starts.is_sorted(), "seed {SEED}: {width:?} {origin:?}");
    }
}

/// What a comparison of a start with a constant says of the time is what it says.
#[test]
fn comparisons_of_starts_are_comparisons_of_times() {
    use datafusion_common::DFSchema;
    use datafusion_expr::preimage::PreimageResult;
    use datafusion_expr::simplify::SimplifyContext;
    use datafusion_expr::{Expr, ScalarUDF, col, lit};

    let mut random = StdRng::seed_from_u64(SEED);
    let field = Field::new("t", DataType::Timestamp(TimeUnit::Microsecond, None), true);
    let schema = DFSchema::try_from(arrow::datatypes::Schema::new(vec![field])).unwrap();
    let info = SimplifyContext::builder().with_schema(Arc::new(schema)).build();
    let timestamp = |time: i64| ScalarValue::TimestampMicrosecond(Some(time), None);
    let mut found = 0;
    for round in 0..300 {
        let function = |name: &str| super::super::all().into_iter().find(|function| function.name() == name).unwrap();
        let (name, args) = match round % 3 {
            0 => ("time_bucket", vec![lit(ScalarValue::IntervalMonthDayNano(Some(width_of(&mut random)))), col("t")]),
            1 => {
                let units = ["second", "minute", "hour", "day", "week", "month", "quarter", "year", "decade"];
                let unit = units[random.random_range(0..units.len())];
                ("date_trunc", vec![lit(ScalarValue::Utf8View(Some(unit.into()))), col("t")])
            }
            _ => {
                let width = Interval::new(0, 0, random.random_range(1..1_000_000_000_000) * 1000);
                ("date_bin", vec![lit(ScalarValue::IntervalMonthDayNano(Some(width))), col("t"), lit(timestamp(77))])
            }
        };
        let udf = Arc::new(ScalarUDF::new_from_impl(function(name)));
        let start_of = |time: i64| {
            let types: Vec<FieldRef> = args
                .iter()
                .map(|arg| match arg {
                    Expr::Literal(value, _) => Arc::new(Field::new("", value.data_type(), true)),
                    _ => Arc::new(Field::new("", DataType::Timestamp(TimeUnit::Microsecond, None), true)),
                })
                .collect();
            let values = args.iter().map(|arg| match arg {
                Expr::Literal(value, _) => ColumnarValue::Scalar(value.clone()),
                _ => ColumnarValue::Scalar(timestamp(time)),
            });
            let call = ScalarFunctionArgs {
                args: values.collect(),
                arg_fields: types,
                number_rows: 1,
                return_field: Arc::new(Field::new("", DataType::Timestamp(TimeUnit::Microsecond, None), true)),
                config_options: Arc::default(),
            };
            match udf.invoke_with_args(call).unwrap() {
                ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(Some(start), _)) => start,
                other => panic!("{other:?}"),
            }
        };
        let time = random.random_range(-2_000_000_000_000_000..2_000_000_000_000_000);
        let constant = if random.random_bool(0.5) { start_of(time) } else { time };
        let range = udf.preimage(&args, &lit(timestamp(constant)), &info).unwrap();
        let PreimageResult::Range { expr, interval } = range else { panic!("seed {SEED}: {name} {constant}") };
        found += 1;
        assert_eq!(expr, col("t"));
        let (ScalarValue::TimestampMicrosecond(Some(lower), _), ScalarValue::TimestampMicrosecond(Some(upper), _)) =
            (interval.lower().clone(), interval.upper().clone())
        else {
            panic!("{interval:?}")
        };
        let step = random.random_range(1..10_000_000_000_000);
        for time in [lower - step, lower - 1, lower, upper - 1, upper, upper + step, constant, time] {
            let start = start_of(time);
            assert_eq!(start >= constant, time >= lower, "seed {SEED}: {name} {args:?} {time} {constant}");
            assert_eq!(start > constant, time >= upper, "seed {SEED}: {name} {args:?} {time} {constant}");
        }
    }
    assert_eq!(found, 300);
}

/// Why nothing in a zone is marked as monotonic.
#[test]
fn a_zone_is_not_monotonic() {
    let midnight = Some(moment("2024-10-26 22:00:00"));
    let bucket = Bucket::in_zone(micros(140 * MINUTE), "Europe/Berlin", midnight, None).unwrap();
    let starts = ["2024-10-27 00:50:00", "2024-10-27 01:10:00"].map(|at| bucket.start_of(moment(at)).unwrap());
    assert!(starts[0] > starts[1], "{starts:?}");

    // One minute after midnight the clocks went back to the day before.
    let function = super::super::all().into_iter().find(|function| function.name() == "date_trunc").unwrap();
    let day = |at: &str| {
        let time = ScalarValue::TimestampMicrosecond(Some(moment(at)), Some("UTC".into()));
        let text = |text: &str| ColumnarValue::Scalar(ScalarValue::Utf8View(Some(text.into())));
        let args = vec![text("day"), ColumnarValue::Scalar(time), text("America/St_Johns")];
        invoke(&function, args, 1).unwrap().as_primitive::<TimestampMicrosecondType>().value(0)
    };
    assert!(day("2010-11-07 02:30:30") > day("2010-11-07 02:31:30"));
}
