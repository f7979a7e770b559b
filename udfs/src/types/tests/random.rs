//! Random values: what is printed reads as the same value.
