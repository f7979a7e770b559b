//! Dropped rows are gone, all others stay.

use rand::Rng;

use super::*;
use crate::table::testing::{Folder, def_of, random_batch, rng, text_rows};
use crate::table::writer::WriteOptions;
use arrow::datatypes::DataType;

#[test]
fn remaining_rows_are_all_but_the_dropped() {
    let mut rng = rng();
    let folder = Folder::new();
    let def = Arc::new(def_of(&[("id", DataType::Int64), ("t", DataType::Utf8View)]));
    for rows in [1, 20_000, 40_000] {
        let batch = random_batch(&mut rng, &def, rows);
        let entry = folder.write(&def, std::slice::from_ref(&batch), WriteOptions::default()).remove(0);
        let all = text_rows(&[batch]);
        for share in [0.0, 0.001, 0.5, 1.0] {
            let drop: Vec<u64> = (0..rows as u64).filter(|_| rng.random_bool(share)).collect();
            let unit = Unit::File(Arc::clone(&entry));
            let batches = read_unit(&folder.files, &folder.dir, &def, &unit).unwrap();
            let left: Vec<_> = remaining_rows(batches, drop.clone()).map(Result::unwrap).collect();
            let expected: Vec<_> = (0_u64..)
                .zip(&all)
                .filter(|(row, _)| drop.binary_search(row).is_err())
                .map(|(_, text)| text.clone())
                .collect();
            assert_eq!(text_rows(&left), expected);
        }
    }
}
