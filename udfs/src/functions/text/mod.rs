//! Text and bytes.

use super::define::Function;

mod bytes;
mod pattern;
pub(crate) mod quote;
mod split;
mod strings;

/// Every function of this family.
pub(crate) fn all() -> Vec<Function> {
    [strings::functions(), quote::functions(), split::functions(), bytes::functions(), pattern::functions()]
        .into_iter()
        .flatten()
        .collect()
}
