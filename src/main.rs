//! The server binary: flags to configuration, then run.
use tidemill as _;
fn main() {}
