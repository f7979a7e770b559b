//! Files as Delta's `add` and `remove` actions, and back.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{RemovedFile, corrupt};
use crate::record::TableDef;
use crate::table::file::{ColumnStats, FileEntry};
use crate::table::value::{delta_json, raw_value};
use crate::{Lsn, Result};

/// The tag of an `add` action that holds what Delta has no place for.
const TAG: &str = "tidemill.file";

/// The tag's JSON: the rest of a [`FileEntry`].
#[derive(Serialize, Deserialize)]
struct Tag {
    lsn_min: Lsn,
    lsn_max: Lsn,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sorted_by: Vec<String>,
    level: u32,
    rows: u64,
    stats: BTreeMap<String, ColumnStats>,
}

pub(super) fn add(file: &FileEntry, def: &TableDef, data_change: bool) -> Value {
    add_with_stats(file, &delta_stats(file, def).to_string(), data_change)
}

/// As [`add`], with the statistics other readers use as they were.
pub(super) fn add_with_stats(file: &FileEntry, stats: &str, data_change: bool) -> Value {
    let tag = Tag {
        lsn_min: file.lsn_min,
        lsn_max: file.lsn_max,
        sorted_by: file.sorted_by.clone(),
        level: file.level,
        rows: file.rows,
        stats: file.stats.clone(),
    };
    let tag = serde_json::to_string(&tag).expect("strings and numbers are JSON");
    json!({"add": {
        "path": file.path,
        "partitionValues": file.partition_values,
        "size": file.bytes,
        "modificationTime": file.created_ms,
        "dataChange": data_change,
        "stats": stats,
        "tags": {TAG: tag},
    }})
}

pub(super) fn remove(file: &FileEntry, now_ms: i64, data_change: bool) -> Value {
    json!({"remove": {
        "path": file.path,
        "deletionTimestamp": now_ms,
        "dataChange": data_change,
        "extendedFileMetadata": true,
        "partitionValues": file.partition_values,
        "size": file.bytes,
    }})
}

/// Statistics as other readers expect them.
fn delta_stats(file: &FileEntry, def: &TableDef) -> Value {
    let (mut least, mut greatest, mut nulls) = (Map::new(), Map::new(), Map::new());
    for column in &def.columns {
        let name = &column.physical_name;
        let Some(stats) = file.stats.get(name) else { continue };
        let value = |text: &Option<String>| delta_json(&raw_value(text.as_ref()?, &column.data_type)?);
        if let Some(value) = value(&stats.min) {
            least.insert(name.clone(), value);
        }
        if let Some(value) = value(&stats.max) {
            greatest.insert(name.clone(), value);
        }
        nulls.insert(name.clone(), stats.nulls.into());
    }
    json!({"numRecords": file.rows, "minValues": least, "maxValues": greatest, "nullCount": nulls})
}

/// The file of an `add` action.
pub(super) fn file_of(add: &Value, log: &Path) -> Result<FileEntry> {
    let path = text(add, "path").ok_or_else(|| corrupt(log, "an add action without a path"))?;
    let wrong = |what: &str| corrupt(log, format!("file \"{path}\": {what}"));
    let tag = add.get("tags").and_then(|tags| tags.get(TAG)).and_then(Value::as_str);
    let tag = tag.ok_or_else(|| wrong("added by another program, which tables in use do not allow"))?;
    let tag: Tag = serde_json::from_str(tag).map_err(|error| wrong(&error.to_string()))?;
    let partition_values = match add.get("partitionValues") {
        Some(Value::Object(values)) => {
            values.iter().map(|(name, value)| (name.clone(), value.as_str().map(str::to_owned))).collect()
        }
        _ => BTreeMap::new(),
    };
    Ok(FileEntry {
        path: path.to_owned(),
        bytes: add.get("size").and_then(Value::as_u64).ok_or_else(|| wrong("no size"))?,
        rows: tag.rows,
        partition_values,
        stats: tag.stats,
        lsn_min: tag.lsn_min,
        lsn_max: tag.lsn_max,
        sorted_by: tag.sorted_by,
        level: tag.level,
        created_ms: add.get("modificationTime").and_then(Value::as_i64).unwrap_or_default(),
    })
}

/// The file of a `remove` action.
pub(super) fn removed_of(remove: &Value, log: &Path) -> Result<RemovedFile> {
    let path = text(remove, "path").ok_or_else(|| corrupt(log, "a remove action without a path"))?;
    Ok(RemovedFile {
        path: path.to_owned(),
        removed_ms: remove.get("deletionTimestamp").and_then(Value::as_i64).unwrap_or_default(),
        bytes: remove.get("size").and_then(Value::as_u64).unwrap_or_default(),
    })
}

/// A removed file as a checkpoint keeps it.
pub(super) fn tombstone(file: &RemovedFile) -> Value {
    json!({"remove": {
        "path": file.path,
        "deletionTimestamp": file.removed_ms,
        "dataChange": true,
        "size": file.bytes,
    }})
}

fn text<'a>(action: &'a Value, key: &str) -> Option<&'a str> {
    action.get(key).and_then(Value::as_str)
}
