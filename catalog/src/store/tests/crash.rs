//! The property that matters: power failures at any step, and every acknowledged row is there exactly once, no
//! unacknowledged transaction in part.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::work::bulk;
use super::*;

/// What every table should hold.
type Model = BTreeMap<Oid, BTreeSet<i64>>;

struct World {
    bed: Bed,
    random: StdRng,
    model: Model,
    versions: BTreeMap<Oid, u64>,
    next_id: i64,
}

/// What a transaction would make of the model.
struct Step {
    changes: Vec<Change>,
    model: Model,
    versions: BTreeMap<Oid, u64>,
}

impl World {
    fn new(seed: u64, durability: Durability) -> Self {
        let bed = Bed::with(|options| options.durability = durability);
        Self { bed, random: StdRng::seed_from_u64(seed), model: Model::new(), versions: BTreeMap::new(), next_id: 0 }
    }

    fn fresh_ids(&mut self) -> Vec<i64> {
        let count = self.random.random_range(1..5);
        self.next_id += count;
        (self.next_id - count..self.next_id).collect()
    }

    fn any_table(&mut self) -> Option<Oid> {
        let tables: Vec<Oid> = self.model.keys().copied().collect();
        (!tables.is_empty()).then(|| tables[self.random.random_range(0..tables.len())])
    }

    /// A random transaction; an error if making its files failed.
    fn step(&mut self) -> Result<Step> {
        let mut step = Step { changes: vec![], model: self.model.clone(), versions: self.versions.clone() };
        let store = Arc::clone(self.bed.store());
        let Some(table) = self.any_table().filter(|_| self.random.random_range(0..15) != 0) else {
            let oid = store.next_oid();
            step.changes.push(put_table(oid, 1));
            step.versions.insert(oid, 1);
            let ids = self.fresh_ids();
            // With rows at once, as CREATE TABLE AS does.
            step.changes.push(insert(oid, store.next_chunk_id(), &ids));
            step.model.insert(oid, ids.into_iter().collect());
            return Ok(step);
        };
        match self.random.random_range(0..10) {
            0..4 => {
                let other = self.any_table();
                for table in [Some(table), other].into_iter().flatten() {
                    let ids = self.fresh_ids();
                    step.changes.push(insert(table, store.next_chunk_id(), &ids));
                    step.model.get_mut(&table).unwrap().extend(ids);
                }
            }
            4..6 => {
                let ids = self.fresh_ids();
                step.changes.push(bulk(&store, table, &ids)?);
                step.model.get_mut(&table).unwrap().extend(ids);
            }
            6..8 => self.delete(&store, table, &mut step),
            8 => {
                let version = step.versions.get_mut(&table).unwrap();
                *version += 1;
                step.changes.push(put_table(table, *version));
                if let Change::Put(object) = &mut step.changes[0] {
                    let mut def = two_columns();
                    def.given_options.insert("version".to_owned(), version.to_string());
                    Arc::make_mut(object).body = Body::Table(Arc::new(def));
                }
            }
            _ if self.model.len() > 1 => {
                step.changes.push(Change::Remove(table));
                step.model.remove(&table);
            }
            _ => {}
        }
        Ok(step)
    }

    /// Rewrites one chunk or file without its first row, or drops all of them (TRUNCATE).
    fn delete(&mut self, store: &Store, table: Oid, step: &mut Step) {
        let state = Arc::clone(store.snapshot().table(table).unwrap());
        let mut write = Write { table, data_change: true, ..Write::default() };
        let dir = store.table_dir(table);
        let units = state.chunks.len() + state.files.files.len();
        if units == 0 {
            return;
        }
        if self.random.random_range(0..6) == 0 {
            write.remove_chunks = state.chunks.iter().flat_map(|chunk| chunk.ids.clone()).collect();
            write.remove_files = state.files.files.iter().map(|file| file.path.clone()).collect();
            step.model.insert(table, BTreeSet::new());
        } else {
            let unit = self.random.random_range(0..units);
            let ids = match state.chunks.get(unit) {
                Some(chunk) => {
                    write.remove_chunks.clone_from(&chunk.ids);
                    ids_of(&chunk.batch)
                }
                None => {
                    let file = &state.files.files[unit - state.chunks.len()];
                    write.remove_files = vec![file.path.clone()];
                    ids_in_file(&dir.join(&file.path))
                }
            };
            if let Change::Write(rest) = insert(table, store.next_chunk_id(), &ids[1..]) {
                write.add_chunks = rest.add_chunks;
            }
            step.model.get_mut(&table).unwrap().remove(&ids[0]);
        }
        step.changes.push(Change::Write(write));
    }

    /// Background work, whose failure changes nothing.
    fn background(&mut self) {
        let store = Arc::clone(self.bed.store());
        self.bed.now_us += self.random.random_range(-2..4) * SECOND;
        let now_us = self.bed.now_us;
        let _ = match (self.random.random_range(0..10), self.any_table()) {
            (0..5, Some(table)) => store.flush(table, now_us),
            (5..7, Some(table)) => store.compact(table, self.random.random_range(0..2) == 0, now_us),
            (7, _) => store.due(now_us).iter().try_for_each(|work| store.work(work, now_us)),
            _ => store.checkpoint(now_us),
        };
    }

    /// Works until the power fails; the transaction whose outcome is open then, if there is one.
    fn run_until_off(&mut self) -> Option<Step> {
        while !self.bed.files.is_off() {
            if self.random.random_range(0..3) == 0 {
                self.background();
                continue;
            }
            let Ok(step) = self.step() else { continue };
            match self.bed.commit(step.changes.clone()) {
                Ok(_) => (self.model, self.versions) = (step.model, step.versions),
                Err(Error::Poisoned(_)) => return Some(step),
                Err(error) => panic!("{error}"),
            }
        }
        None
    }

    fn found(&self) -> Model {
        let snapshot = self.bed.store().snapshot();
        let read = |table: Oid| {
            let ids = ids_in(&snapshot, self.bed.dir.path(), table);
            let set: BTreeSet<i64> = ids.iter().copied().collect();
            assert_eq!(set.len(), ids.len(), "a row of table {table} is there twice: {ids:?}");
            (table, set)
        };
        snapshot.tables.values().map(|table| read(table.oid)).collect()
    }
}

fn power_failures(seed: u64, rounds: u64, durability: Durability) {
    let mut world = World::new(seed, durability);
    for round in 0..rounds {
        let at = world.random.random_range(1..400);
        world.bed.files.power_off_after(at);
        let open_step = world.run_until_off();
        let place = format!("seed {seed} round {round}, power off at operation {at}");
        drop(world.bed.store.take());
        if durability == Durability::Fsync {
            world.bed.files.crash(seed * 1000 + round);
        }
        // Without the flag the process was killed, and what it wrote is there.
        world.bed.files = Arc::new(FaultyFiles::new(Arc::new(OsFiles)));
        world.bed.store = Some(world.bed.try_open().unwrap_or_else(|error| panic!("{place}: {error}")));
        let found = world.found();
        match open_step {
            Some(step) if found == step.model => world.model = step.model,
            _ => assert_eq!(found, world.model, "{place}"),
        }
        // A step that changes no rows may be there or not: its version is only known now.
        let snapshot = world.bed.store().snapshot();
        let version_of = |table: &Oid| snapshot.catalog.get(*table).map_or(0, |object| object.version);
        for (table, version) in &world.versions {
            assert!(
                version_of(table) >= *version || !world.model.contains_key(table),
                "{place}: a definition of table {table} is lost"
            );
        }
        world.versions = world.model.keys().map(|table| (*table, version_of(table))).collect();
    }
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_power_failures() {
    let seeds = std::env::var("TIDEMILL_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(25);
    for seed in 0..seeds {
        power_failures(seed, 5, Durability::Fsync);
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_without_fsync() {
    for seed in 1000..1010 {
        power_failures(seed, 5, Durability::Os);
    }
}
