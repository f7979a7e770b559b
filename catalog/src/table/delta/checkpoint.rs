//! Checkpoints: all actions that are in force at one version, as one Parquet file.

use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow_json::writer::LineDelimited;
use arrow_json::{ReaderBuilder, WriterBuilder};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use super::replay::Replay;
use super::{LOG_DIR, action, checkpoint_path, corrupt};
use crate::Result;
use crate::fault::FileLayer;

/// Actions turned into Arrow at once.
const BATCH_ROWS: usize = 4096;

/// Writes a checkpoint of the newest version, so that opening need not read the commits before it. Files removed before
/// `keep_removed_after_ms` are forgotten by it: their bytes must be gone. Returns its version; `None` without a log.
///
/// # Errors
/// `Corrupt`, `DiskFull`, `Io`.
pub fn checkpoint(files: &dyn FileLayer, dir: &Path, keep_removed_after_ms: i64) -> Result<Option<u64>> {
    let Some(mut replay) = Replay::whole(files, dir, true)? else { return Ok(None) };
    let stats = replay.stats.take().unwrap_or_default();
    let state = replay.finish();
    let log = dir.join(LOG_DIR);
    let mut actions = vec![json!({"protocol": state.protocol}), json!({"metaData": state.metadata})];
    actions.extend(state.txns.iter().map(|(app, version)| json!({"txn": {"appId": app, "version": version}})));
    let kept = state.removed.iter().filter(|file| file.removed_ms >= keep_removed_after_ms);
    actions.extend(kept.map(action::tombstone));
    for file in &state.files {
        let stats = stats.get(&file.path).map_or("{}", String::as_str);
        // In a checkpoint nothing is new.
        actions.push(action::add_with_stats(file, stats, false));
    }
    let path = checkpoint_path(&log, state.version);
    files.put(&path, &encode(&actions)?, false)?;
    let last = json!({"version": state.version, "size": actions.len()});
    files.put(&log.join("_last_checkpoint"), last.to_string().as_bytes(), false)?;
    Ok(Some(state.version))
}

fn encode(actions: &[Value]) -> Result<Vec<u8>> {
    let schema = schema();
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(vec![], Arc::clone(&schema), options)?;
    for part in actions.chunks(BATCH_ROWS) {
        let lines: String = part.iter().map(|action| format!("{action}\n")).collect();
        let reader = ReaderBuilder::new(Arc::clone(&schema)).with_batch_size(BATCH_ROWS);
        for batch in reader.build(BufReader::new(lines.as_bytes()))? {
            writer.write(&batch?)?;
        }
    }
    Ok(writer.into_inner()?)
}

/// The actions of a checkpoint.
pub(super) fn read(files: &dyn FileLayer, path: &Path) -> Result<Vec<Value>> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(files.read(path)?, options)
        .and_then(|builder| builder.with_batch_size(BATCH_ROWS).build())
        .map_err(|error| corrupt(path, error))?;
    let mut actions = vec![];
    for batch in reader {
        let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(vec![]);
        writer.write(&batch.map_err(|error| corrupt(path, error))?)?;
        writer.finish()?;
        for line in writer.into_inner().split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            actions.push(serde_json::from_slice(line).map_err(|error| corrupt(path, error))?);
        }
    }
    Ok(actions)
}

/// The schema of checkpoints, as the Delta protocol gives it, without what we never write.
fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let long = |name: &str| Field::new(name, DataType::Int64, true);
    let int = |name: &str| Field::new(name, DataType::Int32, true);
    let truth = |name: &str| Field::new(name, DataType::Boolean, true);
    let record = |name: &str, fields: Vec<Field>| Field::new(name, DataType::Struct(Fields::from(fields)), true);
    let texts =
        |name: &str| Field::new(name, DataType::List(Arc::new(Field::new("element", DataType::Utf8, true))), true);
    let map = |name: &str| {
        let entry = vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)];
        let entries = Field::new("key_value", DataType::Struct(Fields::from(entry)), false);
        Field::new(name, DataType::Map(Arc::new(entries), false), true)
    };
    Arc::new(Schema::new(vec![
        record("txn", vec![text("appId"), long("version"), long("lastUpdated")]),
        record(
            "add",
            vec![
                text("path"),
                map("partitionValues"),
                long("size"),
                long("modificationTime"),
                truth("dataChange"),
                text("stats"),
                map("tags"),
            ],
        ),
        record(
            "remove",
            vec![
                text("path"),
                long("deletionTimestamp"),
                truth("dataChange"),
                truth("extendedFileMetadata"),
                map("partitionValues"),
                long("size"),
            ],
        ),
        record(
            "metaData",
            vec![
                text("id"),
                text("name"),
                text("description"),
                record("format", vec![text("provider"), map("options")]),
                text("schemaString"),
                texts("partitionColumns"),
                map("configuration"),
                long("createdTime"),
            ],
        ),
        record(
            "protocol",
            vec![int("minReaderVersion"), int("minWriterVersion"), texts("readerFeatures"), texts("writerFeatures")],
        ),
    ]))
}
