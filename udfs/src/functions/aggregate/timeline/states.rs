//! `state_agg(ts, state)` and `compact_state_agg(ts, state)`: the states something was in, each until the next was seen.
//!
//! A row is a run of one state from its time to its time; at the end neighbouring runs of one state become one. Runs can be
//! collected in any order, but runs of different states must not overlap. The compact form keeps only how long each state
//! lasted, and when and with what it begins and ends. States are text.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{FieldRef, Int64Type, TimestampMicrosecondType};
use datafusion_common::Result;

use super::super::super::call::{Value, fail};
use super::super::super::define::{Function, def};
use super::super::series::rollup::Mergeable;
use super::super::series::state::{Kind, Reader, Writer};
use super::super::two_step::{Summary, aggregated};

/// A state that was seen at both times and nothing else between them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Run {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) state: u32,
}

/// A part of a time line of which only sums are known.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sums {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) first: u32,
    pub(crate) last: u32,
    /// States and microseconds.
    pub(crate) durations: Vec<(u32, i64)>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum History {
    Runs(Vec<Run>),
    Sums(Vec<Sums>),
}

/// A time line, or its parts.
#[derive(Debug, Clone)]
pub(crate) struct States {
    pub(crate) names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    pub(crate) history: History,
    text_bytes: usize,
}

fn overlapping<T>() -> Value<T> {
    fail("22023", "states of overlapping times cannot be rolled up")
}

impl States {
    pub(crate) fn new() -> Self {
        Self { names: vec![], numbers: HashMap::new(), history: History::Runs(vec![]), text_bytes: 0 }
    }

    /// Adds that a state was seen.
    pub(crate) fn insert(&mut self, at: i64, state: &str) {
        let state = self.number_of(state);
        if let History::Runs(runs) = &mut self.history {
            runs.push(Run { from: at, to: at, state });
        }
    }

    fn number_of(&mut self, state: &str) -> u32 {
        if let Some(number) = self.numbers.get(state) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).expect("fewer states than 2^32 fit in memory");
        let name: Arc<str> = state.into();
        self.text_bytes += name.len();
        self.numbers.insert(Arc::clone(&name), number);
        self.names.push(name);
        number
    }

    /// The number of a state that has been seen.
    pub(crate) fn find(&self, state: &str) -> Option<u32> {
        self.numbers.get(state).copied()
    }

    /// Adds another's parts.
    fn collect(&mut self, other: Self) -> Value<()> {
        let numbers: Vec<u32> = other.names.iter().map(|name| self.number_of(name)).collect();
        let number = |state: u32| numbers[state as usize];
        match (&mut self.history, other.history) {
            (History::Runs(runs), History::Runs(others)) => {
                runs.extend(others.into_iter().map(|run| Run { state: number(run.state), ..run }));
            }
            (History::Sums(sums), History::Sums(others)) => {
                sums.extend(others.into_iter().map(|part| Sums {
                    first: number(part.first),
                    last: number(part.last),
                    durations: part.durations.into_iter().map(|(state, span)| (number(state), span)).collect(),
                    ..part
                }));
            }
            _ => return fail("22023", "states of state_agg and compact_state_agg cannot be rolled up together"),
        }
        Ok(())
    }

    /// Makes one time line of the parts.
    ///
    /// # Errors
    /// 22023 if parts overlap that say different things.
    pub(crate) fn settle(&mut self) -> Value<()> {
        match &mut self.history {
            History::Runs(runs) => {
                let names = &self.names;
                runs.sort_by_key(|run| (run.from, run.to, &names[run.state as usize]));
                let mut settled: Vec<Run> = Vec::with_capacity(runs.len().min(1024));
                for run in runs.drain(..) {
                    // Seen at the same time as another state: what is last as text counts, so that no order of rows does.
                    while settled.last().is_some_and(|last| last.from == last.to && last.to == run.from) {
                        settled.pop();
                    }
                    match settled.last_mut() {
                        Some(last) if last.state == run.state => last.to = last.to.max(run.to),
                        Some(last) if run.from < last.to => return overlapping(),
                        _ => settled.push(run),
                    }
                }
                *runs = settled;
            }
            History::Sums(parts) => {
                parts.sort_by_key(|part| (part.from, part.to));
                let mut parts_in_order = std::mem::take(parts).into_iter();
                let Some(mut all) = parts_in_order.next() else { return Ok(()) };
                for mut part in parts_in_order {
                    if part.from < all.to {
                        return overlapping();
                    }
                    part.durations.push((all.last, part.from.saturating_sub(all.to)));
                    all.durations.append(&mut part.durations);
                    (all.to, all.last) = (part.to, part.last);
                }
                all.durations = summed(&all.durations);
                parts.push(all);
            }
        }
        Ok(())
    }

    /// Keeps only sums of a time line that is one.
    pub(crate) fn compact(&mut self) {
        let History::Runs(runs) = &self.history else { return };
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return };
        let durations: Vec<_> = periods(runs).map(|(from, to, state)| (state, to.saturating_sub(from))).collect();
        let durations = summed(&durations);
        let sums = Sums { from: first.from, to: last.to, first: first.state, last: last.state, durations };
        self.history = History::Sums(vec![sums]);
    }
}

/// From when until when there was which state; the last ends when it was last seen.
pub(crate) fn periods(runs: &[Run]) -> impl Iterator<Item = (i64, i64, u32)> {
    let next = runs.iter().skip(1).map(|next| next.from).map(Some).chain([None]);
    runs.iter().zip(next).map(|(run, next)| (run.from, next.unwrap_or(run.to), run.state))
}

/// One sum for each state, by their numbers.
fn summed(durations: &[(u32, i64)]) -> Vec<(u32, i64)> {
    let mut sums = std::collections::BTreeMap::new();
    for (state, span) in durations {
        let sum = sums.entry(*state).or_insert(0_i64);
        *sum = sum.saturating_add(*span);
    }
    sums.into_iter().collect()
}

/// States, which are text or numbers, as text.
pub(crate) fn state_names(array: &ArrayRef) -> StringViewArray {
    match array.as_primitive_opt::<Int64Type>() {
        Some(numbers) => numbers.iter().map(|number| number.map(|number| number.to_string())).collect(),
        None => array.as_string_view().clone(),
    }
}

/// What `state_agg` and `compact_state_agg` keep of rows: all of them, as only the end knows what was next.
#[derive(Debug, Clone)]
pub(crate) struct Collected<const COMPACT: bool>(States);

impl<const COMPACT: bool> Summary for Collected<COMPACT> {
    type Rows<'a> = (&'a TimestampMicrosecondArray, StringViewArray);

    fn open<'a>(arrays: &'a [ArrayRef], _: &'a [FieldRef]) -> Result<Self::Rows<'a>> {
        Ok((arrays[0].as_primitive::<TimestampMicrosecondType>(), state_names(&arrays[1])))
    }

    fn add(group: &mut Option<Self>, (times, states): &Self::Rows<'_>, row: usize) -> Value<()> {
        if times.is_valid(row) && states.is_valid(row) {
            let Self(summary) = group.get_or_insert_with(|| Self(States::new()));
            summary.insert(times.value(row), states.value(row));
        }
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Value<()> {
        self.0.collect(other.0)
    }

    fn write(&mut self) -> Vec<u8> {
        self.0.encode()
    }

    fn read(bytes: &[u8]) -> Value<Self> {
        Ok(Self(States::parts(bytes)?))
    }

    fn heap_bytes(&self) -> usize {
        let history = match &self.0.history {
            History::Runs(runs) => runs.capacity() * size_of::<Run>(),
            History::Sums(sums) => sums.capacity() * size_of::<Sums>(),
        };
        let names = size_of::<Arc<str>>() * self.0.names.capacity();
        history + self.0.text_bytes + names + self.0.numbers.capacity() * (size_of::<(Arc<str>, u32)>() + 1)
    }

    fn finish(mut self) -> Value<Vec<u8>> {
        self.0.settle()?;
        if COMPACT {
            self.0.compact();
        }
        Ok(self.0.encode())
    }
}

impl States {
    /// Reads a state without making one time line of it.
    fn parts(bytes: &[u8]) -> Value<Self> {
        /// Checks how many elements of at least so many bytes follow.
        fn count(reader: &mut Reader<'_>, least_bytes: usize) -> Value<usize> {
            let count = reader.u32()? as usize;
            if count > reader.left() / least_bytes { Reader::invalid("count") } else { Ok(count) }
        }
        let mut reader = Reader::open(bytes, Kind::State)?;
        let form = reader.u8()?;
        let mut states = Self::new();
        for number in 0..count(&mut reader, 4)? {
            let Ok(name) = std::str::from_utf8(reader.bytes()?) else { return Reader::invalid("text") };
            if states.number_of(name) as usize != number {
                return Reader::invalid("state");
            }
        }
        let names = states.names.len();
        let state = |number: u32| {
            if (number as usize) < names { Ok(number) } else { Reader::invalid("state") }
        };
        match form {
            0 => {
                let mut runs = vec![];
                for _ in 0..count(&mut reader, 20)? {
                    runs.push(Run { from: reader.i64()?, to: reader.i64()?, state: state(reader.u32()?)? });
                }
                states.history = History::Runs(runs);
            }
            1 => {
                let mut sums = vec![];
                for _ in 0..count(&mut reader, 28)? {
                    let (from, to) = (reader.i64()?, reader.i64()?);
                    let (first, last) = (state(reader.u32()?)?, state(reader.u32()?)?);
                    let mut durations = vec![];
                    for _ in 0..count(&mut reader, 12)? {
                        durations.push((state(reader.u32()?)?, reader.i64()?));
                    }
                    sums.push(Sums { from, to, first, last, durations });
                }
                states.history = History::Sums(sums);
            }
            _ => return Reader::invalid("form"),
        }
        reader.end()?;
        let backwards = match &states.history {
            History::Runs(runs) => runs.is_empty() || runs.iter().any(|run| run.from > run.to),
            History::Sums(sums) => {
                let wrong = |sums: &Sums| sums.from > sums.to || sums.durations.iter().any(|(_, span)| *span < 0);
                sums.is_empty() || sums.iter().any(wrong)
            }
        };
        if backwards { Reader::invalid("times") } else { Ok(states) }
    }
}

impl Mergeable for States {
    const ORDERED: bool = true;

    fn decode(bytes: &[u8]) -> Value<Self> {
        let mut states = Self::parts(bytes)?;
        states.settle()?;
        Ok(states)
    }

    fn encode(&self) -> Vec<u8> {
        let count = |count: usize| u32::try_from(count).expect("a state is below 4 GiB");
        let mut writer = Writer::new(Kind::State);
        writer.u8(match self.history {
            History::Runs(_) => 0,
            History::Sums(_) => 1,
        });
        writer.u32(count(self.names.len()));
        self.names.iter().for_each(|name| writer.bytes(name.as_bytes()));
        match &self.history {
            History::Runs(runs) => {
                writer.u32(count(runs.len()));
                for run in runs {
                    writer.i64(run.from);
                    writer.i64(run.to);
                    writer.u32(run.state);
                }
            }
            History::Sums(sums) => {
                writer.u32(count(sums.len()));
                for part in sums {
                    writer.i64(part.from);
                    writer.i64(part.to);
                    writer.u32(part.first);
                    writer.u32(part.last);
                    writer.u32(count(part.durations.len()));
                    for (state, span) in &part.durations {
                        writer.u32(*state);
                        writer.i64(*span);
                    }
                }
            }
        }
        writer.finish()
    }

    fn start(&self) -> i64 {
        match &self.history {
            History::Runs(runs) => runs.first().map_or(i64::MAX, |run| run.from),
            History::Sums(sums) => sums.first().map_or(i64::MAX, |sums| sums.from),
        }
    }

    fn merge(&mut self, next: Self) -> Value<()> {
        // Runs before one that begins before `next` stay as they are: a rollup of many states need not settle all each time.
        let (next_start, mut head) = (next.start(), vec![]);
        if let History::Runs(runs) = &mut self.history {
            let last = runs.len().saturating_sub(2);
            if runs.get(last).is_some_and(|run| run.from < next_start) {
                let border = runs.split_off(last);
                head = std::mem::replace(runs, border);
            }
        }
        self.collect(next)?;
        self.settle()?;
        if let History::Runs(runs) = &mut self.history {
            head.append(runs);
            *runs = head;
        }
        Ok(())
    }
}

/// The aggregate that keeps the whole time line.
pub(super) fn state_agg() -> Function {
    def(
        "state_agg",
        "A state that knows what was seen when; each lasts until the next is seen.",
        "duration_in(state_agg(ts, status), 'ok')",
    )
    .on("timestamptz, text -> bytea", aggregated)
    .on("timestamptz, int8 -> bytea", aggregated)
}

/// The aggregate that keeps durations.
pub(super) fn compact_state_agg() -> Function {
    def(
        "compact_state_agg",
        "A state that knows how long what was seen lasted, but not when.",
        "duration_in(compact_state_agg(ts, status), 'ok')",
    )
    .on("timestamptz, text -> bytea", aggregated)
    .on("timestamptz, int8 -> bytea", aggregated)
}
