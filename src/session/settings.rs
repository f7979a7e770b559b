//! The settings of a session: GUCs, their defaults, units and transaction-local values.
//!
//! Three layers, later ones win: what RESET returns to (defaults, then `ALTER ROLE … SET`, then startup parameters), what
//! SET gave the session, what SET LOCAL gave the transaction. A rollback restores the last two.

use std::collections::BTreeMap;
use std::str::FromStr;

use chrono_tz::Tz;
use tidemill_udfs::types::{DateOrder, DateOutput, IntervalStyle, TextSettings, posix_offset};

use crate::error::SqlState;
use crate::{Error, Result};

/// What a setting holds.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Bool,
    /// Minimum, maximum.
    Integer(i64, i64),
    /// Milliseconds, minimum 0.
    Milliseconds,
    /// Kilobytes.
    Kilobytes(i64, i64),
    Real,
    String,
    Enum(&'static [&'static str]),
    /// Text with a grammar of its own.
    DateStyle,
    TimeZone,
    Encoding,
}

/// Who may change a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Context {
    User,
    Internal,
    Postmaster,
}

struct Definition {
    name: &'static str,
    kind: Kind,
    default: &'static str,
    context: Context,
    /// Sent to the client as ParameterStatus.
    reported: bool,
    description: &'static str,
}

const fn user(name: &'static str, kind: Kind, default: &'static str, description: &'static str) -> Definition {
    Definition { name, kind, default, context: Context::User, reported: false, description }
}

const fn reported(name: &'static str, kind: Kind, default: &'static str, description: &'static str) -> Definition {
    Definition { name, kind, default, context: Context::User, reported: true, description }
}

const fn fixed(name: &'static str, kind: Kind, default: &'static str, description: &'static str) -> Definition {
    Definition { name, kind, default, context: Context::Internal, reported: false, description }
}

const fn fixed_reported(name: &'static str, default: &'static str, description: &'static str) -> Definition {
    Definition { name, kind: Kind::String, default, context: Context::Internal, reported: true, description }
}

const ISOLATION: Kind = Kind::Enum(&["serializable", "repeatable read", "read committed", "read uncommitted"]);
const MESSAGES: Kind = Kind::Enum(&[
    "debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "notice", "warning", "error", "info", "fatal",
    "panic",
]);

/// The version clients see: they choose their catalog queries by it.
pub const SERVER_VERSION: &str = "15.18";
/// The same as a number.
pub const SERVER_VERSION_NUM: &str = "150018";

/// Every setting, by lower-case name.
#[rustfmt::skip]
const SETTINGS: &[Definition] = &[
    reported("application_name", Kind::String, "", "Sets the application name to be reported in statistics and logs."),
    user("array_nulls", Kind::Bool, "on", "Enable input of NULL elements in arrays."),
    user("backslash_quote", Kind::Enum(&["safe_encoding", "on", "off"]), "safe_encoding", "Sets whether \"\\'\" is allowed in string literals."),
    fixed("block_size", Kind::Integer(0, i64::MAX), "8192", "Shows the size of a disk block."),
    user("bytea_output", Kind::Enum(&["escape", "hex"]), "hex", "Sets the output format for bytea."),
    user("check_function_bodies", Kind::Bool, "on", "Check routine bodies during CREATE FUNCTION and CREATE PROCEDURE."),
    reported("client_encoding", Kind::Encoding, "UTF8", "Sets the client's character set encoding."),
    user("client_min_messages", MESSAGES, "notice", "Sets the message levels that are sent to the client."),
    reported("datestyle", Kind::DateStyle, "ISO, MDY", "Sets the display format for date and time values."),
    user("default_table_access_method", Kind::String, "heap", "Sets the default table access method for new tables."),
    fixed("default_tablespace", Kind::String, "", "Sets the default tablespace to create tables and indexes in."),
    user("default_text_search_config", Kind::String, "pg_catalog.simple", "Sets default text search configuration."),
    user("default_transaction_deferrable", Kind::Bool, "off", "Sets the default deferrable status of new transactions."),
    user("default_transaction_isolation", ISOLATION, "read committed", "Sets the transaction isolation level of each new transaction."),
    reported("default_transaction_read_only", Kind::Bool, "off", "Sets the default read-only status of new transactions."),
    user("enable_hashjoin", Kind::Bool, "on", "Enables the planner's use of hash join plans."),
    user("enable_indexscan", Kind::Bool, "on", "Enables the planner's use of index-scan plans."),
    user("enable_mergejoin", Kind::Bool, "on", "Enables the planner's use of merge join plans."),
    user("enable_nestloop", Kind::Bool, "on", "Enables the planner's use of nested-loop join plans."),
    user("enable_seqscan", Kind::Bool, "on", "Enables the planner's use of sequential-scan plans."),
    user("escape_string_warning", Kind::Bool, "on", "Warn about backslash escapes in ordinary string literals."),
    user("extra_float_digits", Kind::Integer(-15, 3), "1", "Sets the number of digits displayed for floating-point values."),
    user("geqo", Kind::Bool, "on", "Enables genetic query optimization."),
    user("gin_fuzzy_search_limit", Kind::Integer(0, i32::MAX as i64), "0", "Sets the maximum allowed result for exact search by GIN."),
    user("idle_in_transaction_session_timeout", Kind::Milliseconds, "0", "Sets the maximum allowed idle time between queries, when in a transaction."),
    user("idle_session_timeout", Kind::Milliseconds, "0", "Sets the maximum allowed idle time between queries, when not in a transaction."),
    fixed_reported("in_hot_standby", "off", "Shows whether hot standby is currently active."),
    fixed_reported("integer_datetimes", "on", "Shows whether datetimes are integer based."),
    reported("intervalstyle", Kind::Enum(&["postgres", "postgres_verbose", "sql_standard", "iso_8601"]), "postgres", "Sets the display format for interval values."),
    fixed_reported("is_superuser", "on", "Shows whether the current user is a superuser."),
    user("jit", Kind::Bool, "off", "Allow JIT compilation."),
    fixed("lc_collate", Kind::String, "C", "Shows the collation order locale."),
    fixed("lc_ctype", Kind::String, "C.UTF-8", "Shows the character classification and case conversion locale."),
    user("lc_messages", Kind::String, "C", "Sets the language in which messages are displayed."),
    user("lc_monetary", Kind::String, "C", "Sets the locale for formatting monetary amounts."),
    user("lc_numeric", Kind::String, "C", "Sets the locale for formatting numbers."),
    user("lc_time", Kind::String, "C", "Sets the locale for formatting date and time values."),
    user("lock_timeout", Kind::Milliseconds, "0", "Sets the maximum allowed duration of any wait for a lock."),
    user("log_statement", Kind::Enum(&["none", "ddl", "mod", "all"]), "none", "Sets the type of statements logged."),
    user("maintenance_work_mem", Kind::Kilobytes(1024, i32::MAX as i64), "65536", "Sets the maximum memory to be used for maintenance operations."),
    Definition { name: "max_connections", kind: Kind::Integer(1, 262_143), default: "100", context: Context::Postmaster, reported: false, description: "Sets the maximum number of concurrent connections." },
    fixed("max_identifier_length", Kind::Integer(0, i64::MAX), "63", "Shows the maximum identifier length."),
    fixed("max_index_keys", Kind::Integer(0, i64::MAX), "32", "Shows the maximum number of index keys."),
    user("max_parallel_workers_per_gather", Kind::Integer(0, 1024), "2", "Sets the maximum number of parallel processes per executor node."),
    fixed("max_prepared_transactions", Kind::Integer(0, 262_143), "0", "Sets the maximum number of simultaneously prepared transactions."),
    user("password_encryption", Kind::Enum(&["md5", "scram-sha-256"]), "scram-sha-256", "Chooses the algorithm for encrypting passwords."),
    user("plan_cache_mode", Kind::Enum(&["auto", "force_generic_plan", "force_custom_plan"]), "auto", "Controls the planner's selection of custom or generic plan."),
    user("quote_all_identifiers", Kind::Bool, "off", "When generating SQL fragments, quote all identifiers."),
    user("role", Kind::String, "none", "Sets the current role."),
    user("row_security", Kind::Bool, "on", "Enable row security."),
    user("search_path", Kind::String, "\"$user\", public", "Sets the schema search order for names that are not schema-qualified."),
    fixed_reported("server_encoding", "UTF8", "Shows the server (database) character set encoding."),
    fixed_reported("server_version", SERVER_VERSION, "Shows the server version."),
    fixed("server_version_num", Kind::Integer(0, i64::MAX), SERVER_VERSION_NUM, "Shows the server version as an integer."),
    reported("session_authorization", Kind::String, "", "Sets the session user name."),
    fixed("shared_preload_libraries", Kind::String, "", "Lists shared libraries to preload into server."),
    user("ssl_renegotiation_limit", Kind::Integer(0, 0), "0", "SSL regenotiation is no longer supported; this can only be 0."),
    reported("standard_conforming_strings", Kind::Enum(&["on"]), "on", "Causes '...' strings to treat backslashes literally."),
    user("statement_timeout", Kind::Milliseconds, "0", "Sets the maximum allowed duration of any statement."),
    user("synchronize_seqscans", Kind::Bool, "on", "Enable synchronized sequential scans."),
    user("synchronous_commit", Kind::Enum(&["on", "off", "local", "remote_write", "remote_apply"]), "on", "Sets the current transaction's synchronization level."),
    user("temp_tablespaces", Kind::String, "", "Sets the tablespace(s) to use for temporary tables and sort files."),
    reported("timezone", Kind::TimeZone, "UTC", "Sets the time zone for displaying and interpreting time stamps."),
    user("transaction_deferrable", Kind::Bool, "off", "Whether to defer a read-only serializable transaction until it can be executed with no possible serialization failures."),
    user("transaction_isolation", ISOLATION, "read committed", "Sets the current transaction's isolation level."),
    user("transaction_read_only", Kind::Bool, "off", "Sets the current transaction's read-only status."),
    user("transform_null_equals", Kind::Bool, "off", "Treats \"expr=NULL\" as \"expr IS NULL\"."),
    user("vacuum_cost_delay", Kind::Real, "0", "Vacuum cost delay in milliseconds."),
    user("work_mem", Kind::Kilobytes(64, i32::MAX as i64), "4096", "Sets the maximum memory to be used for query workspaces."),
    user("xmloption", Kind::Enum(&["content", "document"]), "content", "Sets whether XML data in implicit parsing and serialization operations is to be considered as documents or content fragments."),
];

/// Names as the documentation spells them, where that is not lower case.
const SPELLING: &[(&str, &str)] =
    &[("datestyle", "DateStyle"), ("intervalstyle", "IntervalStyle"), ("timezone", "TimeZone")];

/// A session's settings.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    reset: BTreeMap<String, String>,
    layers: Layers,
    /// Counts changes, so that what is made from settings is made again only when needed.
    pub generation: u64,
    /// What every statement asks for, and the generation it was read in.
    often: Option<(u64, Often)>,
}

/// Settings that every statement asks for. Milliseconds; `None`: off.
#[derive(Debug, Clone, Copy)]
pub struct Often {
    /// `statement_timeout`
    pub statement_timeout: Option<u64>,
    /// `idle_session_timeout`
    pub idle_session_timeout: Option<u64>,
    /// `idle_in_transaction_session_timeout`
    pub idle_in_transaction_session_timeout: Option<u64>,
    /// A transaction that begins now may not write.
    pub read_only: bool,
}

/// The layers that a rollback restores.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    session: BTreeMap<String, String>,
    local: BTreeMap<String, String>,
}

/// One setting as SHOW ALL and pg_settings tell it.
#[derive(Debug, Clone)]
pub struct SettingInfo {
    /// Its name, as spelled in the documentation.
    pub name: String,
    /// Its value now, as SHOW prints it.
    pub value: String,
    /// Its value now in its unit, as pg_settings.setting has it.
    pub raw: String,
    /// pg_settings.unit
    pub unit: Option<&'static str>,
    /// pg_settings.vartype: bool, integer, real, string, enum
    pub kind: &'static str,
    /// Value after RESET.
    pub default: String,
    /// One sentence.
    pub description: &'static str,
    /// pg_settings.context: user, superuser, postmaster, internal
    pub context: &'static str,
    /// pg_settings.source: default, session, client
    pub source: &'static str,
    /// Choices of an enum.
    pub choices: Option<&'static [&'static str]>,
}

impl Settings {
    /// The value as SHOW prints it; names are case-insensitive; `None`: no such setting.
    pub fn get(&self, name: &str) -> Option<String> {
        let name = name.to_ascii_lowercase();
        match definition(&name) {
            Some(definition) => Some(display(definition.kind, &self.raw(&name, definition))),
            None => self.stored(&name).cloned(),
        }
    }

    /// What every statement asks for.
    pub fn often(&mut self) -> Often {
        match self.often {
            Some((generation, often)) if generation == self.generation => often,
            _ => {
                let often = Often {
                    statement_timeout: self.milliseconds("statement_timeout"),
                    idle_session_timeout: self.milliseconds("idle_session_timeout"),
                    idle_in_transaction_session_timeout: self.milliseconds("idle_in_transaction_session_timeout"),
                    read_only: self.is_on("default_transaction_read_only") || self.is_on("transaction_read_only"),
                };
                self.often = Some((self.generation, often));
                often
            }
        }
    }

    /// A setting in milliseconds, `None` if it is 0 (off).
    fn milliseconds(&self, name: &str) -> Option<u64> {
        let raw = self.stored(name).map(String::as_str).or_else(|| definition(name).map(|found| found.default))?;
        raw.parse().ok().filter(|&value| value > 0)
    }

    /// True if the setting is `on`.
    pub fn is_on(&self, name: &str) -> bool {
        self.stored(name).map(String::as_str).or_else(|| definition(name).map(|found| found.default)) == Some("on")
    }

    fn stored(&self, name: &str) -> Option<&String> {
        self.layers.local.get(name).or_else(|| self.layers.session.get(name)).or_else(|| self.reset.get(name))
    }

    fn raw(&self, name: &str, definition: &Definition) -> String {
        // A transaction's mode that nobody set is the session's.
        let of_session = || name.starts_with("transaction_").then(|| self.stored(&format!("default_{name}"))).flatten();
        self.stored(name).or_else(of_session).cloned().unwrap_or_else(|| definition.default.to_owned())
    }

    /// Sets a value; `local`: until the transaction ends.
    ///
    /// # Errors
    /// 42704 unknown name, 22023 bad value, 55P02 cannot be changed now.
    pub fn set(&mut self, name: &str, value: &str, local: bool) -> Result<()> {
        let name = name.to_ascii_lowercase();
        let value = checked(&name, value)?;
        self.generation += 1;
        if local {
            self.layers.local.insert(name, value);
        } else {
            self.layers.local.remove(&name);
            self.layers.session.insert(name, value);
        }
        Ok(())
    }

    /// SET … TO DEFAULT and RESET.
    ///
    /// # Errors
    /// 42704 unknown name, 55P02 cannot be changed.
    pub fn reset(&mut self, name: &str, local: bool) -> Result<()> {
        let name = name.to_ascii_lowercase();
        if let Some(definition) = definition(&name) {
            changeable(definition)?;
        } else if !name.contains('.') {
            return Err(unknown(&name));
        }
        self.generation += 1;
        if local {
            let value = self.reset.get(&name).cloned().or_else(|| definition(&name).map(|d| d.default.to_owned()));
            if let Some(value) = value {
                self.layers.local.insert(name, value);
            }
        } else {
            self.layers.local.remove(&name);
            self.layers.session.remove(&name);
        }
        Ok(())
    }

    /// RESET ALL. The role and the transaction's own modes stay.
    pub fn reset_all(&mut self) {
        let keep = |name: &str| matches!(name, "role" | "session_authorization") || name.starts_with("transaction_");
        self.layers.session.retain(|name, _| keep(name));
        self.layers.local.retain(|name, _| keep(name));
        self.generation += 1;
    }

    /// Sets what RESET returns to: role settings, startup parameters, server facts.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn set_default(&mut self, name: &str, value: &str) -> Result<()> {
        let name = name.to_ascii_lowercase();
        let value = checked(&name, value)?;
        self.reset.insert(name, value);
        self.generation += 1;
        Ok(())
    }

    /// Sets a fact that the user cannot change (`is_superuser`, `max_connections`).
    pub fn set_fact(&mut self, name: &str, value: impl Into<String>) {
        self.reset.insert(name.to_owned(), value.into());
        self.generation += 1;
    }

    /// A value that was set in the session or transaction, not a default.
    pub fn given(&self, name: &str) -> Option<String> {
        self.layers.local.get(name).or_else(|| self.layers.session.get(name)).cloned()
    }

    /// What a rollback would restore.
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// Restores what was, after a rollback.
    pub fn restore(&mut self, layers: Layers) {
        self.layers = layers;
        self.generation += 1;
    }

    /// Forgets transaction-local values, at its end.
    pub fn end_transaction(&mut self) {
        if !self.layers.local.is_empty() {
            self.layers.local.clear();
            self.generation += 1;
        }
        for name in ["transaction_isolation", "transaction_read_only", "transaction_deferrable"] {
            if self.layers.session.remove(name).is_some() {
                self.generation += 1;
            }
        }
    }

    /// Reported settings, as ParameterStatus spells them.
    pub fn reported(&self) -> impl Iterator<Item = (String, String)> {
        SETTINGS.iter().filter(|definition| definition.reported).map(|definition| {
            (spelling(definition.name), display(definition.kind, &self.raw(definition.name, definition)))
        })
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<SettingInfo> {
        let mut all: Vec<_> = SETTINGS.iter().map(|definition| self.info(definition)).collect();
        all.extend(self.layers.session.iter().filter(|(name, _)| name.contains('.')).map(|(name, value)| {
            SettingInfo {
                name: name.clone(),
                value: value.clone(),
                raw: value.clone(),
                unit: None,
                kind: "string",
                default: String::new(),
                description: "",
                context: "user",
                source: "session",
                choices: None,
            }
        }));
        all.sort_by_key(|info| info.name.to_ascii_lowercase());
        all
    }

    fn info(&self, definition: &Definition) -> SettingInfo {
        let raw = self.raw(definition.name, definition);
        let set = self.layers.local.contains_key(definition.name) || self.layers.session.contains_key(definition.name);
        SettingInfo {
            name: spelling(definition.name),
            value: display(definition.kind, &raw),
            raw,
            unit: match definition.kind {
                Kind::Milliseconds => Some("ms"),
                Kind::Kilobytes(..) => Some("kB"),
                _ => None,
            },
            kind: match definition.kind {
                Kind::Bool => "bool",
                Kind::Integer(..) | Kind::Milliseconds | Kind::Kilobytes(..) => "integer",
                Kind::Real => "real",
                Kind::Enum(_) => "enum",
                Kind::String | Kind::DateStyle | Kind::TimeZone | Kind::Encoding => "string",
            },
            default: self.reset.get(definition.name).cloned().unwrap_or_else(|| definition.default.to_owned()),
            description: definition.description,
            context: match definition.context {
                Context::User => "user",
                Context::Internal => "internal",
                Context::Postmaster => "postmaster",
            },
            source: if set {
                "session"
            } else if self.reset.contains_key(definition.name) {
                "client"
            } else {
                "default"
            },
            choices: if let Kind::Enum(choices) = definition.kind { Some(choices) } else { None },
        }
    }

    /// The schemas of search_path, `$user` replaced.
    pub fn search_path(&self, user: &str) -> Vec<String> {
        split_identifiers(&self.get("search_path").unwrap_or_default())
            .into_iter()
            // A role that is called like a schema of the system does not mean that one.
            .filter(|name| name != "$user" || crate::plan::system::schemas().iter().all(|(schema, _)| *schema != user))
            .map(|name| if name == "$user" { user.to_owned() } else { name })
            .collect()
    }

    /// How values print and parse.
    pub fn text(&self, now_us: i64) -> TextSettings {
        let get = |name: &str| self.get(name).unwrap_or_default();
        let style = get("datestyle");
        TextSettings {
            time_zone: Tz::from_str(&get("timezone")).unwrap_or(Tz::UTC),
            date_order: match style.rsplit(' ').next() {
                Some("DMY") => DateOrder::Dmy,
                Some("YMD") => DateOrder::Ymd,
                _ => DateOrder::Mdy,
            },
            date_output: match style.split(',').next() {
                Some("SQL") => DateOutput::Sql,
                Some("Postgres") => DateOutput::Postgres,
                Some("German") => DateOutput::German,
                _ => DateOutput::Iso,
            },
            interval_style: match get("intervalstyle").as_str() {
                "postgres_verbose" => IntervalStyle::PostgresVerbose,
                "sql_standard" => IntervalStyle::SqlStandard,
                "iso_8601" => IntervalStyle::Iso8601,
                _ => IntervalStyle::Postgres,
            },
            extra_float_digits: get("extra_float_digits").parse().unwrap_or(1),
            bytea_escape: get("bytea_output") == "escape",
            now_us,
        }
    }
}

fn definition(name: &str) -> Option<&'static Definition> {
    SETTINGS.binary_search_by(|definition| definition.name.cmp(name)).ok().map(|at| &SETTINGS[at])
}

fn spelling(name: &str) -> String {
    SPELLING.iter().find(|(lower, _)| *lower == name).map_or(name, |(_, spelled)| spelled).to_owned()
}

fn unknown(name: &str) -> Error {
    Error::new(SqlState::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
}

fn changeable(definition: &Definition) -> Result<()> {
    match definition.context {
        Context::User => Ok(()),
        Context::Internal => Err(Error::new(
            SqlState::CANT_CHANGE_RUNTIME_PARAM,
            format!("parameter \"{}\" cannot be changed", spelling(definition.name)),
        )),
        Context::Postmaster => Err(Error::new(
            SqlState::CANT_CHANGE_RUNTIME_PARAM,
            format!("parameter \"{}\" cannot be changed without restarting the server", definition.name),
        )),
    }
}

/// The value in its stored form.
fn checked(name: &str, value: &str) -> Result<String> {
    let Some(definition) = definition(name) else {
        // PostgreSQL lets anyone set a name with a dot: extensions and applications keep values there.
        return if name.contains('.') { Ok(value.to_owned()) } else { Err(unknown(name)) };
    };
    changeable(definition)?;
    let name = spelling(definition.name);
    let invalid = || {
        Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid value for parameter \"{name}\": \"{value}\""))
    };
    match definition.kind {
        Kind::String => Ok(value.to_owned()),
        Kind::Bool => boolean(value).map(|on| if on { "on" } else { "off" }.to_owned()).ok_or_else(|| {
            Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("parameter \"{name}\" requires a Boolean value"))
        }),
        Kind::Integer(min, max) => ranged(&name, value.trim().parse().map_err(|_| invalid())?, min, max, ""),
        Kind::Milliseconds => ranged(
            &name,
            with_unit(value, TIME_UNITS).ok_or_else(|| unit_error(&name, value, TIME_HINT))?,
            0,
            i64::from(i32::MAX),
            " ms",
        ),
        Kind::Kilobytes(min, max) => ranged(
            &name,
            with_unit(value, MEMORY_UNITS).ok_or_else(|| unit_error(&name, value, MEMORY_HINT))?,
            min,
            max,
            " kB",
        ),
        Kind::Real => value.trim().parse::<f64>().map(|number| number.to_string()).map_err(|_| invalid()),
        Kind::Enum(choices) => {
            let lower = value.to_ascii_lowercase();
            let lower = match (boolean(&lower), choices.contains(&"on")) {
                (Some(true), true) => "on".to_owned(),
                (Some(false), true) if choices.contains(&"off") => "off".to_owned(),
                _ => lower,
            };
            if choices.contains(&lower.as_str()) {
                Ok(lower)
            } else {
                Err(invalid().hint(format!("Available values: {}.", choices.join(", "))))
            }
        }
        Kind::DateStyle => date_style(value).ok_or_else(invalid),
        Kind::TimeZone => time_zone(value).ok_or_else(invalid),
        // As PostgreSQL reads the names of encodings: only letters and digits count (asyncpg sends 'utf-8' with quotes).
        Kind::Encoding => match value.to_ascii_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "").as_str() {
            "UTF8" | "UNICODE" => Ok("UTF8".into()),
            // Pools set it to say "do not convert".
            "SQLASCII" => Ok("SQL_ASCII".into()),
            _ => Err(invalid()),
        },
    }
}

fn boolean(value: &str) -> Option<bool> {
    let value = value.trim().to_ascii_lowercase();
    let starts = |word: &str, least: usize| value.len() >= least && word.starts_with(&value);
    if starts("true", 1) || starts("yes", 1) || value == "on" || value == "1" {
        Some(true)
    } else if starts("false", 1) || starts("no", 1) || starts("off", 2) || value == "0" {
        Some(false)
    } else {
        None
    }
}

fn ranged(name: &str, value: i64, min: i64, max: i64, unit: &str) -> Result<String> {
    if (min..=max).contains(&value) {
        return Ok(value.to_string());
    }
    Err(Error::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("{value}{unit} is outside the valid range for parameter \"{name}\" ({min} .. {max})"),
    ))
}

/// Units and how many of the stored unit they are, as a fraction.
type Units = &'static [(&'static str, f64)];
const TIME_UNITS: Units =
    &[("d", 86_400_000.0), ("h", 3_600_000.0), ("min", 60_000.0), ("s", 1000.0), ("ms", 1.0), ("us", 0.001)];
const TIME_HINT: &str = "Valid units for this parameter are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\".";
const MEMORY_UNITS: Units =
    &[("TB", 1_073_741_824.0), ("GB", 1_048_576.0), ("MB", 1024.0), ("kB", 1.0), ("B", 1.0 / 1024.0)];
const MEMORY_HINT: &str = "Valid units for this parameter are \"B\", \"kB\", \"MB\", \"GB\", and \"TB\".";

fn with_unit(value: &str, units: Units) -> Option<i64> {
    let value = value.trim();
    let split = value.find(|character: char| character.is_ascii_alphabetic()).unwrap_or(value.len());
    let number: f64 = value[..split].trim().parse().ok()?;
    let unit = &value[split..];
    let factor = if unit.is_empty() { 1.0 } else { units.iter().find(|(name, _)| *name == unit)?.1 };
    let result = (number * factor).round();
    if result.is_finite() && result.abs() < 9e15 {
        #[expect(clippy::cast_possible_truncation, reason = "whole and in range, checked just above")]
        Some(result as i64)
    } else {
        None
    }
}

fn unit_error(name: &str, value: &str, hint: &str) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid value for parameter \"{name}\": \"{value}\""))
        .hint(hint)
}

/// As SHOW prints it: in the largest unit that divides it.
fn display(kind: Kind, raw: &str) -> String {
    let units: &[(&str, i64)] = match kind {
        Kind::Milliseconds => &[("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)],
        Kind::Kilobytes(..) => &[("TB", 1_073_741_824), ("GB", 1_048_576), ("MB", 1024), ("kB", 1)],
        _ => return raw.to_owned(),
    };
    match raw.parse::<i64>() {
        Ok(0) | Err(_) => raw.to_owned(),
        Ok(value) => {
            let (unit, size) = units.iter().find(|(_, size)| value % size == 0).copied().unwrap_or(("", 1));
            format!("{}{unit}", value / size)
        }
    }
}

fn date_style(value: &str) -> Option<String> {
    let (mut output, mut order) = ("ISO", "MDY");
    for part in value.split(',') {
        match part.trim().trim_matches('"').to_ascii_uppercase().as_str() {
            "ISO" => output = "ISO",
            "SQL" => output = "SQL",
            text if text.starts_with("POSTGRES") => output = "Postgres",
            "GERMAN" => {
                output = "German";
                order = "DMY";
            }
            "YMD" => order = "YMD",
            "DMY" | "EURO" | "EUROPEAN" => order = "DMY",
            "MDY" | "US" | "NONEURO" | "NONEUROPEAN" | "DEFAULT" => order = "MDY",
            _ => return None,
        }
    }
    Some(format!("{output}, {order}"))
}

/// A zone of the tz database by any case, or whole hours east of UTC.
fn time_zone(value: &str) -> Option<String> {
    let value = value.trim();
    if let Some(zone) = chrono_tz::TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(value)) {
        return Some(zone.name().to_owned());
    }
    // A number is of hours east of UTC; a name that POSIX gives has the opposite sign, as those of the tz database have.
    let hours = match value.parse::<f64>() {
        Ok(hours) => hours,
        Err(_) => posix_offset(value)? as f64 / 3600.0,
    };
    if hours.fract() != 0.0 {
        return None;
    }
    match hours as i32 {
        0 => Some("UTC".into()),
        1..=14 => Some(format!("Etc/GMT-{hours}")),
        -12..=-1 => Some(format!("Etc/GMT+{}", -hours)),
        _ => None,
    }
}

/// Splits `a, "B c", d` as search_path and similar lists are.
pub fn split_identifiers(list: &str) -> Vec<String> {
    let mut names = vec![];
    let mut rest = list.trim();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut characters = quoted.char_indices().peekable();
            let mut end = quoted.len();
            while let Some((at, character)) = characters.next() {
                if character != '"' {
                    name.push(character);
                } else if characters.peek().is_some_and(|(_, next)| *next == '"') {
                    characters.next();
                    name.push('"');
                } else {
                    end = at + 1;
                    break;
                }
            }
            names.push(name);
            rest = quoted[end..].trim_start();
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let name = rest[..end].trim();
            if !name.is_empty() {
                names.push(name.to_ascii_lowercase());
            }
            rest = &rest[end..];
        }
        rest = rest.trim_start().strip_prefix(',').unwrap_or(rest.trim_start()).trim_start();
        if !rest.is_empty() && names.len() > 1000 {
            break; // a limit on everything
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(SETTINGS.is_sorted_by_key(|definition| definition.name));
    }

    #[test]
    fn values_read_back_as_postgres_prints_them() {
        for (name, value, shown) in [
            ("statement_timeout", "1h", "1h"),
            ("statement_timeout", "90s", "90s"),
            ("statement_timeout", "120000", "2min"),
            ("statement_timeout", "500us", "1ms"),
            ("work_mem", "64MB", "64MB"),
            ("datestyle", "german", "German, DMY"),
            ("TimeZone", "europe/berlin", "Europe/Berlin"),
            ("jit", "TRUE", "on"),
            ("extra_float_digits", "2", "2"),
            ("my.setting", "x", "x"),
        ] {
            let mut settings = Settings::default();
            settings.set(name, value, false).unwrap();
            assert_eq!(settings.get(name).as_deref(), Some(shown), "{name} = {value}");
        }
    }

    #[test]
    fn bad_values_and_names_are_refused() {
        for (name, value, code) in [
            ("nope", "1", "42704"),
            ("statement_timeout", "1 parsec", "22023"),
            ("server_version", "1", "55P02"),
            ("extra_float_digits", "9", "22023"),
            ("timezone", "Mars/Olympus", "22023"),
            ("jit", "perhaps", "22023"),
        ] {
            let error = Settings::default().set(name, value, false).unwrap_err();
            assert_eq!(error.code().code(), code, "{name} = {value}");
        }
    }

    #[test]
    fn local_values_end_with_the_transaction() {
        let mut settings = Settings::default();
        settings.set("work_mem", "1MB", false).unwrap();
        let before = settings.layers().clone();
        settings.set("work_mem", "2MB", true).unwrap();
        assert_eq!(settings.get("work_mem").as_deref(), Some("2MB"));
        settings.end_transaction();
        assert_eq!(settings.get("work_mem").as_deref(), Some("1MB"));
        settings.set("work_mem", "3MB", false).unwrap();
        settings.restore(before);
        assert_eq!(settings.get("work_mem").as_deref(), Some("1MB"));
    }

    #[test]
    fn identifier_lists_split() {
        assert_eq!(split_identifiers(r#""$user", public,"A ""b""" , C"#), ["$user", "public", "A \"b\"", "c"]);
        assert!(split_identifiers("").is_empty());
    }
}
