//! `catalog.json`: the objects at one LSN, so that the log need not be kept from the beginning.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::fault::{self, FileLayer};
use crate::record::Object;
use crate::sequence::Mark;
use crate::{Error, Lsn, Oid, Result};

const FORMAT: u32 = 1;

/// The file: its body with a checksum around it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    format: u32,
    crc32c: u32,
    catalog: Box<RawValue>,
}

/// What the file says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CatalogFile {
    /// The last transaction whose objects are in here.
    pub(super) lsn: Lsn,
    pub(super) next_oid: Oid,
    pub(super) next_chunk_id: u64,
    /// Identifies the log.
    pub(super) epoch: String,
    pub(super) objects: Vec<Arc<Object>>,
    /// What recovery must know of each table.
    pub(super) tables: BTreeMap<Oid, TableMark>,
    /// How far sequences may have come.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) sequences: BTreeMap<Oid, Mark>,
}

/// What recovery must know of a table.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TableMark {
    /// When its definition last changed.
    pub(super) def_lsn: Lsn,
    /// The rows of the log up to here are in its Delta log, or gone.
    pub(super) replay_from: Lsn,
}

fn path(dir: &Path) -> PathBuf {
    dir.join("catalog.json")
}

/// Reads the file; `None` in a fresh directory.
///
/// # Errors
/// `Corrupt`, `Io`.
pub(super) fn read(files: &dyn FileLayer, dir: &Path) -> Result<Option<CatalogFile>> {
    let path = path(dir);
    let bytes = match files.read(&path) {
        Ok(bytes) => bytes,
        Err(error) if fault::is_missing(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let corrupt = |detail: String| Error::Corrupt { path: path.display().to_string(), detail };
    let envelope: Envelope = serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?;
    if envelope.format != FORMAT {
        return Err(corrupt(format!("format {} is of another version", envelope.format)));
    }
    if crc32c::crc32c(envelope.catalog.get().as_bytes()) != envelope.crc32c {
        return Err(corrupt("its checksum is wrong".to_owned()));
    }
    serde_json::from_str(envelope.catalog.get()).map(Some).map_err(|error| corrupt(error.to_string()))
}

/// Replaces the file, durably and atomically.
///
/// # Errors
/// `DiskFull`, `Io`.
pub(super) fn write(files: &dyn FileLayer, dir: &Path, catalog: &CatalogFile) -> Result<()> {
    let invalid = |error: serde_json::Error| Error::Invalid(format!("catalog.json: {error}"));
    let catalog = serde_json::value::to_raw_value(catalog).map_err(invalid)?;
    let envelope = Envelope { format: FORMAT, crc32c: crc32c::crc32c(catalog.get().as_bytes()), catalog };
    files.put(&path(dir), &serde_json::to_vec(&envelope).map_err(invalid)?, false)
}
