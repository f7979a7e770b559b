//! CREATE and ALTER SOURCE: what is stored about a source. `crate::source` reads it.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use tidemill_catalog::record::{AvroDef, Body, Change, Connector, Object, SourceDef, TableDef};
use tidemill_catalog::snapshot::NameClass;
use tidemill_udfs::types::{SqlType, input};

use super::control::{AlterSource, CreateSource, Name, SourceKind};
use super::files::has_wildcard;
use super::files::object::{self, Place};
use super::{database, names, options};
use crate::error::SqlState;
use crate::session::Session;
use crate::session::transaction::is_temporary;
use crate::source::kafka::{self, RAW_COLUMNS};
use crate::{Error, Result};

/// Pause between two looks at a folder: what a reader of new rows hardly notices, and a listing hardly costs.
const EVERY_MS: u64 = 1_000;
/// Pause between two listings of an object store: each thousand objects are a request that is paid for.
const LIST_EVERY_MS: u64 = 10_000;
const FILE_FORMATS: &[&str] = &["json", "ndjson", "csv", "parquet"];
/// A file that did not change for this long is complete: writers that pause longer write under another name.
const SETTLE_MS: u64 = 2_000;

pub(super) fn create(session: &mut Session, create: &CreateSource) -> Result<String> {
    const TAG: &str = "CREATE SOURCE";
    session.require_writable(TAG)?;
    let schema = names::creation_schema(session, &create.name, false)?;
    names::require_create(session, schema)?;
    let name = create.name.last();
    let (main, _) = names::catalogs(session);
    if main.find(schema, NameClass::Source, name).is_some() {
        let message = format!("source \"{name}\" already exists");
        if create.if_not_exists {
            session.notice("NOTICE", SqlState::DUPLICATE_OBJECT, format!("{message}, skipping"));
            return Ok(TAG.into());
        }
        return Err(Error::new(SqlState::DUPLICATE_OBJECT, message));
    }
    let (table, def) = names::table(session, &create.table)?;
    if is_temporary(table.oid) || is_temporary(schema) {
        let message = "a source cannot be temporary or go to a temporary table";
        return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message).at(create.table.offset));
    }
    names::require_owner(session, &table)?;
    let source = definition(session, create, &table, &def)?;
    let object = Object {
        oid: session.fresh_oid(false),
        parent: schema,
        name: name.to_owned(),
        owner: names::current_role(session)?.0,
        version: 1,
        comment: None,
        acl: vec![],
        depends_on: vec![table.oid],
        body: Body::Source(source),
    };
    session.apply(vec![Change::Put(Arc::new(object))])?;
    Ok(TAG.into())
}

pub(super) fn alter(session: &mut Session, name: &Name, if_exists: bool, action: &AlterSource) -> Result<String> {
    const TAG: &str = "ALTER SOURCE";
    session.require_writable(TAG)?;
    let Some(object) = names::find(session, name, NameClass::Source)? else {
        if !if_exists {
            names::source(session, name)?;
        }
        let message = format!("source \"{name}\" does not exist, skipping");
        session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, message);
        return Ok(TAG.into());
    };
    names::require_owner(session, &object)?;
    let paused = match action {
        AlterSource::Pause => true,
        AlterSource::Resume => false,
        AlterSource::Object(action) => {
            database::put(session, &object, action)?;
            return Ok(TAG.into());
        }
    };
    let Body::Source(def) = &object.body else { return Err(Error::internal("a source that is none")) };
    let def = SourceDef { paused, ..def.clone() };
    // Also where it runs or stands already: a put lets it begin anew, without waiting for its next try.
    session.apply(vec![Change::Put(names::changed(&object, |object| object.body = Body::Source(def)))])?;
    Ok(TAG.into())
}

fn invalid(message: String) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// The options, taken one by one; what is left is unknown.
struct Options<'o> {
    given: Vec<&'o (String, String, usize)>,
}

impl<'o> Options<'o> {
    fn new(given: &'o [(String, String, usize)]) -> Result<Self> {
        for (at, (key, _, offset)) in given.iter().enumerate() {
            if given[..at].iter().any(|(other, _, _)| other == key) {
                let message = format!("option \"{key}\" specified more than once");
                return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(*offset));
            }
        }
        Ok(Self { given: given.iter().collect() })
    }

    fn take(&mut self, key: &str) -> Option<&'o str> {
        let at = self.given.iter().position(|(name, _, _)| name == key)?;
        Some(self.given.remove(at).1.as_str())
    }

    fn required(&mut self, key: &str, example: &str) -> Result<String> {
        let value = self.take(key).filter(|value| !value.trim().is_empty()).map(str::to_owned);
        value.ok_or_else(|| {
            invalid(format!("option \"{key}\" is required")).hint(format!("For example: {key} '{example}'."))
        })
    }

    fn duration(&mut self, key: &str, default_ms: u64) -> Result<u64> {
        let Some(text) = self.take(key) else { return Ok(default_ms) };
        options::duration_ms(text).filter(|ms| (10..=86_400_000).contains(ms)).ok_or_else(|| {
            invalid(format!("invalid value for option \"{key}\": \"{text}\""))
                .hint("Give a duration from 10ms to 1d, for example '10s'.")
        })
    }

    fn format(&mut self, allowed: &[&str]) -> Result<Option<String>> {
        let Some(format) = self.take("format") else { return Ok(None) };
        if !allowed.contains(&format) {
            return Err(invalid(format!("format \"{format}\" not recognized"))
                .hint(format!("Available formats: {}.", allowed.join(", "))));
        }
        Ok(Some(format.to_owned()))
    }

    /// Those whose key has a name among settings, by that name.
    fn take_all(&mut self, name: impl Fn(&str) -> Option<&str>) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::new();
        self.given.retain(|(key, value, _)| match name(key) {
            Some(name) => {
                settings.insert(name.to_owned(), value.clone());
                false
            }
            None => true,
        });
        settings
    }

    fn finish(self, known: &str) -> Result<()> {
        match self.given.first() {
            None => Ok(()),
            Some((key, _, offset)) => {
                let message = format!("option \"{key}\" not recognized");
                Err(invalid(message).hint(format!("Available options: {known}.")).at(*offset))
            }
        }
    }
}

fn definition(session: &mut Session, create: &CreateSource, table: &Object, def: &TableDef) -> Result<SourceDef> {
    let mut given = Options::new(&create.options)?;
    let (connector, format) = match create.kind {
        SourceKind::Kafka => {
            let brokers = given.required("brokers", "host:9092")?;
            let topic = given.required("topic", "clicks")?;
            let format = given.format(&["json", "csv", "raw", "avro"])?.unwrap_or_else(|| "json".to_owned());
            if format == "raw" {
                check_raw(def, &table.name)?;
            }
            let avro = if format == "avro" { Some(avro(&mut given)?) } else { None };
            let group = given.take("group").map(str::to_owned);
            let latest = match given.take("start") {
                None | Some("earliest") => false,
                Some("latest") => true,
                Some(other) => {
                    return Err(invalid(format!("invalid value for option \"start\": \"{other}\""))
                        .hint("Available values: earliest, latest."));
                }
            };
            let settings = given.take_all(|key| key.strip_prefix("kafka."));
            let of_avro = if avro.is_some() { "schema, confluent, schema_id, " } else { "" };
            given.finish(&format!("brokers, topic, format, {of_avro}group, start and kafka.<setting>"))?;
            let connector = Connector::Kafka { brokers, topic, group, latest, settings, avro };
            kafka::check(&connector)?;
            (connector, Some(format))
        }
        SourceKind::Files => {
            if !names::current_role(session)?.1.superuser {
                let message = "permission denied to create a source of the server's files";
                return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
                    .detail("Only superusers may let the server read its files."));
            }
            let (location, offset) = create.location.as_ref().ok_or_else(|| Error::internal("no location"))?;
            if object::is_url(location) {
                let (connector, format) = objects(location, &mut given).map_err(|error| error.at(*offset))?;
                given.finish("format, every and the store's settings, such as aws_region")?;
                return Ok(SourceDef { connector, format, table: table.oid, paused: false });
            }
            let (folder, pattern) = place(location).map_err(|error| error.at(*offset))?;
            let format = given.format(FILE_FORMATS)?;
            let every_ms = given.duration("every", EVERY_MS)?;
            let settle_ms = given.duration("settle", SETTLE_MS)?;
            given.finish("format, every and settle")?;
            (Connector::Files { folder, pattern, every_ms, settle_ms }, format)
        }
    };
    Ok(SourceDef { connector, format, table: table.oid, paused: false })
}

/// Schema and header of messages in Avro.
fn avro(given: &mut Options<'_>) -> Result<AvroDef> {
    let schema = given
        .required("schema", r#"{"type": "record", "name": "click", "fields": [{"name": "id", "type": "long"}]}"#)?;
    let schema_id = given
        .take("schema_id")
        .map(|text| {
            let refused = |_| invalid(format!("invalid value for option \"schema_id\": \"{text}\""));
            text.parse().map_err(refused)
        })
        .transpose()?;
    let confluent = match given.take("confluent").map(|text| (text, input::boolean(text.as_bytes()))) {
        None => schema_id.is_some(),
        Some((_, Ok(confluent))) => confluent,
        Some((text, Err(_))) => return Err(invalid(format!("invalid value for option \"confluent\": \"{text}\""))),
    };
    if schema_id.is_some() && !confluent {
        return Err(invalid("option \"schema_id\" needs the header that \"confluent\" stands for".into()));
    }
    let avro = AvroDef { schema, confluent, schema_id };
    kafka::messages(&avro)?;
    Ok(avro)
}

/// Files of an object store.
fn objects(url: &str, given: &mut Options<'_>) -> Result<(Connector, Option<String>)> {
    let format = given.format(FILE_FORMATS)?;
    let every_ms = given.duration("every", LIST_EVERY_MS)?;
    let settings = given.take_all(|key| object::is_setting(url, key).then_some(key));
    Place::of(url, &settings)?.require_listing()?;
    Ok((Connector::Objects { url: url.to_owned(), every_ms, settings }, format))
}

/// Folder and pattern of `dir/`, `dir/*.json`, `file:///dir/`.
fn place(location: &str) -> Result<(String, Option<String>)> {
    let path = match location.split_once("://") {
        Some(("file", path)) => path,
        Some((scheme, _)) => {
            return Err(Error::unsupported(format!("sources of files at \"{scheme}://\" are not supported yet"))
                .hint("Give a folder of the server, or mount the bucket."));
        }
        None => location,
    };
    if path.is_empty() {
        return Err(invalid("a source of files needs a folder".into()).hint("For example: FROM FILES ('/data/in/')."));
    }
    let is_pattern = |text: &str| has_wildcard(text.as_bytes());
    let (folder, pattern) = match path.rsplit_once('/') {
        Some((folder, name)) if is_pattern(name) => (if folder.is_empty() { "/" } else { folder }, Some(name)),
        None if is_pattern(path) => (".", Some(path)),
        _ => (path, None),
    };
    if is_pattern(folder) {
        return Err(Error::unsupported("only the last part of a location may have wildcards"));
    }
    let folder = std::path::absolute(Path::new(folder)).map_err(|error| invalid(format!("\"{folder}\": {error}")))?;
    if folder.is_file() {
        return Err(invalid(format!("\"{}\" is a file", folder.display()))
            .hint("Give a folder, or a pattern that the names of its files are like."));
    }
    // Without `..`: what a link leads to is found again under the same name.
    let mut plain = PathBuf::new();
    for part in folder.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    let folder = plain.to_str().ok_or_else(|| invalid("the folder's name is not UTF-8".into()))?.to_owned();
    Ok((folder, pattern.map(str::to_owned)))
}

/// A table for raw messages has a column `value`, and others of known names and types.
fn check_raw(def: &TableDef, table: &str) -> Result<()> {
    for &(name, types) in RAW_COLUMNS {
        let Some(column) = def.column(name) else {
            if name == "value" {
                let message = format!("column \"value\" of relation \"{table}\" does not exist");
                return Err(Error::new(SqlState::UNDEFINED_COLUMN, message)
                    .hint("Format raw puts a message's bytes there, as bytea or text."));
            }
            continue;
        };
        let sql_type = SqlType::of_stored(&column.sql_type)?;
        if !types.contains(&sql_type) {
            let allowed: Vec<String> = types.iter().map(SqlType::name).collect();
            let message = format!("column \"{name}\" has type {}", column.sql_type);
            return Err(Error::new(SqlState::DATATYPE_MISMATCH, message)
                .detail(format!("For messages of format raw it must be {}.", allowed.join(" or "))));
        }
    }
    Ok(())
}
