//! The budget holds, one pass leaves no trace, what is read often stays.

use std::path::PathBuf;

use arrow::array::Int64Array;

use super::*;

fn key(file: usize) -> ChunkKey {
    ChunkKey { file: PathBuf::from(format!("f{file}")).into(), row_group: 0, column: 0 }
}

fn column() -> Arc<CachedColumn> {
    Arc::new(CachedColumn::new(vec![Arc::new(Int64Array::from_iter_values(0..1000))]))
}

/// Reads a chunk as a scan does; true if it was cached.
fn read(cache: &ColumnCache, file: usize) -> bool {
    match cache.get(&key(file)) {
        Lookup::Hit(_) => true,
        Lookup::Miss { admit } => {
            if admit {
                cache.insert(key(file), column());
            }
            assert!(cache.status().bytes <= cache.status().budget);
            false
        }
    }
}

#[test]
fn a_chunk_is_admitted_at_its_second_read() {
    let cache = ColumnCache::new(1 << 20);
    assert_eq!([read(&cache, 1), read(&cache, 1), read(&cache, 1)], [false, false, true]);
    let status = cache.status();
    assert_eq!((status.entries, status.hits, status.misses), (1, 1, 2));
    assert_eq!(status.bytes, column().bytes);
}

#[test]
fn one_pass_over_many_files_changes_nothing() {
    let cache = ColumnCache::new(10 * column().bytes);
    for _ in 0..3 {
        for file in 0..10 {
            read(&cache, file);
        }
    }
    for file in 100..100_000 {
        assert!(!read(&cache, file));
    }
    assert!((0..10).all(|file| read(&cache, file)));
}

#[test]
fn passes_over_more_than_fits_keep_a_part() {
    let cache = ColumnCache::new(10 * column().bytes);
    let mut hits = 0;
    for _ in 0..20 {
        hits += (0..30).filter(|&file| read(&cache, file)).count();
    }
    assert!(hits > 150, "{hits} hits");
}

#[test]
fn what_is_no_longer_read_goes() {
    let cache = ColumnCache::new(10 * column().bytes);
    for _ in 0..200 {
        (0..10).for_each(|file| _ = read(&cache, file));
    }
    for _ in 0..3 {
        (50..60).for_each(|file| _ = read(&cache, file));
    }
    assert!((50..60).all(|file| read(&cache, file)));
}

#[test]
fn nothing_is_kept_without_a_budget() {
    let cache = ColumnCache::new(0);
    assert!((0..5).all(|_| !read(&cache, 1)));
}

#[test]
fn shared_buffers_count_once() {
    let array = Int64Array::from_iter_values(0..8192);
    let halves: Vec<ArrayRef> = vec![Arc::new(array.slice(0, 4096)), Arc::new(array.slice(4096, 4096))];
    assert!(CachedColumn::new(halves).bytes < 8192 * 8 + 1024);
}
