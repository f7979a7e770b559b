//! The log: what goes in comes out, whatever happened to its last bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, RecordBatch, StringViewArray,
    Time64MicrosecondArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Int32Type, IntervalMonthDayNanoType};
use uuid::Uuid;

use super::record::{Payload, decode, encode};
use super::segment::{HEADER_BYTES, RECORD_HEADER_BYTES, Recovered, Recovery};
use super::{AppendError, Log};
use crate::fault::{Fault, FaultyFiles, FileLayer, OsFiles};
use crate::record::{Change, NewChunk, Write};
use crate::testing::{column, def, file, insert, put_table, remove_chunks};
use crate::{Error, Lsn, Result, hot};

fn every_type() -> Vec<(&'static str, ArrayRef)> {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
        Some(vec![Some(-3)]),
    ]);
    let texts = ["", "short", "a text of more than twelve bytes", "Zürich 東京"];
    let nested: ArrayRef = Arc::new(
        ListArray::try_new(
            Arc::new(arrow::datatypes::Field::new_list_field(DataType::Utf8View, true)),
            arrow::buffer::OffsetBuffer::from_lengths([2, 0, 1, 1]),
            Arc::new(StringViewArray::from_iter(texts.map(Some))),
            None,
        )
        .unwrap(),
    );
    vec![
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true)]))),
        ("int2", Arc::new(Int16Array::from(vec![Some(-1), None, Some(i16::MAX), Some(0)]))),
        ("int4", Arc::new(Int32Array::from(vec![1, 2, 3, i32::MIN]))),
        ("int8", Arc::new(Int64Array::from(vec![None::<i64>; 4]))),
        ("oid", Arc::new(UInt32Array::from(vec![0, 1, 2, u32::MAX]))),
        ("float4", Arc::new(Float32Array::from(vec![1.5, f32::NAN, -0.0, f32::INFINITY]))),
        ("float8", Arc::new(Float64Array::from(vec![Some(1.5), None, Some(f64::NAN), Some(f64::MIN)]))),
        (
            "numeric",
            Arc::new(
                Decimal128Array::from(vec![Some(10_i128.pow(37)), Some(-1), None, Some(0)])
                    .with_precision_and_scale(38, 10)
                    .unwrap(),
            ),
        ),
        ("text", Arc::new(StringViewArray::from_iter([Some(texts[2]), None, Some(texts[3]), Some(texts[0])]))),
        ("bytea", Arc::new(BinaryViewArray::from_iter([Some(&b"\x00\xff"[..]), Some(&[7; 70_000]), None, Some(b"")]))),
        ("date", Arc::new(Date32Array::from(vec![Some(0), Some(-719_162), None, Some(i32::MAX)]))),
        ("time", Arc::new(Time64MicrosecondArray::from(vec![0, 1, 86_399_999_999, 86_400_000_000]))),
        ("timestamp", Arc::new(TimestampMicrosecondArray::from(vec![Some(0), None, Some(i64::MAX), Some(i64::MIN)]))),
        ("timestamptz", Arc::new(TimestampMicrosecondArray::from(vec![1, 2, 3, 4]).with_timezone("UTC"))),
        (
            "interval",
            Arc::new(IntervalMonthDayNanoArray::from(vec![
                Some(IntervalMonthDayNanoType::make_value(-1, 2, -3)),
                None,
                Some(IntervalMonthDayNanoType::make_value(i32::MAX, i32::MIN, i64::MIN)),
                Some(IntervalMonthDayNanoType::make_value(0, 0, 0)),
            ])),
        ),
        ("list", Arc::new(list)),
        ("texts", nested),
    ]
}

fn write_of(columns: Vec<(&str, ArrayRef)>) -> Change {
    let defs = (1..).zip(&columns).map(|(id, (name, array))| column(id, name, array.data_type().clone())).collect();
    let def = def(defs);
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
    let chunk = Arc::new(NewChunk { id: 77, batch: batch.unwrap() });
    let chunk = hot::to_physical(&chunk, &def, &hot::physical_schema(&def)).unwrap();
    Change::Write(Write { table: 16_384, add_chunks: vec![chunk], data_change: true, ..Write::default() })
}

fn batch_of(change: &Change) -> &RecordBatch {
    match change {
        Change::Write(write) => &write.add_chunks[0].batch,
        other => panic!("not a write: {other:?}"),
    }
}

fn roundtrip(change: Change) -> Change {
    let payload = encode(std::slice::from_ref(&change)).unwrap();
    let mut changes = decode(&payload.bytes, &mut None).unwrap();
    assert_eq!(changes.len(), 1);
    changes.remove(0)
}

#[test]
fn every_type_comes_back() {
    let columns = every_type();
    let slices = |from: usize, length: usize| -> Vec<(&str, ArrayRef)> {
        columns.iter().map(|(name, array)| (*name, array.slice(from, length))).collect()
    };
    for (from, length) in [(0, 4), (0, 0), (1, 1), (2, 2), (1, 3), (3, 1)] {
        let change = write_of(slices(from, length));
        let back = roundtrip(change.clone());
        // Debug: NaN is not equal to itself.
        assert_eq!(format!("{:?}", batch_of(&back)), format!("{:?}", batch_of(&change)), "rows {from}+{length}");
    }
}

#[test]
fn a_shared_schema_is_used_only_where_it_fits() {
    let mut likely = None;
    for columns in [vec![0, 1, 8], vec![0, 1, 8], vec![0, 2, 8], vec![0, 1], vec![8, 1, 0]] {
        let all = every_type();
        let change = write_of(columns.iter().map(|column| all[*column].clone()).collect());
        let payload = encode(std::slice::from_ref(&change)).unwrap();
        let back = decode(&payload.bytes, &mut likely).unwrap();
        assert_eq!(batch_of(&back[0]).schema(), batch_of(&change).schema());
        assert_eq!(batch_of(&back[0]), batch_of(&change));
    }
}

#[test]
fn all_kinds_of_changes_come_back() {
    let changes = vec![
        put_table(16_400, 1),
        Change::Remove(16_399),
        Change::Write(Write {
            table: 16_384,
            add_files: vec![file("part=1/a.parquet", 3), file("b.parquet", 4)],
            remove_chunks: vec![1, u64::MAX],
            remove_files: vec!["c".to_owned(), "ü".to_owned()],
            data_change: false,
            ..Write::default()
        }),
        remove_chunks(16_384, &[]),
    ];
    let payload = encode(&changes).unwrap();
    let back = decode(&payload.bytes, &mut None).unwrap();
    assert_eq!(format!("{back:?}"), format!("{changes:?}"));
    // Bytes that are not ours are refused, not a panic.
    for length in 0..payload.bytes.len() {
        assert!(decode(&payload.bytes[..length], &mut None).is_err(), "cut at {length}");
    }
    for at in 0..payload.bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = payload.bytes.clone();
            bytes[at] ^= flip;
            let _ = decode(&bytes, &mut None);
        }
    }
}

#[test]
fn damaged_rows_are_refused_without_a_panic() {
    let payload = encode(&[write_of(every_type().into_iter().filter(|(name, _)| *name != "bytea").collect())]).unwrap();
    for at in 0..payload.bytes.len() {
        for flip in [0x01, 0x10, 0x80, 0xff] {
            let mut bytes = payload.bytes.clone();
            bytes[at] ^= flip;
            let _ = decode(&bytes, &mut None);
        }
    }
}

#[test]
fn one_row_is_cheap() {
    let time = || Arc::new(TimestampMicrosecondArray::from(vec![1]).with_timezone("UTC")) as ArrayRef;
    let float = || Arc::new(Float64Array::from(vec![1.0])) as ArrayRef;
    let text = || Arc::new(StringViewArray::from_iter_values(["host_123"])) as ArrayRef;
    let change = write_of(vec![
        ("ts", time()),
        ("hostname", text()),
        ("region", text()),
        ("usage_user", float()),
        ("usage_system", float()),
        ("usage_idle", float()),
        ("usage_nice", float()),
        ("usage_iowait", float()),
    ]);
    let bytes = encode(&[change]).unwrap().bytes.len();
    assert!(bytes < 250, "{bytes} bytes for a row of 8 columns");
}

struct TestLog {
    dir: tempfile::TempDir,
    epoch: Uuid,
}

impl TestLog {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), epoch: Uuid::new_v4() }
    }

    fn recover(&self, files: &dyn FileLayer, repair: bool) -> Result<(Recovered, Vec<(Lsn, usize)>)> {
        self.recover_from(files, repair, 0)
    }

    fn recover_from(&self, files: &dyn FileLayer, repair: bool, start: Lsn) -> Result<(Recovered, Vec<(Lsn, usize)>)> {
        let mut found = Vec::new();
        let recovery = Recovery { files, dir: self.dir.path(), epoch: self.epoch, start, repair };
        let recovered = recovery.run(&mut |lsn, payload| {
            found.push((lsn, decode(payload, &mut None)?.len()));
            Ok(())
        })?;
        Ok((recovered, found))
    }

    fn open(&self, files: &Arc<dyn FileLayer>, segment_bytes: u64) -> (Log, Vec<(Lsn, usize)>) {
        let (recovered, found) = self.recover(files.as_ref(), false).unwrap();
        let next = recovered.last_lsn + 1;
        let log = Log::open(Arc::clone(files), self.dir.path().into(), self.epoch, segment_bytes, recovered, next);
        (log.unwrap(), found)
    }

    /// A log of `groups`, each synced by itself.
    fn fill(&self, groups: &[usize], segment_bytes: u64) -> Vec<PathBuf> {
        let files: Arc<dyn FileLayer> = Arc::new(OsFiles);
        let (mut log, _) = self.open(&files, segment_bytes);
        for group in groups {
            append(&mut log, *group).unwrap();
        }
        files.list(self.dir.path()).unwrap().into_iter().map(|(path, _)| path).collect()
    }
}

fn some_payload() -> Payload {
    encode(&[insert(1, 1, &[1, 2, 3])].map(|change| match change {
        Change::Write(mut write) => {
            let def = crate::testing::two_columns();
            let schema = hot::physical_schema(&def);
            write.add_chunks[0] = hot::to_physical(&write.add_chunks[0], &def, &schema).unwrap();
            Change::Write(write)
        }
        other => other,
    }))
    .unwrap()
}

fn append(log: &mut Log, records: usize) -> Result<(), AppendError> {
    let payloads: Vec<_> = (0..records).map(|_| some_payload()).collect();
    log.append(&payloads.iter().collect::<Vec<_>>(), true)
}

fn lsns(found: &[(Lsn, usize)]) -> Vec<Lsn> {
    found.iter().map(|(lsn, _)| *lsn).collect()
}

/// Where each record of a segment ends.
fn record_ends(bytes: &[u8]) -> Vec<usize> {
    let mut ends = vec![HEADER_BYTES];
    while let Some(header) = bytes.get(ends[ends.len() - 1]..).filter(|rest| rest.len() >= RECORD_HEADER_BYTES) {
        let length = u32::from_le_bytes(header[..4].try_into().unwrap()) as usize;
        ends.push(ends[ends.len() - 1] + RECORD_HEADER_BYTES + length);
    }
    ends
}

#[test]
fn a_log_is_read_back_over_segments() {
    let log = TestLog::new();
    let segments = log.fill(&[1, 3, 1, 2, 5, 1], 500);
    assert!(segments.len() > 3, "{segments:?}");
    let (recovered, found) = log.recover(&OsFiles, false).unwrap();
    assert_eq!(lsns(&found), (1..=13).collect::<Vec<_>>());
    assert_eq!(recovered.last_lsn, 13);
    // Segments that are not needed are not even opened.
    std::fs::write(&segments[0], b"nonsense").unwrap();
    let second: Lsn = segments[1].file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let (_, found) = log.recover_from(&OsFiles, false, second).unwrap();
    assert_eq!(lsns(&found), (second + 1..=13).collect::<Vec<_>>());
    assert!(matches!(log.recover(&OsFiles, false), Err(Error::Corrupt { .. })));
}

#[test]
fn a_large_payload_has_the_same_checksum() {
    let log = TestLog::new();
    let files: Arc<dyn FileLayer> = Arc::new(OsFiles);
    let (mut writer, _) = log.open(&files, 1 << 30);
    let large = write_of(vec![("bytes", Arc::new(BinaryViewArray::from_iter_values([vec![9; 1 << 20]])) as ArrayRef)]);
    let payloads = [encode(&[large]).unwrap(), some_payload()];
    assert!(payloads[0].checksum.is_some() && payloads[1].checksum.is_none());
    writer.append(&[&payloads[0], &payloads[1], &payloads[0]], true).unwrap();
    assert_eq!(lsns(&log.recover(&OsFiles, false).unwrap().1), [1, 2, 3]);
}

#[test]
fn a_tail_torn_at_any_byte_is_cut() {
    let log = TestLog::new();
    let segment = log.fill(&[2, 1, 1], 1 << 20).remove(0);
    let whole = std::fs::read(&segment).unwrap();
    let ends = record_ends(&whole);
    for length in ends[3]..whole.len() {
        for hole in [false, true] {
            let mut torn = whole[..length].to_vec();
            if hole {
                torn.resize(whole.len(), 0);
            }
            if torn == whole {
                continue;
            }
            std::fs::write(&segment, &torn).unwrap();
            let (recovered, found) = log.recover(&OsFiles, false).unwrap();
            assert_eq!((recovered.last_lsn, found.len()), (3, 3), "cut at {length}, hole {hole}");
            assert_eq!(std::fs::metadata(&segment).unwrap().len(), ends[3] as u64);
        }
    }
}

/// Killed in the middle of a large record, the server did not start again for minutes: the search for later records took a
/// checksum over megabytes wherever the rows looked like a length and an LSN.
#[test]
fn a_torn_record_full_of_small_numbers_is_cut_at_once() {
    let log = TestLog::new();
    let files: Arc<dyn FileLayer> = Arc::new(OsFiles);
    let (mut writer, _) = log.open(&files, 1 << 30);
    let numbers = Int64Array::from_iter_values((0..1 << 20).map(|n| 2 + n % 1000));
    let large = encode(&[write_of(vec![("n", Arc::new(numbers) as ArrayRef)])]).unwrap();
    writer.append(&[&some_payload(), &large], true).unwrap();
    let segment = files.list(log.dir.path()).unwrap().remove(0).0;
    let mut torn = std::fs::read(&segment).unwrap();
    // Bytes as a codec less compact than ours would write them, or a text column that holds them.
    let end = record_ends(&torn)[1];
    torn.truncate(end + RECORD_HEADER_BYTES);
    torn.extend((0..1_u64 << 20).flat_map(|n| (2 + n % 1000).to_le_bytes()));
    std::fs::write(&segment, &torn).unwrap();
    let (recovered, _) = log.recover(&OsFiles, false).unwrap();
    assert_eq!(recovered.last_lsn, 1);
    assert_eq!(std::fs::metadata(&segment).unwrap().len(), end as u64);
}

#[test]
fn a_group_torn_in_any_order_is_cut() {
    // Four records written at once: the power fails with the later pages on disk, an earlier one not.
    let log = TestLog::new();
    let segment = log.fill(&[2, 4], 1 << 20).remove(0);
    let whole = std::fs::read(&segment).unwrap();
    let ends = record_ends(&whole);
    for record in 2..6 {
        let mut torn = whole.clone();
        torn[ends[record] + 30] ^= 1;
        std::fs::write(&segment, &torn).unwrap();
        let (recovered, _) = log.recover(&OsFiles, false).unwrap();
        assert_eq!(recovered.last_lsn, record as u64, "none of the group was acknowledged");
    }
}

#[test]
fn damage_is_reported_and_repaired_only_when_asked() {
    let log = TestLog::new();
    let segment = log.fill(&[1, 1, 1, 1], 1 << 20).remove(0);
    let whole = std::fs::read(&segment).unwrap();
    let ends = record_ends(&whole);
    for at in [ends[1], ends[1] + 5, ends[1] + 9, ends[1] + 17, ends[1] + 25, ends[2] - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&segment, &damaged).unwrap();
        let error = log.recover(&OsFiles, false).unwrap_err().to_string();
        assert!(error.contains(&segment.display().to_string()), "{error}");
        assert!(error.contains(&format!("at offset {}", ends[1])) && error.contains("--repair-wal"), "{error}");
        assert_eq!(std::fs::read(&segment).unwrap(), damaged, "nothing is touched without the flag");
        let (recovered, found) = log.recover(&OsFiles, true).unwrap();
        assert_eq!((recovered.last_lsn, lsns(&found)), (1, vec![1]));
        let aside = segment.with_extension(format!("damaged-{}", ends[1]));
        assert_eq!(std::fs::read(aside).unwrap(), damaged[ends[1]..], "the damaged part is kept");
    }
}

#[test]
fn damage_in_an_earlier_segment_is_never_a_torn_tail() {
    let log = TestLog::new();
    let segments = log.fill(&[1; 12], 500);
    assert!(segments.len() >= 4);
    let whole = std::fs::read(&segments[1]).unwrap();
    for damaged in [whole[..whole.len() - 1].to_vec(), whole[..HEADER_BYTES - 1].to_vec(), b"x".repeat(whole.len())] {
        std::fs::write(&segments[1], &damaged).unwrap();
        let error = log.recover(&OsFiles, false).unwrap_err().to_string();
        assert!(error.contains(&segments[1].display().to_string()), "{error}");
    }
    std::fs::remove_file(&segments[1]).unwrap();
    let error = log.recover(&OsFiles, false).unwrap_err().to_string();
    assert!(error.contains(&segments[2].display().to_string()) && error.contains("it continues"), "{error}");
    let (recovered, found) = log.recover(&OsFiles, true).unwrap();
    assert_eq!(recovered.last_lsn, found.len() as u64);
    assert_eq!(recovered.segments.len(), 1);
    // And the log goes on after the repair.
    assert_eq!(log.open(&(Arc::new(OsFiles) as Arc<dyn FileLayer>), 500).1.len(), found.len());
}

#[test]
fn a_log_of_another_directory_is_refused() {
    let log = TestLog::new();
    log.fill(&[1], 500);
    let other = TestLog { epoch: Uuid::new_v4(), ..log };
    let error = other.recover(&OsFiles, false).unwrap_err().to_string();
    assert!(error.contains("another data directory"), "{error}");
}

#[test]
fn a_full_disk_leaves_the_log_as_it_was() {
    for kept in [0, 1, 19, 20, 60] {
        let log = TestLog::new();
        let faulty = Arc::new(FaultyFiles::new(Arc::new(OsFiles)));
        let files: Arc<dyn FileLayer> = Arc::clone(&faulty) as _;
        let (mut writer, _) = log.open(&files, 1 << 20);
        append(&mut writer, 2).unwrap();
        faulty.fail_write(0, Fault::Tear(kept));
        assert!(matches!(append(&mut writer, 1), Err(AppendError::Full(_))));
        append(&mut writer, 1).unwrap();
        assert_eq!(lsns(&log.recover(&OsFiles, false).unwrap().1), [1, 2, 3]);
    }
}

#[test]
fn a_full_disk_at_rotation_is_no_harm() {
    let log = TestLog::new();
    let faulty = Arc::new(FaultyFiles::new(Arc::new(OsFiles)));
    let files: Arc<dyn FileLayer> = Arc::clone(&faulty) as _;
    let (mut writer, _) = log.open(&files, 1);
    append(&mut writer, 1).unwrap();
    faulty.set_full(true);
    for _ in 0..3 {
        assert!(matches!(append(&mut writer, 1), Err(AppendError::Full(_))));
    }
    faulty.set_full(false);
    append(&mut writer, 1).unwrap();
    assert_eq!(lsns(&log.recover(&OsFiles, false).unwrap().1), [1, 2]);
}

#[test]
fn a_failed_fsync_breaks_the_log() {
    let log = TestLog::new();
    let faulty = Arc::new(FaultyFiles::new(Arc::new(OsFiles)));
    let files: Arc<dyn FileLayer> = Arc::clone(&faulty) as _;
    let (mut writer, _) = log.open(&files, 1 << 20);
    append(&mut writer, 1).unwrap();
    for fault in [Fault::Io, Fault::DiskFull] {
        faulty.fail_sync(0, fault);
        assert!(matches!(append(&mut writer, 1), Err(AppendError::Broken(_))));
    }
}

#[test]
fn a_power_failure_at_any_step_loses_nothing_synced() {
    for seed in 0..60 {
        for at in 1..25 {
            let log = TestLog::new();
            let faulty = Arc::new(FaultyFiles::new(Arc::new(OsFiles)));
            let files: Arc<dyn FileLayer> = Arc::clone(&faulty) as _;
            faulty.power_off_after(at);
            let (acknowledged, written) = run_until_off(&log, &files);
            faulty.crash(seed);
            let (recovered, found) =
                log.recover(&OsFiles, false).unwrap_or_else(|error| panic!("seed {seed} at {at}: {error}"));
            assert!(recovered.last_lsn >= acknowledged, "seed {seed} at {at}: {acknowledged} > {}", recovered.last_lsn);
            assert!(recovered.last_lsn <= written, "seed {seed} at {at}");
            assert_eq!(found.len() as u64, recovered.last_lsn);
        }
    }
}

/// The last LSN acknowledged, and the last one tried.
fn run_until_off(log: &TestLog, files: &Arc<dyn FileLayer>) -> (Lsn, Lsn) {
    let Ok((recovered, _)) = log.recover(files.as_ref(), false) else { return (0, 0) };
    let dir: &Path = log.dir.path();
    let Ok(mut writer) = Log::open(Arc::clone(files), dir.into(), log.epoch, 600, recovered, 1) else { return (0, 0) };
    let mut acknowledged = 0;
    for records in [1, 2, 3].into_iter().cycle() {
        if append(&mut writer, records).is_err() {
            return (acknowledged, acknowledged + records as u64);
        }
        acknowledged += records as u64;
    }
    unreachable!("the power fails")
}
