//! Tests on a scope over a small snapshot.
