//! LATER: flush, compact, checkpoint.
