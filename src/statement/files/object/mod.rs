//! Files of object stores, by URL: `s3://bucket/dir/*.ndjson`, `gs://…`, `az://…`, `abfss://…`, `https://host/file.csv`.
//!
//! ```text
//! URL + settings ─▶ Place ─ find │ list ─▶ Object ─▶ chunks (unpacked) │ download (Parquet)
//!                        └─ write ─▶ Upload
//! ```
//! Credentials come from the server's environment, as each store's own tools name them, and from the statement, which wins.
//! Requests that fail for a passing reason are repeated by `object_store`, a bounded number of times.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig};

use super::has_wildcard;
use crate::clock::Timestamp;
use crate::error::SqlState;
use crate::{Error, Result};

/// Errors of stores.
mod failure;

/// Names with wildcards.
mod pattern;

/// Objects to bytes.
mod read;

/// Bytes to an object.
mod write;

pub(crate) use read::Download;
pub(crate) use write::Upload;

use failure::failed;
use pattern::Pattern;

/// What the statement says about the store: names as in the environment, lower case.
pub(crate) type Settings = BTreeMap<String, String>;

/// Objects that a listing may have, those that do not match included: each takes some hundred bytes while it is looked at.
const LISTED_MAX: usize = 1_000_000;
/// Objects of one statement, as files.
const FOUND_MAX: usize = 100_000;
/// How often a request is repeated, and for how long after its first failure: a store that throttles gets over it in seconds, and
/// a client should hear of one that is away within a minute.
const RETRIES_MAX: usize = 7;
/// See `RETRIES_MAX`.
const RETRY_TIME: Duration = Duration::from_secs(45);

/// Who keeps the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    S3,
    Google,
    Azure,
    Http,
}

impl Kind {
    fn of(scheme: &str) -> Option<Self> {
        Some(match scheme.to_ascii_lowercase().as_str() {
            "s3" | "s3a" => Self::S3,
            "gs" => Self::Google,
            "az" | "azure" | "adl" | "abfs" | "abfss" => Self::Azure,
            "http" | "https" => Self::Http,
            _ => return None,
        })
    }

    /// What names of its settings begin with.
    fn prefix(self) -> Option<&'static str> {
        match self {
            Self::S3 => Some("aws_"),
            Self::Google => Some("google_"),
            Self::Azure => Some("azure_"),
            Self::Http => None,
        }
    }
}

/// True for what names objects, not files of the server.
pub(crate) fn is_url(location: &str) -> bool {
    location.split_once("://").is_some_and(|(scheme, _)| Kind::of(scheme).is_some())
}

/// True for the name of a setting of the store that the URL is of.
pub(crate) fn is_setting(url: &str, name: &str) -> bool {
    let kind = url.split_once("://").and_then(|(scheme, _)| Kind::of(scheme));
    kind.and_then(Kind::prefix).is_some_and(|prefix| name.starts_with(prefix))
}

/// A URL as others may see it: what is behind the question mark of `https` is a signature as often as not.
pub(crate) fn shown_url(url: &str) -> &str {
    match url.split_once("://").and_then(|(scheme, _)| Kind::of(scheme)) {
        Some(Kind::Http) => url.split_once('?').map_or(url, |(url, _)| url),
        _ => url,
    }
}

/// A URL taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Parts<'u> {
    kind: Kind,
    scheme: &'u str,
    /// Bucket, container or host.
    authority: &'u str,
    /// The object's name, as it is; of `http` as URLs spell it.
    key: &'u str,
    /// Of `http`: behind the question mark.
    query: Option<&'u str>,
}

fn invalid(message: String) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

impl<'u> Parts<'u> {
    fn of(url: &'u str) -> Result<Self> {
        let shown = shown_url(url);
        let refused = || invalid(format!("\"{shown}\" is not a URL of an object store"));
        let (scheme, rest) = url.split_once("://").ok_or_else(refused)?;
        let kind = Kind::of(scheme).ok_or_else(refused)?;
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) if kind == Kind::Http => (rest, Some(query)),
            _ => (rest, None),
        };
        let (authority, key) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() || authority.contains(char::is_whitespace) {
            let what = if kind == Kind::Http { "host" } else { "bucket" };
            return Err(invalid(format!("URL \"{shown}\" has no {what}")));
        }
        if kind == Kind::Http && has_wildcard(key.as_bytes()) {
            return Err(Error::unsupported(
                "files at http:// and https:// cannot be listed: wildcards are not possible",
            ));
        }
        Ok(Self { kind, scheme, authority, key, query })
    }
}

/// One store and bucket.
struct Bucket {
    store: Arc<dyn ObjectStore>,
    kind: Kind,
    /// `s3://bucket/`
    base: String,
}

/// A place in a bucket: an object, a folder, or a pattern.
pub(crate) struct Place {
    bucket: Arc<Bucket>,
    key: String,
    /// As others may see it.
    shown: String,
}

/// An object as it was found.
#[derive(Clone)]
pub(crate) struct Object {
    bucket: Arc<Bucket>,
    path: Path,
    /// As others may see it.
    pub(crate) url: String,
    /// `None`: it is told when it is read.
    pub(crate) bytes: Option<u64>,
    /// When it was written, microseconds since 1970.
    pub(crate) modified: Timestamp,
    /// Another for other contents.
    pub(crate) etag: Option<String>,
}

impl Object {
    fn of(bucket: &Arc<Bucket>, meta: ObjectMeta) -> Self {
        Self {
            url: format!("{}{}", bucket.base, meta.location),
            bucket: Arc::clone(bucket),
            path: meta.location,
            bytes: Some(meta.size),
            modified: meta.last_modified.timestamp_micros(),
            etag: meta.e_tag,
        }
    }
}

impl Place {
    /// Opens the store; nothing is asked of it yet.
    ///
    /// # Errors
    /// 22023 for a URL or a setting that is none, 0A000 for wildcards in `https`.
    pub(crate) fn of(url: &str, settings: &Settings) -> Result<Self> {
        let parts = Parts::of(url)?;
        let base = format!("{}://{}/", parts.scheme.to_ascii_lowercase(), parts.authority);
        let store = open(&parts, &base, settings)?;
        let bucket = Arc::new(Bucket { store, kind: parts.kind, base });
        Ok(Self { bucket, key: parts.key.to_owned(), shown: shown_url(url).to_owned() })
    }

    /// URLs of all its objects begin with it; what is behind are folders and names that the pattern leaves open.
    pub(crate) fn folder(&self) -> String {
        let prefix = Pattern::new(&self.key).prefix();
        if prefix.is_empty() { self.bucket.base.clone() } else { format!("{}{prefix}/", self.bucket.base) }
    }

    /// # Errors
    /// 0A000 for a store that does not say what it has.
    pub(crate) fn require_listing(&self) -> Result<()> {
        if self.bucket.kind == Kind::Http {
            return Err(Error::unsupported("files at http:// and https:// cannot be listed"));
        }
        Ok(())
    }

    fn path(&self) -> Result<Path> {
        let path = match self.bucket.kind {
            Kind::Http => Path::from_url_path(&self.key),
            _ => Path::parse(&self.key),
        };
        let path =
            path.map_err(|error| invalid(format!("\"{}\" names no object", self.shown)).detail(error.to_string()))?;
        if path.as_ref().is_empty() && self.bucket.kind != Kind::Http {
            return Err(invalid(format!("\"{}\" names no object", self.shown)));
        }
        Ok(path)
    }

    /// The objects the place stands for, in the order of their names; at least one.
    ///
    /// # Errors
    /// 58P01 if there is none, 42501, 08006 and the like of the store, 54000 for too many.
    pub(crate) async fn find(&self) -> Result<Vec<Object>> {
        if has_wildcard(self.key.as_bytes()) {
            let found = self.list(FOUND_MAX).await?;
            if found.is_empty() {
                let message = format!("no object matches \"{}\"", self.shown);
                return Err(Error::new(SqlState::UNDEFINED_FILE, message));
            }
            return Ok(found);
        }
        let path = self.path()?;
        if self.bucket.kind == Kind::Http {
            // Not all servers answer about a file without sending it.
            let (bucket, url) = (Arc::clone(&self.bucket), self.shown.clone());
            return Ok(vec![Object { bucket, path, url, bytes: None, modified: 0, etag: None }]);
        }
        let meta = self.bucket.store.head(&path).await.map_err(|error| failed(&self.shown, "reading", &error))?;
        let object = Object::of(&self.bucket, meta);
        Ok(vec![object])
    }

    /// The objects that match a pattern, or are anywhere below a folder, in the order of their names.
    ///
    /// # Errors
    /// 42501, 08006 and the like of the store, 54000 for more than `most`.
    pub(crate) async fn list(&self, most: usize) -> Result<Vec<Object>> {
        self.require_listing()?;
        let pattern = Pattern::new(&self.key);
        let prefix = Path::parse(pattern.prefix())
            .map_err(|error| invalid(format!("\"{}\" names no folder", self.shown)).detail(error.to_string()))?;
        let mut listed = self.bucket.store.list(Some(&prefix));
        let (mut found, mut seen) = (vec![], 0_usize);
        let too_many = |most: usize| {
            let message = format!("\"{}\" stands for more than {most} objects", self.shown);
            Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message)
        };
        while let Some(meta) = listed.try_next().await.map_err(|error| failed(&self.shown, "reading", &error))? {
            seen += 1;
            if seen > LISTED_MAX {
                return Err(too_many(LISTED_MAX).hint("Name a folder with fewer objects below it."));
            }
            // Empty ones stand for folders in some stores, and there is nothing to read in them.
            if meta.size > 0 && pattern.takes(meta.location.as_ref()) {
                if found.len() == most {
                    return Err(too_many(most));
                }
                found.push(Object::of(&self.bucket, meta));
            }
        }
        found.sort_unstable_by(|a, b| a.url.cmp(&b.url));
        Ok(found)
    }
}

fn open(parts: &Parts<'_>, base: &str, settings: &Settings) -> Result<Arc<dyn ObjectStore>> {
    let retry = RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRY_TIME, ..RetryConfig::default() };
    let wrong = |error: object_store::Error| invalid(format!("cannot open \"{base}\"")).detail(failure::detail(&error));
    // Each builder has its own type of names.
    macro_rules! with_settings {
        ($builder:expr) => {{
            let mut builder = $builder.with_url(base).with_retry(retry);
            for (name, value) in settings {
                let key = name.parse().map_err(|_| invalid(format!("option \"{name}\" not recognized")))?;
                builder = builder.with_config(key, value);
            }
            Arc::new(builder.build().map_err(wrong)?)
        }};
    }
    Ok(match parts.kind {
        Kind::S3 => with_settings!(AmazonS3Builder::from_env()),
        Kind::Google => with_settings!(GoogleCloudStorageBuilder::from_env()),
        Kind::Azure => with_settings!(MicrosoftAzureBuilder::from_env()),
        Kind::Http => {
            // A file comes in one answer, however long that takes; `read` looks after one that does not go on.
            let client =
                ClientOptions::new().with_timeout_disabled().with_allow_http(parts.scheme.eq_ignore_ascii_case("http"));
            let url = parts.query.map_or_else(|| base.to_owned(), |query| format!("{base}?{query}"));
            let store = HttpBuilder::new().with_url(url).with_client_options(client).with_retry(retry);
            Arc::new(store.build().map_err(wrong)?)
        }
    })
}

#[cfg(test)]
mod tests;
