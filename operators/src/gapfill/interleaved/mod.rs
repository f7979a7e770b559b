//! Gap filling of rows in the order of time, in which the series take turns.
//!
//! ```text
//!  partition 0          partition 1                    in the order of time, and of partitions
//!  a 1, b 1, b 2        b 4, a 5, b 5
//!       no gap in b          a 5: a's first here       within a partition a gap lies between two rows of a series
//!       └──────── ends ──────────┘                     the partition that ends last fills those between partitions
//! ```
//! What `GROUP BY bucket, series` makes of a table in the order of time needs no sort by series for this, and rows pass as
//! they came. The state is the last row of each series, and the first one of each partition. Output is in no order. What needs
//! more than a row's neighbours (look-ups, NULLs that are missing, times of values) is left to [`GapFillExec`].

mod exec;
mod stream;
mod walk;

pub use exec::InterleavedGapFillExec;
