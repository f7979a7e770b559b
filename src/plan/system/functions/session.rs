//! The session and the server: who and where one is, settings, time of start, transaction numbers.

use super::{Call, Function, function};
use crate::error::{Error, Result, SqlState};
use crate::plan::system::batch::Value;
use crate::plan::system::objects;
use crate::session::notifications::Notification;

pub(super) const FUNCTIONS: &[Function] = &[
    function("version", 0, 0, "text", version),
    function("current_user", 0, 0, "name", current_user),
    function("user", 0, 0, "name", current_user),
    function("current_role", 0, 0, "name", current_user),
    function("session_user", 0, 0, "name", |call| Ok(role_name(call, call.scope.session_role))),
    function("current_database", 0, 0, "name", current_database),
    function("current_catalog", 0, 0, "name", current_database),
    function("current_schema", 0, 0, "name", current_schema),
    function("current_schemas", 1, 1, "name[]", current_schemas),
    function("current_setting", 1, 2, "text", current_setting),
    function("set_config", 3, 3, "text", set_config).volatile().lenient(),
    function("pg_notify", 2, 2, "void", pg_notify).volatile().lenient(),
    function("pg_listening_channels", 0, 0, "text[]", |call| {
        Ok(call.scope.instance.notifications.channels(call.scope.handle.pid).into())
    }),
    function("pg_notification_queue_usage", 0, 0, "float8", |call| {
        Ok(call.scope.instance.notifications.usage().into())
    }),
    function("current_query", 0, 0, "text", |call| Ok(call.scope.handle.activity.lock().query.clone().into())),
    function("pg_backend_pid", 0, 0, "int4", |call| Ok(call.scope.handle.pid.into())),
    function("pg_postmaster_start_time", 0, 0, "timestamptz", |call| Ok(call.scope.instance.started_at.into())),
    function("pg_conf_load_time", 0, 0, "timestamptz", |call| Ok(call.scope.instance.started_at.into())),
    function("inet_client_addr", 0, 0, "text", |call| {
        Ok(call.scope.handle.client_address.map(|address| address.ip().to_string()).into())
    }),
    function("inet_client_port", 0, 0, "int4", |call| {
        Ok(call.scope.handle.client_address.map(|address| i32::from(address.port())).into())
    }),
    function("inet_server_addr", 0, 0, "text", |call| {
        let address = call.scope.handle.client_address.map(|_| call.scope.instance.config.pg_listen.ip().to_string());
        Ok(address.into())
    }),
    function("inet_server_port", 0, 0, "int4", |call| {
        let port = call.scope.handle.client_address.map(|_| i32::from(call.scope.instance.config.pg_listen.port()));
        Ok(port.into())
    }),
    function("pg_is_in_recovery", 0, 0, "bool", |_| Ok(false.into())),
    function("pg_is_wal_replay_paused", 0, 0, "bool", |_| Ok(false.into())),
    function("pg_my_temp_schema", 0, 0, "oid", |call| {
        Ok(objects::temporary_schema(call.scope).map_or(0, |schema| schema.oid).into())
    }),
    function("pg_is_other_temp_schema", 1, 1, "bool", |_| Ok(false.into())),
    function("txid_current", 0, 0, "int8", transaction),
    function("txid_current_if_assigned", 0, 0, "int8", assigned),
    function("pg_current_xact_id", 0, 0, "text", transaction),
    function("pg_current_xact_id_if_assigned", 0, 0, "text", assigned),
    function("pg_current_wal_lsn", 0, 0, "text", wal_position),
    function("pg_current_wal_insert_lsn", 0, 0, "text", wal_position),
    function("pg_current_wal_flush_lsn", 0, 0, "text", wal_position),
    function("pg_last_wal_receive_lsn", 0, 0, "text", |_| Ok(Value::Null)),
    function("pg_last_wal_replay_lsn", 0, 0, "text", |_| Ok(Value::Null)),
    function("pg_export_snapshot", 0, 0, "text", |_| Err(Error::unsupported("exporting snapshots is not supported")))
        .volatile(),
    function("pg_jit_available", 0, 0, "bool", |_| Ok(false.into())),
    function("pg_blocking_pids", 1, 1, "int4[]", |_| Ok(Value::List(Vec::new()))),
    function("pg_listening_channels", 0, 0, "text[]", |_| Ok(Value::List(Vec::new()))),
    function("pg_encoding_to_char", 1, 1, "name", encoding_to_char),
    function("pg_char_to_encoding", 1, 1, "int4", char_to_encoding),
    function("getdatabaseencoding", 0, 0, "name", |_| Ok("UTF8".into())),
    function("pg_client_encoding", 0, 0, "name", |call| {
        Ok(call.scope.settings.lock().get("client_encoding").unwrap_or_else(|| "UTF8".to_owned()).into())
    }),
];

/// `PostgreSQL 15.x (Tidemill y) on …`: drivers read the number after the first word.
fn version(call: &Call<'_>) -> Result<Value<'static>> {
    let setting = call.scope.settings.lock().get("server_version").unwrap_or_else(|| "15.0".to_owned());
    let number = setting.split_whitespace().next().unwrap_or("15.0");
    let (release, arch, system) = (env!("CARGO_PKG_VERSION"), std::env::consts::ARCH, std::env::consts::OS);
    Ok(format!("PostgreSQL {number} (Tidemill {release}) on {arch}-{system}, compiled by rustc, {}-bit", usize::BITS)
        .into())
}

fn role_name(call: &Call<'_>, role: u32) -> Value<'static> {
    objects::role_name(call.scope, role).into_owned().into()
}

fn current_user(call: &Call<'_>) -> Result<Value<'static>> {
    Ok(role_name(call, call.scope.role))
}

fn current_database(call: &Call<'_>) -> Result<Value<'static>> {
    Ok(objects::database_name(call.scope).to_owned().into())
}

fn current_schema(call: &Call<'_>) -> Result<Value<'static>> {
    Ok(objects::search_path(call.scope, false).first().map(|(_, name)| (*name).to_owned()).into())
}

fn current_schemas(call: &Call<'_>) -> Result<Value<'static>> {
    let path = objects::search_path(call.scope, call.boolean(0).unwrap_or(false));
    Ok(path.iter().map(|(_, name)| (*name).to_owned()).collect::<Vec<_>>().into())
}

fn current_setting(call: &Call<'_>) -> Result<Value<'static>> {
    let name = call.text(0).unwrap_or_default();
    match call.scope.settings.lock().get(name) {
        Some(value) => Ok(value.into()),
        None if call.boolean(1) == Some(true) => Ok(Value::Null),
        None => {
            let message = format!("unrecognized configuration parameter \"{name}\"");
            Err(Error::new(SqlState::UNDEFINED_OBJECT, message))
        }
    }
}

fn set_config(call: &Call<'_>) -> Result<Value<'static>> {
    let Some(name) = call.text(0) else {
        return Err(Error::new(SqlState::NULL_VALUE_NOT_ALLOWED, "SET requires parameter name"));
    };
    if let Some(value) = call.text(1) {
        let (catalog, session) = (&call.scope.snapshot.catalog, call.scope.session_role);
        crate::plan::rights::check_identity(catalog, name, value, session, session)?;
    }
    let mut settings = call.scope.settings.lock();
    match call.text(1) {
        Some(value) => settings.set(name, value, call.boolean(2).unwrap_or(false))?,
        None => {
            // NULL resets the setting.
            let default = settings.all().into_iter().find(|setting| setting.name.eq_ignore_ascii_case(name));
            let default = default.map(|setting| setting.default).unwrap_or_default();
            settings.set(name, &default, call.boolean(2).unwrap_or(false))?;
        }
    }
    Ok(settings.get(name).into())
}

/// Sends when the transaction commits. NULL is an empty text.
fn pg_notify(call: &Call<'_>) -> Result<Value<'static>> {
    let (channel, payload) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
    call.scope.handle.outbox.lock().notify(Notification::new(channel, payload)?)?;
    Ok("".into())
}

/// The transaction's number, given to it now if it has none.
fn transaction(call: &Call<'_>) -> Result<Value<'static>> {
    Ok((*call.scope.transaction.get_or_init(|| call.scope.instance.next_transaction())).into())
}

/// The transaction's number, if it has one.
fn assigned(call: &Call<'_>) -> Result<Value<'static>> {
    Ok(call.scope.transaction.get().copied().into())
}

/// The log's position in pg_lsn's text form.
fn wal_position(call: &Call<'_>) -> Result<Value<'static>> {
    let lsn = call.scope.instance.store.wal_status().durable_lsn;
    Ok(format!("{:X}/{:X}", lsn >> 32, lsn & 0xFFFF_FFFF).into())
}

/// PostgreSQL's encodings by number.
const ENCODINGS: [&str; 42] = [
    "SQL_ASCII",
    "EUC_JP",
    "EUC_CN",
    "EUC_KR",
    "EUC_TW",
    "EUC_JIS_2004",
    "UTF8",
    "MULE_INTERNAL",
    "LATIN1",
    "LATIN2",
    "LATIN3",
    "LATIN4",
    "LATIN5",
    "LATIN6",
    "LATIN7",
    "LATIN8",
    "LATIN9",
    "LATIN10",
    "WIN1256",
    "WIN1258",
    "WIN866",
    "WIN874",
    "KOI8R",
    "WIN1251",
    "WIN1252",
    "ISO_8859_5",
    "ISO_8859_6",
    "ISO_8859_7",
    "ISO_8859_8",
    "WIN1250",
    "WIN1253",
    "WIN1254",
    "WIN1255",
    "WIN1257",
    "KOI8U",
    "SJIS",
    "BIG5",
    "GBK",
    "UHC",
    "GB18030",
    "JOHAB",
    "SHIFT_JIS_2004",
];

fn encoding_to_char(call: &Call<'_>) -> Result<Value<'static>> {
    let number = call.int(0).and_then(|number| usize::try_from(number).ok());
    Ok(number.and_then(|number| ENCODINGS.get(number)).map_or("", |name| *name).into())
}

fn char_to_encoding(call: &Call<'_>) -> Result<Value<'static>> {
    let plain = |name: &str| name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_uppercase();
    let name = plain(call.text(0).unwrap_or_default());
    let name = if name == "UNICODE" { "UTF8".to_owned() } else { name };
    let found = ENCODINGS.iter().position(|encoding| plain(encoding) == name);
    Ok(found.and_then(|number| i64::try_from(number).ok()).unwrap_or(-1).into())
}
