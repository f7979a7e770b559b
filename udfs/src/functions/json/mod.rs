//! json and jsonb: text in, text out. json is as the user wrote it; jsonb is in PostgreSQL's jsonb text form.

use super::define::Function;

mod access;
/// to_json and json_build_…
pub(crate) mod build;
mod each;
mod modify;
mod scan;
/// JSON as a tree.
pub(crate) mod value;

/// Every scalar function of this family.
pub(crate) fn all() -> Vec<Function> {
    let mut all = access::operators();
    all.extend(access::functions());
    all.extend(each::functions());
    all.extend(modify::functions());
    all.extend(build::functions());
    all
}
