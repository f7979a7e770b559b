//! An object that is written: it appears whole when it is finished, or not at all.

use std::sync::Arc;

use bytes::Bytes;
use object_store::buffered::BufWriter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::{READ_BYTES, file_error};
use super::{Kind, Place, failed, has_wildcard, invalid};
use crate::background;
use crate::error::SqlState;
use crate::{Error, Result};

/// Parts under way at once, of 10 MB each: what is written waits for them.
const PARTS_AHEAD: usize = 2;

/// An object under way. Dropped before it is finished, it takes its parts back.
pub(crate) struct Upload {
    /// `None`: it is finished.
    writer: Option<BufWriter>,
    url: String,
}

impl Place {
    /// Begins an object; the store hears of it with its first part.
    ///
    /// # Errors
    /// 22023 for what is no name of one, 0A000 for `https`.
    pub(crate) fn write(&self) -> Result<Upload> {
        if self.bucket.kind == Kind::Http {
            return Err(Error::unsupported("COPY TO http:// and https:// is not supported"));
        }
        if has_wildcard(self.key.as_bytes()) || self.key.ends_with('/') {
            return Err(invalid(format!("\"{}\" is not the name of one object", self.shown)));
        }
        let writer = BufWriter::new(Arc::clone(&self.bucket.store), self.path()?).with_max_concurrency(PARTS_AHEAD);
        Ok(Upload { writer: Some(writer), url: self.shown.clone() })
    }
}

impl Upload {
    /// Adds bytes; waits while parts before them are under way.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn put(&mut self, bytes: Bytes) -> Result<()> {
        let writer = self.writer.as_mut().ok_or_else(|| Error::internal("the object is finished"))?;
        writer.put(bytes).await.map_err(|error| failed(&self.url, "writing", &error))
    }

    /// All of a file of the server.
    ///
    /// # Errors
    /// Those of the store and of reading.
    pub(crate) async fn put_file(&mut self, path: &std::path::Path) -> Result<()> {
        let unreadable = |error: std::io::Error| file_error(&path.display().to_string(), "reading", &error);
        let mut file = tokio::fs::File::open(path).await.map_err(unreadable)?;
        loop {
            let mut buffer = bytes::BytesMut::with_capacity(READ_BYTES);
            if file.read_buf(&mut buffer).await.map_err(unreadable)? == 0 {
                return Ok(());
            }
            self.put(buffer.freeze()).await?;
        }
    }

    /// The object is complete.
    ///
    /// # Errors
    /// Those of the store: then there is no object.
    pub(crate) async fn finish(mut self) -> Result<()> {
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        let Err(error) = writer.shutdown().await else { return Ok(()) };
        Err(error.downcast::<object_store::Error>().map_or_else(
            |error| Error::new(SqlState::IO_ERROR, format!("could not write \"{}\": {error}", self.url)),
            |error| failed(&self.url, "writing", &error),
        ))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(mut writer) = self.writer.take() else { return };
        let url = std::mem::take(&mut self.url);
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        // The statement failed or was cancelled: the client need not wait.
        background::spawn("abort upload", async move {
            if let Err(error) = writer.abort().await {
                tracing::warn!(url, %error, "parts of an object that was not finished may be left in the store");
            }
        });
    }
}
