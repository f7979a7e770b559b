//! placeholder
use super::define::Function;
pub(crate) fn all() -> Vec<Function> {
    vec![]
}
