//! Schema `tidemill`: what the server itself knows about tables, files, the log, running queries, settings and functions.

use std::collections::HashSet;
use std::sync::Arc;

use tidemill_catalog::record::{Body, Connector, Object, SourceDef};
use tidemill_catalog::snapshot::TableState;
use tidemill_catalog::table::file::FileEntry;

use super::batch::{Batch, Value};
use super::objects::{self, Rel};
use super::privileges::Target;
use super::registry::Fill;
use super::{routines, stats};
use crate::plan::Scope;
use crate::source::Status;

/// The relations: name, columns, what makes their rows. The order gives them their oids: add at the end.
pub(crate) const RELATIONS: &[(&str, &str, Fill)] = &[
    (
        "tables",
        "database name!,schema name!,name name!,oid oid!,kind text!,rows int8!,files int8!,file_bytes int8!,hot_rows int8!,\
         hot_bytes int8!,delta_version int8,flushed_lsn int8!,location text!,time_column name,sort_key _name!,options _text!",
        tables,
    ),
    (
        "files",
        "database name!,schema name!,table name!,table_oid oid!,path text!,rows int8!,bytes int8!,time_column name,\
         time_min text,time_max text,level int4!,sorted_by _name!,lsn_min int8!,lsn_max int8!,created_at timestamptz!",
        files,
    ),
    ("wal", "durable_lsn int8!,oldest_lsn int8!,segments int8!,bytes int8!,syncs int8!,commits int8!", wal),
    (
        "queries",
        "pid int4!,user_name name!,database name!,application_name text!,client_address text,state text!,query text!,\
         started_at timestamptz,elapsed interval,transaction_started_at timestamptz",
        queries,
    ),
    (
        "settings",
        "name text!,value text!,unit text,kind text!,default text!,context text!,source text!,description text!",
        settings,
    ),
    ("functions", "name text!,kind text!,arguments text!,result text,description text,example text", functions),
    ("cache", "bytes int8!,budget_bytes int8!,entries int8!,hits int8!,misses int8!", cache),
    (
        "sources",
        "schema name!,name name!,oid oid!,kind text!,table text!,format text,state text!,rows int8!,dead_letters int8!,\
         files int8!,failed_files int8!,lag int8,partitions jsonb!,last_commit_at timestamptz,last_error text,\
         last_error_at timestamptz,retries int4!,options _text!,comment text",
        sources,
    ),
];

/// The tables of the session's database that the current role may see, with their rows.
fn visible(scope: &Scope) -> Vec<(Rel<'_>, &TableState)> {
    let tables = objects::user_relations(scope).into_iter().filter(|rel| rel.table().is_some());
    let tables = tables.filter(|rel| Target::relation(scope, rel).allows_any(scope, scope.role));
    tables.filter_map(|rel| objects::table_state(scope, rel.oid).map(|state| (rel, state.as_ref()))).collect()
}

fn tables(scope: &Scope, batch: &mut Batch<'_>) {
    let all = visible(scope);
    let sum =
        |state: &TableState, of: fn(&FileEntry) -> u64| state.files.files.iter().map(|file| of(file)).sum::<u64>();
    batch.rows(all.len());
    batch.constant("database", objects::database_name(scope));
    batch.column("schema", all.iter().map(|(rel, _)| rel.schema));
    batch.column("name", all.iter().map(|(rel, _)| rel.name.as_ref()));
    batch.column("oid", all.iter().map(|(rel, _)| rel.oid));
    batch.column("kind", all.iter().map(|(rel, _)| if rel.temporary { "temporary" } else { "table" }));
    batch.column("rows", all.iter().map(|(_, state)| sum(state, |file| file.rows) + objects::hot_size(state).0));
    batch.column("files", all.iter().map(|(_, state)| state.files.files.len()));
    batch.column("file_bytes", all.iter().map(|(_, state)| sum(state, |file| file.bytes)));
    batch.column("hot_rows", all.iter().map(|(_, state)| objects::hot_size(state).0));
    batch.column("hot_bytes", all.iter().map(|(_, state)| objects::hot_size(state).1));
    batch.column("delta_version", all.iter().map(|(_, state)| state.published.version));
    batch.column("flushed_lsn", all.iter().map(|(_, state)| state.published.lsn));
    let location = |rel: &Rel<'_>| {
        if rel.temporary { String::new() } else { scope.instance.store.table_dir(rel.oid).display().to_string() }
    };
    batch.column("location", all.iter().map(|(rel, _)| location(rel)));
    batch.column("time_column", all.iter().map(|(_, state)| state.def.options.time_column.as_ref()));
    batch.column(
        "sort_key",
        all.iter().map(|(_, state)| Value::from(state.def.options.sort_key.iter().collect::<Vec<_>>())),
    );
    batch.column(
        "options",
        all.iter().map(|(_, state)| {
            let given = &state.def.given_options;
            Value::from(given.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>())
        }),
    );
}

fn files(scope: &Scope, batch: &mut Batch<'_>) {
    let tables = visible(scope);
    let all: Vec<(&Rel<'_>, &TableState, &FileEntry)> = tables
        .iter()
        .flat_map(|(rel, state)| state.files.files.iter().map(move |file| (rel, *state, file.as_ref())))
        .collect();
    let stats = |state: &TableState, file: &FileEntry| {
        let column = state.def.column(state.def.options.time_column.as_ref()?)?;
        file.stats.get(&column.physical_name).cloned()
    };
    batch.rows(all.len());
    batch.constant("database", objects::database_name(scope));
    batch.column("schema", all.iter().map(|(rel, ..)| rel.schema));
    batch.column("table", all.iter().map(|(rel, ..)| rel.name.as_ref()));
    batch.column("table_oid", all.iter().map(|(rel, ..)| rel.oid));
    batch.column("path", all.iter().map(|(.., file)| &file.path));
    batch.column("rows", all.iter().map(|(.., file)| file.rows));
    batch.column("bytes", all.iter().map(|(.., file)| file.bytes));
    batch.column("time_column", all.iter().map(|(_, state, _)| state.def.options.time_column.as_ref()));
    batch.column("time_min", all.iter().map(|(_, state, file)| stats(state, file).and_then(|stats| stats.min)));
    batch.column("time_max", all.iter().map(|(_, state, file)| stats(state, file).and_then(|stats| stats.max)));
    batch.column("level", all.iter().map(|(.., file)| file.level));
    batch.column("sorted_by", all.iter().map(|(.., file)| Value::from(file.sorted_by.iter().collect::<Vec<_>>())));
    batch.column("lsn_min", all.iter().map(|(.., file)| file.lsn_min));
    batch.column("lsn_max", all.iter().map(|(.., file)| file.lsn_max));
    batch.column("created_at", all.iter().map(|(.., file)| file.created_ms.saturating_mul(1000)));
}

fn wal(scope: &Scope, batch: &mut Batch<'_>) {
    let status = scope.instance.store.wal_status();
    batch.rows(1);
    batch.constant("durable_lsn", status.durable_lsn);
    batch.constant("oldest_lsn", status.oldest_lsn);
    batch.constant("segments", status.segments);
    batch.constant("bytes", status.bytes);
    batch.constant("syncs", status.syncs);
    batch.constant("commits", status.commits);
}

fn cache(scope: &Scope, batch: &mut Batch<'_>) {
    let status = scope.instance.store.cache().status();
    batch.rows(1);
    batch.constant("bytes", status.bytes);
    batch.constant("budget_bytes", status.budget);
    batch.constant("entries", status.entries);
    batch.constant("hits", status.hits);
    batch.constant("misses", status.misses);
}

/// The sources of the session's database: what was said when they were made, and what they do. Passwords are not shown.
fn sources(scope: &Scope, batch: &mut Batch<'_>) {
    let catalog = &scope.snapshot.catalog;
    let name = |oid| catalog.get(oid).map_or("", |object| object.name.as_str());
    let in_schema = |schema: &Arc<Object>| {
        let sources = catalog.children(schema.oid).filter_map(|object| match &object.body {
            Body::Source(def) => Some((Arc::clone(object), def.clone())),
            _ => None,
        });
        sources.collect::<Vec<_>>()
    };
    let all: Vec<_> = catalog.children(scope.database).flat_map(in_schema).collect();
    let statuses: Vec<Status> =
        all.iter().map(|(object, _)| scope.instance.sources.get(object.oid).unwrap_or_default()).collect();
    let state = |((_, def), status): (&(Arc<Object>, SourceDef), &Status)| match status.state {
        _ if def.paused => "paused",
        "" => "starting",
        state => state,
    };
    batch.rows(all.len());
    batch.column("schema", all.iter().map(|(object, _)| name(object.parent)));
    batch.column("name", all.iter().map(|(object, _)| object.name.as_str()));
    batch.column("oid", all.iter().map(|(object, _)| object.oid));
    let kind = |def: &SourceDef| match &def.connector {
        Connector::Kafka { .. } => "kafka",
        Connector::Files { .. } | Connector::Objects { .. } => "files",
    };
    batch.column("kind", all.iter().map(|(_, def)| kind(def)));
    let table =
        |oid| catalog.get(oid).map_or_else(String::new, |table| format!("{}.{}", name(table.parent), table.name));
    batch.column("table", all.iter().map(|(_, def)| table(def.table)));
    batch.column("format", all.iter().map(|(_, def)| def.format.as_deref()));
    batch.column("state", all.iter().zip(&statuses).map(state));
    batch.column("rows", statuses.iter().map(|status| status.totals.rows));
    batch.column("dead_letters", statuses.iter().map(|status| status.totals.dead_letters));
    batch.column("files", statuses.iter().map(|status| status.totals.files));
    batch.column("failed_files", statuses.iter().map(|status| status.failed_files));
    batch.column("lag", statuses.iter().map(Status::lag));
    batch.column("partitions", statuses.iter().map(|status| status.partitions_json()));
    batch.column("last_commit_at", statuses.iter().map(|status| status.last_commit_at));
    batch.column("last_error", statuses.iter().map(|status| status.last_error.as_ref().map(|(text, _)| text)));
    batch.column("last_error_at", statuses.iter().map(|status| status.last_error.as_ref().map(|(_, at)| *at)));
    batch.column("retries", statuses.iter().map(|status| i64::from(status.retries)));
    batch.column("options", all.iter().map(|(_, def)| Value::from(crate::source::shown(&def.connector))));
    batch.column("comment", all.iter().map(|(object, _)| object.comment.as_deref()));
}

fn queries(scope: &Scope, batch: &mut Batch<'_>) {
    let me = objects::role(scope, scope.role);
    let now = scope.instance.clock.now();
    let mut all = stats::sessions(scope);
    all.retain(|(_, activity)| {
        activity.state == "active" && me.is_some_and(|(object, role)| role.superuser || object.name == activity.user)
    });
    batch.rows(all.len());
    batch.column("pid", all.iter().map(|(handle, _)| handle.pid));
    batch.column("user_name", all.iter().map(|(_, activity)| &activity.user));
    batch.column("database", all.iter().map(|(_, activity)| &activity.database.0));
    batch.column("application_name", all.iter().map(|(_, activity)| &activity.application));
    batch.column(
        "client_address",
        all.iter().map(|(handle, _)| handle.client_address.map(|address| address.to_string())),
    );
    batch.column("state", all.iter().map(|(_, activity)| activity.state));
    batch.column("query", all.iter().map(|(_, activity)| &activity.query));
    batch.column("started_at", all.iter().map(|(_, activity)| activity.query_started_at));
    batch.column("elapsed", all.iter().map(|(_, activity)| now.saturating_sub(activity.query_started_at).max(0)));
    batch.column("transaction_started_at", all.iter().map(|(_, activity)| activity.transaction_started_at));
}

fn settings(scope: &Scope, batch: &mut Batch<'_>) {
    let all = stats::settings(scope);
    batch.rows(all.len());
    batch.column("name", all.iter().map(|setting| &setting.name));
    batch.column("value", all.iter().map(|setting| &setting.value));
    batch.column("unit", all.iter().map(|setting| setting.unit));
    batch.column("kind", all.iter().map(|setting| setting.kind));
    batch.column("default", all.iter().map(|setting| &setting.default));
    batch.column("context", all.iter().map(|setting| setting.context));
    batch.column("source", all.iter().map(|setting| setting.source));
    batch.column("description", all.iter().map(|setting| setting.description));
}

/// A row of tidemill.functions: name, kind, arguments, result, description, example.
type Described = (String, &'static str, String, Option<String>, String, String);

/// Our own functions by their signatures, then those of the engine that have none of them.
fn functions(scope: &Scope, batch: &mut Batch<'_>) {
    let mut all: Vec<Described> = Vec::new();
    let mut known = HashSet::new();
    for info in crate::plan::registry::all_info() {
        known.insert(info.name.to_owned());
        known.extend(info.aliases);
        for signature in &info.signatures {
            let (call, result) = signature.split_once(" → ").unwrap_or((signature, ""));
            let arguments = call.split_once('(').map_or("", |(_, rest)| rest.trim_end_matches(')'));
            let (description, example) = (info.description.to_owned(), info.example.to_owned());
            all.push((
                info.name.to_owned(),
                info.kind,
                arguments.to_owned(),
                Some(result.to_owned()),
                description,
                example,
            ));
        }
    }
    for (name, oid) in routines::callable_oids().filter(|(name, _)| !known.contains(*name)) {
        let kind = match routines::kind(oid) {
            Some("a") => "aggregate",
            Some("w") => "window",
            _ => "scalar",
        };
        let arguments = routines::arguments(oid, false).unwrap_or_default();
        let description = routines::description(oid).unwrap_or_default().to_owned();
        all.push((name.to_owned(), kind, arguments, routines::result(scope, oid), description, String::new()));
    }
    all.sort();
    let or_null = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    batch.rows(all.len());
    batch.column("name", all.iter().map(|row| row.0.as_str()));
    batch.column("kind", all.iter().map(|row| row.1));
    batch.column("arguments", all.iter().map(|row| row.2.as_str()));
    batch.column("result", all.iter().map(|row| row.3.as_deref()));
    batch.column("description", all.iter().map(|row| or_null(&row.4)));
    batch.column("example", all.iter().map(|row| or_null(&row.5)));
}
