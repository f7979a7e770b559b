//! The walk for conditions that look to one side: a left row takes what its key has at that moment.
//!
//! ```text
//! right   A1   B1   A2        C1
//! left              ^    A?        the right rows up to the left one are noted, then A? takes A2
//! ```

use datafusion_common::Result;

use super::rows::Place;
use super::stream::{Join, Latest, Need, Walk};

/// The walk; `STRICT` if equal match values do not match.
#[derive(Default)]
pub(super) struct OneSided<const STRICT: bool> {
    /// The right rows of the left rows before `left.at` that are not in the output yet.
    places: Vec<Place>,
}

impl<const STRICT: bool> Walk for OneSided<STRICT> {
    fn step(&mut self, join: &mut Join) -> Result<Need> {
        if join.left_ended {
            return Ok(Need::End);
        }
        if join.right_ended && join.latest.is_empty() && join.output.inner {
            return Ok(Need::End);
        }
        self.walk(join);
        if !join.left.is_done() {
            // The last resort, as it cuts the left batch in two.
            if join.is_compaction_due(2) {
                self.flush(join)?;
                join.compact([].iter_mut())?;
            }
            return Ok(Need::Right);
        }
        self.flush(join)?;
        if join.is_compaction_due(1) {
            join.compact([].iter_mut())?;
        }
        Ok(Need::Left)
    }
}

impl<const STRICT: bool> OneSided<STRICT> {
    /// Stops at the end of the left batch, or where a left row may have a match in the next right batch.
    fn walk(&mut self, join: &mut Join) {
        let left_values = &join.left.values[join.left.at..];
        let left_keys = &join.left.keys[join.left.at..];
        let right_values = &join.right.values[..];
        let right_keys = &join.right.keys[..right_values.len()];
        let latest = &mut join.latest[..];
        let (batch, mut row, more) = (join.right_batch, join.right.at, !join.right_ended);
        let near = |left: i64, right: i64| {
            join.tolerance.is_none_or(|tolerance| join.scale.distance(left, right) <= tolerance)
        };
        self.places.reserve(left_values.len());
        for (left, key) in left_values.iter().zip(left_keys) {
            while let Some(right) = right_values.get(row)
                && if STRICT { right < left } else { right <= left }
            {
                if let Some(entry) = latest.get_mut(right_keys[row]) {
                    *entry = Latest { value: *right, place: Place { batch, row: row as u32 } };
                }
                row += 1;
            }
            if row == right_values.len() && more {
                break;
            }
            self.places.push(match latest.get(*key) {
                Some(entry) if near(*left, entry.value) => entry.place,
                _ => Place::NONE,
            });
            join.left.at += 1;
        }
        join.right.at = row;
    }

    fn flush(&mut self, join: &mut Join) -> Result<()> {
        if let Some(batch) = &join.left.batch {
            let left = batch.slice(join.left.at - self.places.len(), self.places.len());
            join.output.push_run(&left, &self.places, &mut join.right_kept)?;
        }
        self.places.clear();
        Ok(())
    }
}
