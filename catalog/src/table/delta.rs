//! The Delta log: commits, replay, checkpoints.
