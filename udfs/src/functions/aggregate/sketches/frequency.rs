//! `freq_agg(min_freq, value)` and `mcv_agg(n, value)`: the most common values and how common they are.
//!
//! SpaceSaving (Metwally, Agrawal, El Abbadi 2005): a fixed number of counters; a value without one takes over the smallest,
//! whose count is from then on the most it may be wrong by. Every value with more than 1/counters of all rows has a counter.
//! Two sets of counters are put together as in "Mergeable summaries" (Agarwal et al. 2012). Values are kept as their text.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, StringViewArray};
use arrow::datatypes::{DataType, FieldRef, Float64Type, Int32Type};
use datafusion_common::Result;
use datafusion_expr::ReturnFieldArgs;

use super::super::super::call::{Call, Many, Value, fail};
use super::super::super::define::{Function, def};
use super::super::records::{record_list, rows_of_call};
use super::super::series::rollup::Mergeable;
use super::super::series::state::{Kind, Reader, Writer};
use super::super::two_step::{Summary, aggregated};
use crate::types::{SqlType, TextSettings, array_to_text};

/// Counters of `mcv_agg` for each value asked for, so that the counts of skewed data are nearly exact.
const COUNTERS_PER_VALUE: u32 = 20;
const COUNTERS_MIN: u32 = 100;
/// The most counters, of which each takes some 100 bytes.
const COUNTERS_MAX: u32 = 100_000;

/// Which values count as common.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Common {
    /// Those of at least that fraction of all rows.
    From(f64),
    /// So many.
    Most(u32),
}

impl Common {
    fn from(fraction: f64) -> Value<Self> {
        if (1.0 / f64::from(COUNTERS_MAX)..1.0).contains(&fraction) {
            return Ok(Self::From(fraction));
        }
        fail("22023", format!("frequency {fraction} is not between 0.00001 and 1"))
    }

    fn most(count: i32) -> Value<Self> {
        match u32::try_from(count) {
            Ok(count) if (1..=COUNTERS_MAX / COUNTERS_PER_VALUE).contains(&count) => Ok(Self::Most(count)),
            _ => fail("22023", format!("number of values {count} is not between 1 and 5000")),
        }
    }

    /// How many counters that needs.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 1/0.00001")]
    fn counters(self) -> usize {
        let counters = match self {
            Self::From(fraction) => (1.0 / fraction).ceil() as u32 + 1,
            Self::Most(count) => (count * COUNTERS_PER_VALUE).max(COUNTERS_MIN),
        };
        counters as usize
    }

    /// That which needs more counters.
    fn wider(self, other: Self) -> Self {
        if self.counters() < other.counters() { other } else { self }
    }
}

/// A value's counter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Counter {
    pub(crate) value: Arc<str>,
    count: u64,
    /// So many of the count may be other values'.
    error: u64,
}

/// The values seen.
#[derive(Debug, Clone)]
pub(crate) struct Frequent {
    common: Common,
    total: u64,
    /// How often a value without a counter may have come although there are counters left: states of fewer counters were added.
    lost: u64,
    /// A heap: no counter is below its children at 2n+1 and 2n+2.
    heap: Vec<Counter>,
    places: HashMap<Arc<str>, usize>,
    text_bytes: usize,
}

#[expect(clippy::cast_precision_loss, reason = "a fraction of many rows need not be exact")]
fn ratio(count: u64, total: u64) -> f64 {
    count as f64 / total as f64
}

impl Frequent {
    fn new(common: Common) -> Self {
        Self { common, total: 0, lost: 0, heap: vec![], places: HashMap::new(), text_bytes: 0 }
    }

    /// Counts a value once more.
    fn insert(&mut self, value: &str) {
        self.total = self.total.saturating_add(1);
        if let Some(place) = self.places.get(value) {
            let place = *place;
            self.heap[place].count = self.heap[place].count.saturating_add(1);
            self.sink(place);
        } else if self.heap.len() < self.common.counters() {
            self.push(Counter { value: value.into(), count: self.lost.saturating_add(1), error: self.lost });
        } else {
            let (value, least) = (Arc::<str>::from(value), self.heap[0].count);
            let counter = Counter { value: Arc::clone(&value), count: least.saturating_add(1), error: least };
            let old = std::mem::replace(&mut self.heap[0], counter);
            self.places.remove(&old.value);
            self.text_bytes = self.text_bytes + value.len() - old.value.len();
            self.places.insert(value, 0);
            self.sink(0);
        }
    }

    fn push(&mut self, counter: Counter) {
        let mut place = self.heap.len();
        self.text_bytes += counter.value.len();
        self.places.insert(Arc::clone(&counter.value), place);
        self.heap.push(counter);
        while place > 0 && self.heap[place].count < self.heap[(place - 1) / 2].count {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let children = [2 * place + 1, 2 * place + 2].into_iter().filter(|child| *child < self.heap.len());
            let Some(least) = children.min_by_key(|child| self.heap[*child].count) else { return };
            if self.heap[place].count <= self.heap[least].count {
                return;
            }
            self.swap(place, least);
            place = least;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        for place in [a, b] {
            if let Some(known) = self.places.get_mut(&self.heap[place].value) {
                *known = place;
            }
        }
    }

    /// How often a value without a counter may have come.
    fn missed(&self) -> u64 {
        if self.heap.len() < self.common.counters() { self.lost } else { self.heap[0].count }
    }

    fn add_all(&mut self, other: &Self) {
        let missed = (self.missed(), other.missed());
        let mut joined = Self::new(self.common.wider(other.common));
        let mut counters: Vec<Counter> = vec![];
        for own in &self.heap {
            let (count, error) = match other.places.get(&own.value) {
                Some(place) => (other.heap[*place].count, other.heap[*place].error),
                None => (missed.1, missed.1),
            };
            let value = Arc::clone(&own.value);
            let (count, error) = (own.count.saturating_add(count), own.error.saturating_add(error));
            counters.push(Counter { value, count, error });
        }
        for theirs in other.heap.iter().filter(|theirs| !self.places.contains_key(&theirs.value)) {
            let value = Arc::clone(&theirs.value);
            let (count, error) = (theirs.count.saturating_add(missed.0), theirs.error.saturating_add(missed.0));
            counters.push(Counter { value, count, error });
        }
        sort(&mut counters);
        counters.truncate(joined.common.counters());
        counters.into_iter().rev().for_each(|counter| joined.push(counter));
        joined.total = self.total.saturating_add(other.total);
        joined.lost = missed.0.saturating_add(missed.1);
        *self = joined;
    }

    /// All counters, the most frequent value first.
    fn sorted(&self) -> Vec<Counter> {
        let mut counters = self.heap.clone();
        sort(&mut counters);
        counters
    }

    /// The values that may be common.
    pub(crate) fn common_values(&self) -> Vec<Counter> {
        let mut counters = self.sorted();
        match self.common {
            Common::From(fraction) => counters.retain(|counter| ratio(counter.count, self.total) >= fraction),
            Common::Most(count) => counters.truncate(count as usize),
        }
        counters
    }

    /// Between which fractions of all rows have that value.
    pub(crate) fn frequency(&self, value: &str) -> (f64, f64) {
        let (least, most) = match self.places.get(value) {
            Some(place) => (self.heap[*place].count - self.heap[*place].error, self.heap[*place].count),
            None => (0, self.missed()),
        };
        (ratio(least, self.total), ratio(most, self.total))
    }
}

/// Most frequent values first, of equal ones those that come first as text.
fn sort(counters: &mut [Counter]) {
    counters.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.value.cmp(&b.value)));
}

/// Values as text, in UTC: states must not depend on a session.
fn texts(array: &ArrayRef, field: &FieldRef) -> Value<StringViewArray> {
    match array.as_string_view_opt() {
        Some(texts) => Ok(texts.clone()),
        None => array_to_text(array, field, &TextSettings::default()),
    }
}

impl Summary for Frequent {
    type Rows<'a> = (&'a ArrayRef, StringViewArray);

    fn open<'a>(arrays: &'a [ArrayRef], fields: &'a [FieldRef]) -> Result<Self::Rows<'a>> {
        let field = fields[1].as_ref().clone().with_data_type(arrays[1].data_type().clone());
        Ok((&arrays[0], texts(&arrays[1], &Arc::new(field))?))
    }

    fn add(group: &mut Option<Self>, (common, values): &Self::Rows<'_>, row: usize) -> Value<()> {
        if values.is_null(row) {
            return Ok(());
        }
        let summary = match group {
            Some(summary) => summary,
            None => {
                if common.is_null(row) {
                    return fail("22023", "what is common must not be null");
                }
                let common = match common.data_type() {
                    DataType::Int32 => Common::most(common.as_primitive::<Int32Type>().value(row))?,
                    _ => Common::from(common.as_primitive::<Float64Type>().value(row))?,
                };
                group.insert(Self::new(common))
            }
        };
        summary.insert(values.value(row));
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Value<()> {
        self.add_all(&other);
        Ok(())
    }

    fn write(&mut self) -> Vec<u8> {
        Mergeable::encode(self)
    }

    fn read(bytes: &[u8]) -> Value<Self> {
        Mergeable::decode(bytes)
    }

    fn heap_bytes(&self) -> usize {
        let place = size_of::<(Arc<str>, usize)>() + 1;
        self.text_bytes + self.heap.capacity() * size_of::<Counter>() + self.places.capacity() * place
    }
}

impl Mergeable for Frequent {
    const ORDERED: bool = false;

    fn decode(bytes: &[u8]) -> Value<Self> {
        let mut reader = Reader::open(bytes, Kind::Freq)?;
        let common = match reader.u8()? {
            0 => Common::from(reader.f64()?)?,
            1 => Common::most(i32::try_from(reader.u32()?).unwrap_or(i32::MAX))?,
            _ => return Reader::invalid("form"),
        };
        let mut summary = Self::new(common);
        (summary.total, summary.lost) = (reader.u64()?, reader.u64()?);
        let count = reader.u32()? as usize;
        // A value's length, its count and its error take 20 bytes at least.
        if count > common.counters() || count > reader.left() / 20 || summary.total == 0 {
            return Reader::invalid("number of values");
        }
        for _ in 0..count {
            let Ok(value) = std::str::from_utf8(reader.bytes()?) else { return Reader::invalid("text") };
            let (count, error) = (reader.u64()?, reader.u64()?);
            if error > count || summary.places.contains_key(value) {
                return Reader::invalid("counter");
            }
            summary.push(Counter { value: value.into(), count, error });
        }
        reader.end()?;
        Ok(summary)
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(Kind::Freq);
        match self.common {
            Common::From(fraction) => {
                writer.u8(0);
                writer.f64(fraction);
            }
            Common::Most(count) => {
                writer.u8(1);
                writer.u32(count);
            }
        }
        writer.u64(self.total);
        writer.u64(self.lost);
        writer.u32(u32::try_from(self.heap.len()).expect("some thousand counters"));
        for counter in self.sorted() {
            writer.bytes(counter.value.as_bytes());
            writer.u64(counter.count);
            writer.u64(counter.error);
        }
        writer.finish()
    }

    fn merge(&mut self, next: Self) -> Value<()> {
        self.add_all(&next);
        Ok(())
    }
}

fn frequencies(_: &ReturnFieldArgs<'_>) -> Result<FieldRef> {
    record_list(&[("value", SqlType::Text), ("min_freq", SqlType::Float8), ("max_freq", SqlType::Float8)])
}

fn into_values(call: &Call<'_>) -> Result<ArrayRef> {
    let states = call.column::<&[u8]>(0)?;
    let rows = |row| {
        let Some(state) = states.get(row) else { return Ok(None) };
        let summary = Frequent::decode(state)?;
        let total = summary.total;
        Ok(Some(summary.common_values().into_iter().map(|counter| (counter, total)).collect()))
    };
    rows_of_call(call, rows, |rows: Vec<(Counter, u64)>| {
        let values = StringViewArray::from_iter_values(rows.iter().map(|(counter, _)| &counter.value));
        let least = rows.iter().map(|(counter, total)| ratio(counter.count - counter.error, *total));
        let most = rows.iter().map(|(counter, total)| ratio(counter.count, *total));
        Ok(vec![
            Arc::new(values),
            Arc::new(Float64Array::from_iter_values(least)),
            Arc::new(Float64Array::from_iter_values(most)),
        ])
    })
}

/// The frequency of a value, which may be of any type.
fn frequency(call: &Call<'_>, pick: fn((f64, f64)) -> f64) -> Result<ArrayRef> {
    let states = call.column::<&[u8]>(0)?;
    let (argument, field) = (&call.args[1], &call.fields[1]);
    let field = field.as_ref().clone().with_data_type(argument.array.data_type().clone());
    let values = texts(&argument.array, &Arc::new(field))?;
    call.collect(|row| {
        let at = argument.at(row);
        let Some(state) = states.get(row).filter(|_| values.is_valid(at)) else { return Ok(None) };
        Ok(Some(pick(Frequent::decode(state)?.frequency(values.value(at)))))
    })
}

fn names(counters: Vec<Counter>) -> Many<String> {
    Many(counters.into_iter().map(|counter| Some(counter.value.to_string())).collect())
}

/// The aggregates.
pub(super) fn aggregates() -> Vec<Function> {
    vec![
        def(
            "freq_agg",
            "A state that knows the values which at least a fraction of all rows have.",
            "topn(freq_agg(0.05, city))",
        )
        .on("float8, any -> bytea", aggregated),
        def("mcv_agg", "A state that knows the most common values, that many.", "topn(mcv_agg(10, city))")
            .on("int4, any -> bytea", aggregated),
    ]
}

/// The accessors.
pub(super) fn accessors() -> Vec<Function> {
    vec![
        def("topn", "The most common values of a state, as text, the most common first.", "topn(mcv_agg(10, city), 3)")
            .on("bytea -> text[]", |c| c.map1(|state: &[u8]| Ok(names(Frequent::decode(state)?.common_values()))))
            .on("bytea, int4 -> text[]", |c| {
                c.map2(|state: &[u8], count: i32| {
                    let mut counters = Frequent::decode(state)?.sorted();
                    counters.truncate(usize::try_from(count).unwrap_or(0));
                    Ok(names(counters))
                })
            }),
        def(
            "min_frequency",
            "At least which fraction of a state's values is that value.",
            "min_frequency(freq_agg(0.05, city), 'Berlin')",
        )
        .on("bytea, any -> float8", |c| frequency(c, |(least, _)| least)),
        def(
            "max_frequency",
            "At most which fraction of a state's values is that value.",
            "max_frequency(freq_agg(0.05, city), 'Berlin')",
        )
        .on("bytea, any -> float8", |c| frequency(c, |(_, most)| most)),
        def(
            "into_values",
            "The common values of a state, as an array of rows (value, min_freq, max_freq).",
            "into_values(freq_agg(0.05, city))",
        )
        .computed("bytea -> record[]", frequencies, into_values),
    ]
}
