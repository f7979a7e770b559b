//! What a session knows of sequences: which numbers it was given last, and those it took ahead (CACHE).

use std::collections::HashMap;

use tidemill_catalog::Oid;
use tidemill_catalog::sequence::Run;

/// See the module doc.
#[derive(Debug, Default)]
pub struct Sequences {
    last: Option<Oid>,
    known: HashMap<Oid, Known>,
}

#[derive(Debug)]
struct Known {
    value: i64,
    /// Numbers taken and not given yet, and the generation they are of.
    ahead: Option<(u64, Run)>,
}

impl Sequences {
    /// currval: the number of that sequence that the session was given last.
    pub fn current(&self, sequence: Oid) -> Option<i64> {
        self.known.get(&sequence).map(|known| known.value)
    }

    /// lastval: of which sequence the session was given a number last, and that number.
    pub fn last(&self) -> Option<(Oid, i64)> {
        let sequence = self.last?;
        self.current(sequence).map(|value| (sequence, value))
    }

    /// Remembers the last number given, and those left of what was taken.
    pub fn given(&mut self, sequence: Oid, value: i64, ahead: Option<(u64, Run)>) {
        self.last = Some(sequence);
        self.known.insert(sequence, Known { value, ahead });
    }

    /// The numbers taken ahead, to be given now.
    pub fn take_ahead(&mut self, sequence: Oid, generation: u64) -> Option<Run> {
        let (of, run) = self.known.get_mut(&sequence)?.ahead.take()?;
        (of == generation).then_some(run)
    }

    /// setval: numbers taken ahead are not given any more; a value that was called is the last.
    pub fn set(&mut self, sequence: Oid, value: Option<i64>) {
        match (self.known.get_mut(&sequence), value) {
            (Some(known), _) => {
                known.ahead = None;
                known.value = value.unwrap_or(known.value);
            }
            (None, Some(value)) => {
                self.known.insert(sequence, Known { value, ahead: None });
            }
            (None, None) => {}
        }
    }
}
