//! The walk for the nearest row: a left row waits until a later right row of its key was seen.
//!
//! ```text
//! right   A1             A2         run of equal values, ended by the next greater one: only then is A2 the last of them
//! left         A?   A?   ^          both wait at A, and choose between A1 and A2
//! ```

use datafusion_common::Result;

use super::rows::{KeptRows, Place};
use super::stream::{Join, Latest, Need, Walk};
use crate::keys::NO_KEY;

/// The end of a chain of waiting rows.
const END: u32 = u32::MAX;

/// A left row that waits, or a free entry if its place is none.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    value: i64,
    place: Place,
    next: u32,
}

/// The walk.
pub(super) struct Nearest {
    /// Left rows, as long as they wait or are not in the output yet.
    left_kept: KeptRows,
    /// The number of the left batch being walked through. None before it is kept.
    left_batch: Option<u32>,
    waiting: Vec<Waiting>,
    free: u32,
    waiting_rows: usize,
    /// By key, the first waiting row.
    heads: Vec<u32>,
    /// The match value of the last right row.
    run: i64,
    /// Keys with waiting rows that had a right row in this run, with what they had before.
    met: Vec<(usize, Latest)>,
    /// Joined rows that are not in the output yet.
    left_places: Vec<Place>,
    right_places: Vec<Place>,
    /// Keys below this one have no waiting rows; only meaningful once the right side ended.
    drained: usize,
}

impl Nearest {
    pub(super) fn new(left_kept: KeptRows) -> Self {
        Self {
            left_kept,
            left_batch: None,
            waiting: vec![],
            free: END,
            waiting_rows: 0,
            heads: vec![],
            run: i64::MIN,
            met: vec![],
            left_places: vec![],
            right_places: vec![],
            drained: 0,
        }
    }
}

impl Walk for Nearest {
    fn step(&mut self, join: &mut Join) -> Result<Need> {
        self.flush(join, join.batch_rows)?;
        if !join.left_ended && !join.left.is_done() && self.left_batch.is_none() {
            self.keep_left(join)?;
        }
        if join.right_ended {
            self.end_run(join);
            self.drain(join);
            if self.left_places.len() >= join.batch_rows {
                return Ok(Need::Again);
            }
        }
        self.walk(join);
        let right_is_done = join.right.is_done() && !join.right_ended;
        if join.left_ended {
            let joined = self.waiting_rows == 0;
            self.flush(join, if joined { 1 } else { join.batch_rows })?;
            return if joined { Ok(Need::End) } else { self.read_right(join) };
        }
        if join.left.is_done() {
            self.left_batch = None;
            return Ok(Need::Left);
        }
        debug_assert!(right_is_done, "the walk ends with one of the batches");
        self.read_right(join)
    }

    fn bytes(&self) -> usize {
        self.left_kept.bytes()
            + self.waiting.capacity() * size_of::<Waiting>()
            + self.heads.capacity() * size_of::<u32>()
            + (self.left_places.capacity() + self.right_places.capacity()) * size_of::<Place>()
    }
}

impl Nearest {
    fn read_right(&mut self, join: &mut Join) -> Result<Need> {
        if join.is_compaction_due(1) {
            self.flush(join, 1)?;
            join.compact(self.met.iter_mut().map(|(_, before)| before))?;
        }
        Ok(Need::Right)
    }

    /// Keeps the rows of the new left batch, which may have to wait.
    fn keep_left(&mut self, join: &mut Join) -> Result<()> {
        if self.left_kept.rows() >= (4 * join.batch_rows).max(3 * self.waiting_rows) {
            self.flush(join, 1)?;
            let live = self.waiting.iter_mut().map(|waiting| &mut waiting.place);
            self.left_kept.compact(u32::MAX, live)?;
        }
        if let Some(batch) = join.left.batch.take() {
            self.left_batch = Some(self.left_kept.push(batch)?);
        }
        self.heads.resize(join.keys.len().max(self.heads.len()), END);
        Ok(())
    }

    /// Goes on to the end of one of the batches.
    fn walk(&mut self, join: &mut Join) {
        let more = !join.right_ended;
        while !join.left_ended && !join.left.is_done() {
            let (value, key) = (join.left.values[join.left.at], join.left.keys[join.left.at]);
            self.pass_right(join, value);
            if join.right.is_done() && more {
                return;
            }
            self.end_run(join);
            let place = Place { batch: self.left_batch.unwrap_or(0), row: join.left.at as u32 };
            let before = join.latest.get(key).copied().unwrap_or(Latest::NONE);
            let decided = key == NO_KEY || !more || (!before.place.is_none() && before.value == value);
            if decided {
                self.emit(join, place, value, before);
            } else {
                self.wait(key, Waiting { value, place, next: END });
            }
            join.left.at += 1;
        }
        if join.left_ended {
            self.pass_right(join, i64::MAX);
        }
    }

    /// Notes the right rows up to a match value.
    fn pass_right(&mut self, join: &mut Join, value: i64) {
        let rows = join.right.values.len();
        while join.right.at < rows && join.right.values[join.right.at] <= value {
            let (right, key, row) =
                (join.right.values[join.right.at], join.right.keys[join.right.at], join.right.at as u32);
            join.right.at += 1;
            if key == NO_KEY {
                continue;
            }
            if right != self.run {
                self.end_run(join);
                self.run = right;
            }
            let latest = &mut join.latest[key];
            let first_in_run = latest.place.is_none() || latest.value != right;
            if first_in_run && self.heads.get(key).is_some_and(|head| *head != END) {
                self.met.push((key, *latest));
            }
            *latest = Latest { value: right, place: Place { batch: join.right_batch, row } };
        }
    }

    /// Decides the rows that waited for a right row of this run, whose rows are all known now.
    fn end_run(&mut self, join: &mut Join) {
        while let Some((key, before)) = self.met.pop() {
            let after = join.latest[key];
            while let Some(Waiting { value, place, .. }) = self.pop(key) {
                let is_after_nearer = before.place.is_none()
                    || join.scale.distance(after.value, value) < join.scale.distance(value, before.value);
                self.emit(join, place, value, if is_after_nearer { after } else { before });
            }
        }
    }

    /// Decides rows for which no later right row comes any more, about as many as the output takes at a time.
    fn drain(&mut self, join: &mut Join) {
        while self.waiting_rows > 0 && self.left_places.len() < join.batch_rows {
            match self.pop(self.drained) {
                Some(Waiting { value, place, .. }) => {
                    let before = join.latest.get(self.drained).copied().unwrap_or(Latest::NONE);
                    self.emit(join, place, value, before);
                }
                None => self.drained += 1,
            }
        }
    }

    fn emit(&mut self, join: &Join, place: Place, value: i64, nearest: Latest) {
        let near = join.tolerance.is_none_or(|tolerance| join.scale.distance(value, nearest.value) <= tolerance);
        let right = if near { nearest.place } else { Place::NONE };
        if !right.is_none() || !join.output.inner {
            self.left_places.push(place);
            self.right_places.push(right);
        }
    }

    fn wait(&mut self, key: usize, row: Waiting) {
        let row = Waiting { next: self.heads[key], ..row };
        self.waiting_rows += 1;
        if self.free == END {
            self.heads[key] = self.waiting.len() as u32;
            self.waiting.push(row);
        } else {
            self.heads[key] = self.free;
            let entry = &mut self.waiting[self.free as usize];
            self.free = entry.next;
            *entry = row;
        }
    }

    fn pop(&mut self, key: usize) -> Option<Waiting> {
        let head = *self.heads.get(key)?;
        let entry = self.waiting.get_mut(head as usize)?;
        let row = *entry;
        self.heads[key] = row.next;
        *entry = Waiting { place: Place::NONE, next: self.free, ..row };
        self.free = head;
        self.waiting_rows -= 1;
        Some(row)
    }

    /// Moves the joined rows to the output, if there are `enough`.
    fn flush(&mut self, join: &mut Join, enough: usize) -> Result<()> {
        if self.left_places.len() < enough {
            return Ok(());
        }
        for (left, right) in self.left_places.chunks(join.batch_rows).zip(self.right_places.chunks(join.batch_rows)) {
            let rows = left.len();
            let (left, right) = (self.left_kept.gather(left)?, join.right_kept.gather(right)?);
            join.output.push(&left, &right, rows)?;
        }
        self.left_places.clear();
        self.right_places.clear();
        Ok(())
    }
}
