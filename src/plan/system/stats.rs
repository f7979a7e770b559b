//! What happens now: sessions, settings, sizes and counts of tables, time zones.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use chrono::{Offset, TimeZone};
use chrono_tz::{OffsetComponents, OffsetName, TZ_VARIANTS};

use super::batch::{Batch, Value};
use super::functions::admin::advisory_locks;
use super::objects::{self, Kind, Rel};
use super::registry::Fill;
use crate::instance::{Activity, SessionHandle};
use crate::plan::Scope;
use crate::session::settings::SettingInfo;

/// The relations whose rows are made here.
pub(crate) const FILLS: &[(&str, Fill)] = &[
    ("pg_stat_activity", pg_stat_activity),
    ("pg_stat_progress_copy", pg_stat_progress_copy),
    ("pg_locks", pg_locks),
    ("pg_prepared_statements", pg_prepared_statements),
    ("pg_cursors", pg_cursors),
    ("pg_settings", pg_settings),
    ("pg_stat_all_tables", |scope, batch| stat_tables(scope, batch, true, true)),
    ("pg_stat_user_tables", |scope, batch| stat_tables(scope, batch, false, true)),
    ("pg_stat_sys_tables", |scope, batch| stat_tables(scope, batch, true, false)),
    ("pg_statio_all_tables", |scope, batch| stat_tables(scope, batch, true, true)),
    ("pg_statio_user_tables", |scope, batch| stat_tables(scope, batch, false, true)),
    ("pg_statio_sys_tables", |scope, batch| stat_tables(scope, batch, true, false)),
    ("pg_stat_database", pg_stat_database),
    ("pg_stat_archiver", one_row),
    ("pg_stat_bgwriter", one_row),
    ("pg_stat_wal", pg_stat_wal),
    ("pg_timezone_names", pg_timezone_names),
];

/// A view of counters of which we keep none.
fn one_row(_: &Scope, batch: &mut Batch<'_>) {
    batch.rows(1).zeros();
}

fn pg_stat_wal(scope: &Scope, batch: &mut Batch<'_>) {
    let status = scope.instance.store.wal_status();
    batch.rows(1);
    batch.constant("wal_records", status.commits);
    batch.constant("wal_bytes", Value::Null);
    batch.constant("wal_write", status.syncs);
    batch.constant("wal_sync", status.syncs);
    batch.zeros();
}

/// The connected clients with what each does now, by process id.
pub(crate) fn sessions(scope: &Scope) -> Vec<(Arc<SessionHandle>, Activity)> {
    let handles: Vec<Arc<SessionHandle>> = scope.instance.sessions.lock().values().map(Arc::clone).collect();
    handles
        .into_iter()
        .map(|handle| {
            let activity = handle.activity.lock().clone();
            (handle, activity)
        })
        .collect()
}

fn pg_prepared_statements(scope: &Scope, batch: &mut Batch<'_>) {
    let listing = Arc::clone(&scope.handle.activity.lock().listing);
    let all = listing.lock().statements.clone();
    batch.rows(all.len());
    batch.column("name", all.keys());
    batch.column("statement", all.values().map(|statement| statement.text.as_ref()));
    batch.column("prepare_time", all.values().map(|statement| statement.prepared_at));
    batch.column("parameter_types", all.values().map(|statement| statement.parameters.clone()));
    batch.column("from_sql", all.values().map(|statement| statement.from_sql));
    batch.constant("generic_plans", 0_i64);
    batch.constant("custom_plans", 0_i64);
}

fn pg_cursors(scope: &Scope, batch: &mut Batch<'_>) {
    let listing = Arc::clone(&scope.handle.activity.lock().listing);
    let all = listing.lock().cursors.clone();
    batch.rows(all.len());
    batch.column("name", all.keys());
    batch.column("statement", all.values().map(|cursor| cursor.text.as_ref()));
    batch.column("is_holdable", all.values().map(|cursor| cursor.hold));
    batch.constant("is_binary", false);
    batch.column("is_scrollable", all.values().map(|cursor| cursor.scroll));
    batch.column("creation_time", all.values().map(|cursor| cursor.opened_at));
}

fn pg_stat_activity(scope: &Scope, batch: &mut Batch<'_>) {
    let all = sessions(scope);
    let me = objects::role(scope, scope.role);
    // Others' statements are secret to all but superusers, as in PostgreSQL.
    let may_see = |activity: &Activity| me.is_some_and(|(object, role)| role.superuser || object.name == activity.user);
    batch.rows(all.len());
    batch.column("datid", all.iter().map(|(_, activity)| activity.database.1));
    batch.column("datname", all.iter().map(|(_, activity)| &activity.database.0));
    batch.column("pid", all.iter().map(|(handle, _)| handle.pid));
    let role = |activity: &Activity| objects::role_named(scope, &activity.user).map(|role| role.oid);
    batch.column("usesysid", all.iter().map(|(_, activity)| role(activity)));
    batch.column("usename", all.iter().map(|(_, activity)| &activity.user));
    batch.column("application_name", all.iter().map(|(_, activity)| &activity.application));
    batch.column(
        "client_addr",
        all.iter().map(|(handle, _)| handle.client_address.map(|address| address.ip().to_string())),
    );
    batch.column(
        "client_port",
        all.iter().map(|(handle, _)| handle.client_address.map(|address| i32::from(address.port()))),
    );
    batch.column("backend_start", all.iter().map(|(handle, _)| handle.started_at));
    batch.column(
        "xact_start",
        all.iter().map(|(_, activity)| activity.transaction_started_at.filter(|_| may_see(activity))),
    );
    let begun = |at: i64| (at != 0).then_some(at);
    batch.column(
        "query_start",
        all.iter().map(|(_, activity)| begun(activity.query_started_at).filter(|_| may_see(activity))),
    );
    batch.column(
        "state_change",
        all.iter().map(|(_, activity)| begun(activity.state_changed_at).filter(|_| may_see(activity))),
    );
    let waits = |activity: &Activity| activity.state.starts_with("idle");
    batch.column("wait_event_type", all.iter().map(|(_, activity)| waits(activity).then_some("Client")));
    batch.column("wait_event", all.iter().map(|(_, activity)| waits(activity).then_some("ClientRead")));
    batch.column(
        "state",
        all.iter().map(|(_, activity)| Some(activity.state).filter(|state| may_see(activity) && !state.is_empty())),
    );
    batch.column(
        "query",
        all.iter().map(
            |(_, activity)| {
                if may_see(activity) { activity.query.as_str() } else { "<insufficient privilege>" }
            },
        ),
    );
    batch.constant("backend_type", "client backend");
}

fn pg_stat_progress_copy(scope: &Scope, batch: &mut Batch<'_>) {
    let all: Vec<_> = sessions(scope)
        .into_iter()
        .filter_map(|(handle, activity)| Some((handle.pid, activity.copy.clone()?, activity)))
        .collect();
    let me = objects::role(scope, scope.role);
    // As PostgreSQL: which database is no secret, what happens there is.
    let may_see = |activity: &Activity| me.is_some_and(|(object, role)| role.superuser || object.name == activity.user);
    let number = |counter: &AtomicU64| i64::try_from(counter.load(Relaxed)).unwrap_or(i64::MAX);
    batch.rows(all.len());
    batch.column("pid", all.iter().map(|(pid, ..)| *pid));
    batch.column("datid", all.iter().map(|(_, _, activity)| activity.database.1));
    batch.column("datname", all.iter().map(|(_, _, activity)| &activity.database.0));
    let seen = || all.iter().map(|(_, copy, activity)| Some(copy).filter(|_| may_see(activity)));
    batch.column("relid", seen().map(|copy| copy.map(|copy| copy.relation)));
    batch.column("command", seen().map(|copy| copy.map(|copy| copy.command)));
    batch.column("type", seen().map(|copy| copy.map(|copy| copy.kind)));
    batch.column("bytes_processed", seen().map(|copy| copy.map(|copy| number(&copy.bytes))));
    batch.column("bytes_total", seen().map(|copy| copy.map(|copy| number(&copy.bytes_total))));
    batch.column("tuples_processed", seen().map(|copy| copy.map(|copy| number(&copy.rows))));
    batch.column("tuples_excluded", seen().map(|copy| copy.map(|copy| number(&copy.rows_excluded))));
}

/// Advisory locks: there are no others that a session could wait for.
fn pg_locks(_: &Scope, batch: &mut Batch<'_>) {
    let all = advisory_locks();
    batch.rows(all.len());
    batch.constant("locktype", "advisory");
    batch.column("database", all.iter().map(|lock| lock.database));
    batch.column("classid", all.iter().map(|lock| lock.class));
    batch.column("objid", all.iter().map(|lock| lock.object));
    batch.column("objsubid", all.iter().map(|lock| lock.keys));
    batch.column("pid", all.iter().map(|lock| lock.pid));
    batch.constant("mode", "ExclusiveLock");
    batch.constant("granted", true);
    batch.constant("fastpath", false);
}

/// Every setting of the session as it is now.
pub(crate) fn settings(scope: &Scope) -> Vec<SettingInfo> {
    scope.settings.lock().all()
}

/// pg_settings, also as pg_show_all_settings().
pub(crate) fn pg_settings(scope: &Scope, batch: &mut Batch<'_>) {
    let all = settings(scope);
    batch.rows(all.len());
    batch.column("name", all.iter().map(|setting| &setting.name));
    batch.column("setting", all.iter().map(|setting| &setting.raw));
    batch.column("unit", all.iter().map(|setting| setting.unit));
    batch.column("category", all.iter().map(category));
    batch.column("short_desc", all.iter().map(|setting| setting.description));
    batch.column("context", all.iter().map(|setting| setting.context));
    batch.column("vartype", all.iter().map(|setting| setting.kind));
    batch.column("source", all.iter().map(|setting| setting.source));
    batch.column("enumvals", all.iter().map(|setting| setting.choices.map(|choices| choices.to_vec())));
    batch.column("boot_val", all.iter().map(|setting| &setting.default));
    batch.column("reset_val", all.iter().map(|setting| &setting.default));
    batch.constant("pending_restart", false);
}

fn category(setting: &SettingInfo) -> &'static str {
    if setting.name.starts_with("tidemill.") {
        "Tidemill"
    } else if setting.context == "internal" {
        "Preset Options"
    } else {
        "Client Connection Defaults / Statement Behavior"
    }
}

fn stat_tables(scope: &Scope, batch: &mut Batch<'_>, system: bool, user: bool) {
    let wanted = |rel: &Rel<'_>| match rel.kind {
        Kind::Table(_) => user,
        Kind::System(relation) => system && relation.kind == "r",
        Kind::View(_) | Kind::Index(..) | Kind::Sequence(_) => false,
    };
    let all: Vec<Rel<'_>> = objects::relations(scope).into_iter().filter(wanted).collect();
    batch.rows(all.len());
    batch.column("relid", all.iter().map(|rel| rel.oid));
    batch.column("schemaname", all.iter().map(|rel| rel.schema));
    batch.column("relname", all.iter().map(|rel| rel.name.as_ref()));
    if batch.has("n_live_tup") {
        batch.column("n_live_tup", all.iter().map(|rel| objects::table_size(scope, rel.oid).0));
    }
    for column in ["idx_scan", "idx_tup_fetch", "idx_blks_read", "idx_blks_hit"] {
        if !batch.has(column) {
            continue;
        }
        batch.constant(column, Value::Null);
    }
    batch.zeros();
}

fn pg_stat_database(scope: &Scope, batch: &mut Batch<'_>) {
    let all: Vec<_> = objects::databases(scope).collect();
    let sessions = sessions(scope);
    let here = |oid: u32| sessions.iter().filter(|(_, activity)| activity.database.1 == oid).count();
    batch.rows(all.len());
    batch.column("datid", all.iter().map(|object| object.oid));
    batch.column("datname", all.iter().map(|object| &object.name));
    batch.column("numbackends", all.iter().map(|object| here(object.oid)));
    batch.zeros();
}

fn pg_timezone_names(scope: &Scope, batch: &mut Batch<'_>) {
    let seconds = scope.statement_at.div_euclid(1_000_000);
    let now = chrono::DateTime::from_timestamp(seconds, 0).unwrap_or_default().naive_utc();
    let all: Vec<_> = TZ_VARIANTS.iter().map(|zone| (zone, zone.offset_from_utc_datetime(&now))).collect();
    batch.rows(all.len());
    batch.column("name", all.iter().map(|(zone, _)| zone.name()));
    batch.column(
        "abbrev",
        all.iter().map(|(_, offset)| match offset.abbreviation() {
            Some(name) => name.to_owned(),
            None => offset.fix().to_string(),
        }),
    );
    batch.column("utc_offset", all.iter().map(|(_, offset)| i64::from(offset.fix().local_minus_utc()) * 1_000_000));
    batch.column("is_dst", all.iter().map(|(_, offset)| !offset.dst_offset().is_zero()));
}
