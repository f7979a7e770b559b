//! `rollup(state)`: many states of one kind become one. What is done for which kind is in one `match`, in [`merger`].

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use datafusion_common::{Result, exec_err};

use super::super::super::call::{Value, fail};
use super::candlestick::Candlestick;
use super::counter::Counter;
use super::groups::{About, Group, Series, as_state, bytea};
use super::state::{Kind, Reader, Writer};
use super::stats::{Joint, Moments};
use super::time_weight::TimeWeight;

/// States that can be put together in any order are, when there are so many of them in a group.
const STATES_MAX: usize = 64;

/// States of one kind that can be put together.
pub(crate) trait Mergeable: Sized {
    /// True if states are put together in the order of [`Mergeable::start`]; else any order gives the same.
    const ORDERED: bool;

    /// Reads a state, of its kind and well-formed.
    fn decode(bytes: &[u8]) -> Value<Self>;

    /// Writes it.
    fn encode(&self) -> Vec<u8>;

    /// When it begins.
    fn start(&self) -> i64 {
        0
    }

    /// Adds the next state.
    fn merge(&mut self, next: Self) -> Value<()>;
}

/// How states of a kind are put together.
#[derive(Clone, Copy)]
pub(crate) struct Merger {
    /// Makes one state of one or more.
    pub(crate) combine: fn(&[&[u8]]) -> Value<Vec<u8>>,
    /// False if some can be put together before the others are known.
    pub(crate) ordered: bool,
}

/// How states of that kind are put together.
///
/// # Errors
/// 22023 for kinds that cannot.
pub(crate) fn merger(kind: Kind) -> Value<Merger> {
    Ok(match kind {
        Kind::TimeWeight => merger_of::<TimeWeight>(),
        Kind::Counter => merger_of::<Counter<false>>(),
        Kind::Gauge => merger_of::<Counter<true>>(),
        Kind::Stats1 => merger_of::<Moments>(),
        Kind::Stats2 => merger_of::<Joint>(),
        Kind::Candlestick => merger_of::<Candlestick>(),
        Kind::State | Kind::Heartbeat | Kind::TDigest | Kind::HyperLogLog | Kind::Freq => {
            return fail("22023", format!("states of {} cannot be rolled up", kind.name()));
        }
    })
}

const fn merger_of<M: Mergeable>() -> Merger {
    Merger { combine: combine::<M>, ordered: M::ORDERED }
}

fn combine<M: Mergeable>(states: &[&[u8]]) -> Value<Vec<u8>> {
    let mut states = states.iter().map(|bytes| M::decode(bytes)).collect::<Value<Vec<M>>>()?;
    if M::ORDERED {
        states.sort_by_key(M::start);
    }
    let mut states = states.into_iter();
    let Some(mut all) = states.next() else { return fail("22023", "there is no state to roll up") };
    for next in states {
        all.merge(next)?;
    }
    Ok(all.encode())
}

/// An error about states that cover the same time, where that cannot be.
pub(crate) fn overlap<T>(kind: Kind) -> Value<T> {
    fail("22023", format!("states of {} that overlap in time cannot be rolled up", kind.name()))
}

/// The function.
pub(crate) fn function() -> Series {
    let about = About {
        name: "rollup",
        signatures: &["rollup(bytea) → bytea"],
        description: "One state of many of the same kind: of time_weight, counter_agg, stats_agg and their like.",
        example: "average(rollup(hourly_weight))",
    };
    Series::new::<Rolled>(about, |types: &[DataType]| match types {
        [state] => Some(vec![as_state(state)?]),
        _ => None,
    })
    .counts_repeats()
}

/// The states of one group.
#[derive(Debug, Default)]
struct Rolled {
    kind: Option<Kind>,
    states: Vec<Box<[u8]>>,
}

impl Rolled {
    fn add(&mut self, state: &[u8]) -> Value<usize> {
        let kind = Reader::kind_of(state)?;
        if let Some(known) = self.kind.filter(|known| *known != kind) {
            let (a, b) = (known.name(), kind.name());
            return fail("22023", format!("states of different kinds cannot be rolled up: {a} and {b}"));
        }
        self.kind = Some(kind);
        self.states.push(state.into());
        if self.states.len() >= STATES_MAX && !merger(kind)?.ordered {
            let all = self.combined()?.unwrap_or_default();
            self.states = vec![all.into_boxed_slice()];
            return Ok(0);
        }
        Ok(state.len() + size_of::<Box<[u8]>>())
    }

    fn combined(&self) -> Value<Option<Vec<u8>>> {
        let Some(kind) = self.kind else { return Ok(None) };
        let states: Vec<&[u8]> = self.states.iter().map(AsRef::as_ref).collect();
        (merger(kind)?.combine)(&states).map(Some)
    }
}

impl Group for Rolled {
    fn update(
        groups: &mut [Self],
        arguments: &[ArrayRef],
        rows: impl Iterator<Item = (usize, usize)>,
    ) -> Result<usize> {
        let Some(states) = arguments[0].as_binary_view_opt() else {
            return exec_err!("a state has type bytea, not {}", arguments[0].data_type());
        };
        let mut bytes = 0;
        for (row, group) in rows.filter(|(row, _)| states.is_valid(*row)) {
            bytes += groups[group].add(states.value(row))?;
        }
        Ok(bytes)
    }

    fn merge(&mut self, partial: &[u8]) -> Value<()> {
        let mut reader = Reader::open(partial, Reader::kind_of(partial)?)?;
        while reader.left() > 0 {
            self.add(reader.bytes()?)?;
        }
        Ok(())
    }

    fn partial(&mut self) -> Value<Option<Vec<u8>>> {
        let Some(kind) = self.kind else { return Ok(None) };
        let mut writer = Writer::new(kind);
        if merger(kind)?.ordered {
            self.states.iter().for_each(|state| writer.bytes(state));
        } else {
            writer.bytes(&self.combined()?.unwrap_or_default());
        }
        Ok(Some(writer.finish()))
    }

    fn results(groups: &mut [Self]) -> Result<ArrayRef> {
        bytea(groups.iter().map(Self::combined))
    }

    fn heap_bytes(&self) -> usize {
        self.states.iter().map(|state| state.len() + size_of::<Box<[u8]>>()).sum()
    }
}
