//! Whole units in, fewer rows out: DELETE and UPDATE.
