//! Numbers.

use super::define::{Function, def};

pub(crate) mod exact;
pub(crate) mod float;
pub(crate) mod to_char;

/// Every function of this family.
pub(crate) fn all() -> Vec<Function> {
    let mut all = exact::functions();
    all.extend(float::functions());
    all.push(
        def("to_number", "Text as numeric, after a template.", "to_number('1,234.5', '9,999.9')")
            .on("text, text -> numeric", |c| c.map2(to_char::to_number)),
    );
    all
}
