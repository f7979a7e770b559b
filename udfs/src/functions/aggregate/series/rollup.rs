//! `rollup(state)`: many states of one kind become one. What is done for which kind is in one `match`, in [`merger`].

use super::super::super::call::{Value, fail};
use super::state::Kind;

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

/// The merger of states that implement [`Mergeable`].
pub(crate) const fn merger_of<M: Mergeable>() -> Merger {
    Merger { combine: combine::<M>, ordered: M::ORDERED }
}

/// How states of that kind are put together.
///
/// # Errors
/// 22023 for kinds that cannot.
pub(crate) fn merger(kind: Kind) -> Value<Merger> {
    #[expect(clippy::match_single_binding, reason = "kinds follow")]
    Ok(match kind {
        other => return fail("22023", format!("states of {} cannot be rolled up", other.name())),
    })
}
