//! A transaction's changes to bytes and back.
//!
//! ```text
//! payload  format u8 | number of changes | change…
//! change   1 put     object as JSON
//!          2 remove  oid
//!          3 write   table | flags u8 (1: data change) | chunks: id, batch | files to add as JSON
//!                    | chunk ids to remove | file paths to remove
//!          4 sequence oid | mark as JSON
//! ```

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::codec::{self, Reader, put_bytes, put_number};
use crate::record::{Change, NewChunk, Object, Write};
use crate::table::file::FileEntry;
use crate::{Error, Result};

/// The payload's format.
const FORMAT: u8 = 1;
const PUT: u8 = 1;
const REMOVE: u8 = 2;
const WRITE: u8 = 3;
const SEQUENCE: u8 = 4;
const DATA_CHANGE: u8 = 1;

/// The greatest transaction that the log takes: its length is 32 bits, and recovery holds it in memory.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 2 << 30;
/// Checksums of payloads this long are made by the thread that encodes them.
const CHECKSUM_EARLY: usize = 64 << 10;

/// An encoded transaction.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) bytes: Vec<u8>,
    /// Of the bytes alone, if they are many.
    pub(crate) checksum: Option<u32>,
}

/// Encodes a transaction; its chunks must be as `hot::to_physical` makes them.
///
/// # Errors
/// `OutOfResources` if it is too large for one record.
pub(crate) fn encode(changes: &[Change]) -> Result<Payload> {
    let rows: usize = changes.iter().map(size_hint).sum();
    let mut out = Vec::with_capacity(64 + rows);
    out.push(FORMAT);
    put_number(
        &mut out,
        changes.iter().filter(|change| !matches!(change, Change::Expect(..) | Change::ExpectUsers(..))).count() as u64,
    );
    for change in changes {
        match change {
            Change::Put(object) => {
                out.push(PUT);
                put_json(&mut out, object.as_ref())?;
            }
            Change::Remove(oid) => {
                out.push(REMOVE);
                put_number(&mut out, u64::from(*oid));
            }
            Change::Write(write) => {
                out.push(WRITE);
                put_write(&mut out, write)?;
            }
            Change::Sequence(oid, mark) => {
                out.push(SEQUENCE);
                put_number(&mut out, u64::from(*oid));
                put_json(&mut out, mark)?;
            }
            Change::Expect(..) | Change::ExpectUsers(..) => {}
        }
    }
    if out.len() > PAYLOAD_BYTES_MAX {
        return Err(Error::OutOfResources(format!(
            "the transaction has {} bytes of rows, and the log takes at most {PAYLOAD_BYTES_MAX} at once",
            out.len()
        )));
    }
    let checksum = (out.len() >= CHECKSUM_EARLY).then(|| crc32c::crc32c(&out));
    Ok(Payload { bytes: out, checksum })
}

fn size_hint(change: &Change) -> usize {
    let Change::Write(write) = change else { return 256 };
    write.add_chunks.iter().map(|chunk| chunk.batch.get_array_memory_size() + 64).sum()
}

fn put_json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<()> {
    let json = serde_json::to_vec(value).map_err(|error| Error::Invalid(error.to_string()))?;
    put_bytes(out, &json);
    Ok(())
}

fn put_write(out: &mut Vec<u8>, write: &Write) -> Result<()> {
    put_number(out, u64::from(write.table));
    out.push(if write.data_change { DATA_CHANGE } else { 0 });
    put_number(out, write.add_chunks.len() as u64);
    for chunk in &write.add_chunks {
        put_number(out, chunk.id);
        codec::put_batch(out, &chunk.batch)?;
    }
    if write.add_files.is_empty() {
        put_number(out, 0);
    } else {
        put_json(out, &write.add_files)?;
    }
    put_number(out, write.remove_chunks.len() as u64);
    for id in &write.remove_chunks {
        put_number(out, *id);
    }
    put_number(out, write.remove_files.len() as u64);
    for path in &write.remove_files {
        put_bytes(out, path.as_bytes());
    }
    Ok(())
}

/// Reads a transaction back. `likely`: the last batch's schema, shared if it is the same.
///
/// # Errors
/// `Invalid` for a format of a newer version, or bytes that are no transaction.
pub(crate) fn decode(bytes: &[u8], likely: &mut Option<SchemaRef>) -> Result<Vec<Change>> {
    let mut reader = Reader::new(bytes);
    let format = reader.byte()?;
    if format != FORMAT {
        return Err(Error::Invalid(format!("log record: format {format} is of a newer version")));
    }
    let count = reader.length()?;
    let mut changes = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        changes.push(match reader.byte()? {
            PUT => Change::Put(Arc::new(json::<Object>(reader.bytes()?)?)),
            REMOVE => Change::Remove(reader.oid()?),
            WRITE => Change::Write(write(&mut reader, likely)?),
            SEQUENCE => Change::Sequence(reader.oid()?, json(reader.bytes()?)?),
            other => return Err(Error::Invalid(format!("log record: unknown change {other}"))),
        });
    }
    if !reader.is_empty() {
        return Err(Error::Invalid("log record: bytes after its end".to_owned()));
    }
    Ok(changes)
}

fn json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::Invalid(format!("log record: {error}")))
}

fn write(reader: &mut Reader<'_>, likely: &mut Option<SchemaRef>) -> Result<Write> {
    let table = reader.oid()?;
    let data_change = reader.byte()? & DATA_CHANGE != 0;
    let mut add_chunks = Vec::new();
    for _ in 0..reader.length()? {
        let id = reader.number()?;
        add_chunks.push(Arc::new(NewChunk { id, batch: codec::batch(reader, likely)? }));
    }
    let files = reader.bytes()?;
    let add_files = if files.is_empty() { Vec::new() } else { json::<Vec<Arc<FileEntry>>>(files)? };
    let remove_chunks = (0..reader.length()?).map(|_| reader.number()).collect::<Result<_>>()?;
    let remove_files = (0..reader.length()?).map(|_| reader.text().map(str::to_owned)).collect::<Result<_>>()?;
    Ok(Write { table, add_chunks, add_files, remove_chunks, remove_files, data_change, ..Write::default() })
}
