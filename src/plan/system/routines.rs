//! pg_proc: functions that can be called here, with PostgreSQL's oids and signatures where PostgreSQL has them, and the
//! input and output functions of types, by which drivers recognise arrays.
//!
//! What can be called is asked of the engine, so that nothing is listed that does not exist: a row of PostgreSQL's
//! pg_proc appears if some function of ours has its name, or if an operator or cast that we list refers to it. Functions that
//! only we have get a row for each signature, those of the engine one each, typed loosely; their oids are made of the name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::LazyLock;

use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::{Signature, TypeSignature};
use tidemill_catalog::Oid;

use super::batch::{Batch, Value};
use super::registry::Fill;
use super::{data, functions, objects, registry, table_functions};
use crate::plan::{PG_CATALOG, Scope};

/// The relations whose rows are made here.
pub(crate) const FILLS: &[(&str, Fill)] = &[("pg_proc", pg_proc)];

/// "any"
const ANY: Oid = 2276;
/// anyelement
const ANY_ELEMENT: Oid = 2283;
/// anyarray
const ANY_ARRAY: Oid = 2277;
/// Oids of functions that PostgreSQL does not have are above this.
const OWN: Oid = 1 << 28;
/// The language `internal`.
const INTERNAL: Oid = 12;

/// A function that only we have.
pub(crate) struct Own {
    /// pg_proc.oid
    pub(crate) oid: Oid,
    /// pg_proc.prokind: `f`, `a`, `w`
    pub(crate) kind: &'static str,
    /// Its arguments, as far as its signature tells.
    pub(crate) arguments: String,
    /// Their types; of those that may be left out too.
    types: Vec<Oid>,
    /// How many may be left out.
    optional: usize,
    /// Its result's type.
    returns: Oid,
    /// Takes any number of further ones.
    variadic: bool,
    /// What it does.
    pub(crate) description: String,
}

/// The functions of pg_proc.
pub(crate) struct Routines {
    /// Rows of PostgreSQL's table that we list.
    pub(crate) rows: Vec<usize>,
    /// Those of them that users can call; the others only serve types, operators and casts.
    callable: HashSet<usize>,
    by_oid: HashMap<Oid, usize>,
    by_name: HashMap<&'static str, Vec<Oid>>,
    /// The others by name, one for each signature.
    pub(crate) own: Vec<(String, Own)>,
}

static ROUTINES: LazyLock<Routines> = LazyLock::new(Routines::new);

/// All functions.
pub(crate) fn all() -> &'static Routines {
    &ROUTINES
}

impl Routines {
    fn new() -> Self {
        let table = data::procs();
        let (oid, name, io) = (position("oid"), position("proname"), position("io"));
        let callable = callable();
        let referenced = referenced();
        let known: HashSet<&str> = (0..table.len()).filter_map(|row| table.text(row, name)).collect();
        let called: HashSet<&str> = callable.iter().map(|(name, _)| name.as_str()).collect();
        let is_callable = |row: &usize| table.text(*row, name).is_some_and(|name| called.contains(name));
        let listed = |row: &usize| {
            is_callable(row) || table.text(*row, io) == Some("t") || referenced.contains(&table.oid(*row, oid))
        };
        let rows: Vec<usize> = (0..table.len()).filter(listed).collect();
        let mut by_name: HashMap<&str, Vec<Oid>> = HashMap::new();
        for row in &rows {
            by_name.entry(table.text(*row, name).unwrap_or_default()).or_default().push(table.oid(*row, oid));
        }
        let callable_rows = rows.iter().filter(|row| is_callable(row)).copied().collect();
        Self {
            callable: callable_rows,
            by_oid: rows.iter().map(|row| (table.oid(*row, oid), *row)).collect(),
            rows,
            by_name,
            own: callable.into_iter().filter(|(name, _)| !known.contains(name.as_str())).collect(),
        }
    }
}

/// The functions that rows of other catalogs refer to: those of operators, casts and aggregates.
fn referenced() -> HashSet<Oid> {
    let column = |table: &'static data::Table, name| {
        let position = table.position(name);
        (0..table.len()).filter_map(move |row| position.map(|position| table.oid(row, position)))
    };
    let operators = ["oprcode", "oprrest", "oprjoin"].into_iter().flat_map(|name| column(data::operators(), name));
    operators.chain(column(data::casts(), "castfunc")).chain(column(data::aggregates(), "aggfnoid")).collect()
}

/// Everything that can be called, by name: our own functions as they describe themselves, the engine's as far as their
/// signatures tell.
fn callable() -> Vec<(String, Own)> {
    let mut all: BTreeMap<String, Vec<Own>> = BTreeMap::new();
    for info in crate::plan::registry::all_info() {
        let kind = match info.kind {
            "aggregate" => "a",
            "window" => "w",
            _ => "f",
        };
        for name in std::iter::once(info.name).chain(info.aliases.iter().map(String::as_str)) {
            let known = all.entry(name.to_owned()).or_default();
            for signature in &info.signatures {
                let oid = if known.is_empty() { own_oid(name) } else { own_oid(&format!("{kind} {name} {signature}")) };
                known.push(described(oid, kind, signature, info.description));
            }
        }
    }
    let mut add = |name: &str, kind, signature: Option<&Signature>, description: &str| {
        let (arguments, count, variadic) = signature.map_or_else(Default::default, |s| describe(&s.type_signature));
        let (oid, types, description) = (own_oid(name), vec![ANY; count], first_sentence(description));
        let own = Own { oid, kind, arguments, types, optional: 0, returns: ANY_ELEMENT, variadic, description };
        all.entry(name.to_owned()).or_insert_with(|| vec![own]);
    };
    let scalar = SessionStateDefaults::default_scalar_functions();
    for function in tidemill_udfs::functions::all_scalar().iter().chain(&scalar) {
        let description = function.documentation().map_or("", |documentation| documentation.description.as_str());
        for name in std::iter::once(function.name()).chain(function.aliases().iter().map(String::as_str)) {
            add(name, "f", Some(function.signature()), description);
        }
    }
    let aggregate = SessionStateDefaults::default_aggregate_functions();
    for function in tidemill_udfs::functions::all_aggregate().iter().chain(&aggregate) {
        let description = function.documentation().map_or("", |documentation| documentation.description.as_str());
        for name in std::iter::once(function.name()).chain(function.aliases().iter().map(String::as_str)) {
            add(name, "a", Some(function.signature()), description);
        }
    }
    for function in SessionStateDefaults::default_window_functions() {
        let description = function.documentation().map_or("", |documentation| documentation.description.as_str());
        add(function.name(), "w", Some(function.signature()), description);
    }
    for name in functions::names().chain(table_functions::NAMES.iter().copied()) {
        add(name, "f", None, "");
    }
    let is_name = |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let all = all.into_iter().filter(|(name, _)| is_name(name));
    all.flat_map(|(name, owns)| owns.into_iter().map(move |own| (name.clone(), own))).collect()
}

/// A function from what it says of itself: `time_bucket(interval, date [, origin date]) → date`.
fn described(oid: Oid, kind: &'static str, signature: &str, description: &str) -> Own {
    let (call, result) = signature.split_once('→').unwrap_or((signature, "anyelement"));
    let arguments = call.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).map_or("", |(inside, _)| inside);
    let (mut texts, mut types, mut optional, mut variadic, mut may_miss) = (vec![], vec![], 0, false, false);
    for part in arguments.replace("[,", ",[").split(',') {
        may_miss = may_miss || part.trim_start().starts_with('[');
        let word = part.trim().trim_start_matches('[').trim_end_matches(']').trim();
        // `int4[]` is an array; a bracket that closes an option is not its.
        let word = if part.trim().ends_with("[]") || part.trim().ends_with("[]]") {
            format!("{word}[]")
        } else {
            word.to_owned()
        };
        let word = word.replace("[[]", "[]");
        if word.is_empty() {
            continue;
        }
        if let Some(rest) = word.strip_prefix("...") {
            variadic = true;
            texts.push(format!("VARIADIC {rest}"));
            types.push(ANY);
            continue;
        }
        // A type, or a name and a type.
        let type_oid = type_oid(&word).or_else(|| word.split_once(' ').and_then(|(_, named)| type_oid(named)));
        types.push(type_oid.unwrap_or(ANY));
        optional += usize::from(may_miss);
        texts.push(if may_miss { format!("{word} DEFAULT NULL") } else { word });
    }
    let returns = type_oid(result.trim()).unwrap_or(ANY_ELEMENT);
    let (arguments, description) = (texts.join(", "), first_sentence(description));
    Own { oid, kind, arguments, types, optional, returns, variadic, description }
}

fn type_oid(name: &str) -> Option<Oid> {
    match name {
        "anyelement" | "same" => Some(ANY_ELEMENT),
        "anyarray" => Some(ANY_ARRAY),
        "any" => Some(ANY),
        _ => tidemill_udfs::types::SqlType::parse(name).ok().map(|sql_type| sql_type.oid()),
    }
}

fn first_sentence(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    line.split_inclusive(". ").next().unwrap_or_default().trim_end().to_owned()
}

/// Arguments of a signature as far as they can be told: text, number, whether more may follow.
fn describe(signature: &TypeSignature) -> (String, usize, bool) {
    match signature {
        TypeSignature::Exact(types) => {
            let names: Vec<String> =
                types.iter().map(|t| tidemill_udfs::types::SqlType::of_data_type(t).name()).collect();
            (names.join(", "), names.len(), false)
        }
        TypeSignature::Uniform(count, _)
        | TypeSignature::Any(count)
        | TypeSignature::String(count)
        | TypeSignature::Numeric(count)
        | TypeSignature::Comparable(count) => (vec!["\"any\""; *count].join(", "), *count, false),
        TypeSignature::Coercible(types) => (vec!["\"any\""; types.len()].join(", "), types.len(), false),
        TypeSignature::OneOf(signatures) => signatures.first().map_or_else(Default::default, describe),
        TypeSignature::Nullary => (String::new(), 0, false),
        _ => ("VARIADIC \"any\"".to_owned(), 1, true),
    }
}

/// An oid made of a function's name: the same in every version.
fn own_oid(name: &str) -> Oid {
    let hash = name.bytes().fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    OWN | (hash & (OWN - 1))
}

fn position(name: &str) -> usize {
    data::procs().position(name).expect("pg_proc.tsv has this column")
}

/// The oids of functions of that name.
pub(crate) fn named(name: &str) -> Vec<Oid> {
    let routines = all();
    let own = routines.own.iter().filter(|(known, _)| known == name).map(|(_, own)| own.oid);
    routines.by_name.get(name).cloned().unwrap_or_default().into_iter().chain(own).collect()
}

/// A function's name.
pub(crate) fn name(oid: Oid) -> Option<&'static str> {
    match all().by_oid.get(&oid) {
        Some(row) => data::procs().text(*row, position("proname")),
        None => own(oid).map(|(name, _)| name),
    }
}

fn own(oid: Oid) -> Option<(&'static str, &'static Own)> {
    if oid & OWN == 0 {
        return None;
    }
    all().own.iter().find(|(_, own)| own.oid == oid).map(|(name, own)| (name.as_str(), own))
}

/// The types of a function's inputs.
pub(crate) fn argument_types(oid: Oid) -> Option<Vec<Oid>> {
    let Some(row) = all().by_oid.get(&oid) else { return own(oid).map(|(_, own)| own.types.clone()) };
    let types = data::procs().text(*row, position("proargtypes")).unwrap_or_default();
    Some(types.split_whitespace().filter_map(|oid| oid.parse().ok()).collect())
}

/// pg_get_function_arguments; without defaults if `identity`.
pub(crate) fn arguments(oid: Oid, identity: bool) -> Option<String> {
    let Some(row) = all().by_oid.get(&oid) else { return own(oid).map(|(_, own)| own.arguments.clone()) };
    let text = data::value(&arrow::datatypes::DataType::Utf8View, data::procs().text(*row, position("arguments")));
    let Value::Text(text) = text else { return Some(String::new()) };
    if !identity {
        return Some(text.into_owned());
    }
    let inputs = text.split(", ").filter(|argument| !argument.starts_with("OUT "));
    Some(inputs.map(|argument| argument.split(" DEFAULT ").next().unwrap_or_default()).collect::<Vec<_>>().join(", "))
}

/// pg_get_function_result
pub(crate) fn result(scope: &Scope, oid: Oid) -> Option<String> {
    let Some(row) = all().by_oid.get(&oid) else {
        return super::names::format_type(scope, own(oid)?.1.returns, None);
    };
    let table = data::procs();
    let returns = super::names::format_type(scope, table.oid(*row, position("prorettype")), None)?;
    let is_set = table.text(*row, position("proretset")) == Some("t");
    Some(if is_set { format!("SETOF {returns}") } else { returns })
}

/// What PostgreSQL's own text of a function would say: pg_get_functiondef.
pub(crate) fn definition(scope: &Scope, oid: Oid) -> Option<String> {
    let (name, arguments, result) = (name(oid)?, arguments(oid, false)?, result(scope, oid)?);
    let source = all().by_oid.get(&oid).and_then(|row| data::procs().text(*row, position("prosrc"))).unwrap_or(name);
    Some(format!(
        "CREATE OR REPLACE FUNCTION pg_catalog.{}({arguments})\n RETURNS {result}\n LANGUAGE internal\nAS $function${source}$function$\n",
        super::names::quote_ident(name)
    ))
}

/// pg_proc.prokind
pub(crate) fn kind(oid: Oid) -> Option<&'static str> {
    match all().by_oid.get(&oid) {
        Some(row) => data::procs().text(*row, position("prokind")),
        None => own(oid).map(|(_, own)| own.kind),
    }
}

/// Name and oid of everything that users can call.
pub(crate) fn callable_oids() -> impl Iterator<Item = (&'static str, Oid)> {
    let table = data::procs();
    let (oid, name) = (position("oid"), position("proname"));
    let known = all().rows.iter().filter(|row| all().callable.contains(*row));
    let known = known.filter_map(move |row| Some((table.text(*row, name)?, table.oid(*row, oid))));
    known.chain(all().own.iter().map(|(name, own)| (name.as_str(), own.oid)))
}

/// What a function does.
pub(crate) fn description(oid: Oid) -> Option<&'static str> {
    match all().by_oid.get(&oid) {
        Some(row) => data::procs().text(*row, position("description")),
        None => own(oid).map(|(_, own)| own.description.as_str()).filter(|text| !text.is_empty()),
    }
}

/// Oid and text of the functions that are described.
pub(crate) fn descriptions() -> impl Iterator<Item = (Oid, &'static str)> {
    let table = data::procs();
    let (oid, description) = (position("oid"), position("description"));
    let known = all().rows.iter().filter_map(move |row| Some((table.oid(*row, oid), table.text(*row, description)?)));
    let own = all().own.iter().map(|(_, own)| own).filter(|own| !own.description.is_empty());
    known.chain(own.map(|own| (own.oid, own.description.as_str())))
}

fn pg_proc(scope: &Scope, batch: &mut Batch<'_>) {
    let definition = registry::find("pg_catalog", "pg_proc").expect("relations.tsv has pg_proc");
    let (table, routines) = (data::procs(), all());
    batch.rows(routines.rows.len() + routines.own.len());
    let mut column = |name: &str, own: &dyn Fn(&'static str, &'static Own) -> Value<'static>| {
        let data_type = definition.position(name).map(|index| definition.schema.field(index).data_type());
        let (Some(data_type), Some(position)) = (data_type, table.position(name)) else { return };
        let known = routines.rows.iter().map(|row| data::value(data_type, table.text(*row, position)));
        batch.column(name, known.chain(routines.own.iter().map(|(name, function)| own(name, function))));
    };
    column("oid", &|_, own| Value::from(own.oid));
    column("proname", &|name, _| Value::from(name));
    column("provariadic", &|_, own| Value::from(if own.variadic { ANY } else { 0 }));
    column("prokind", &|_, own| Value::from(own.kind));
    column("proleakproof", &|_, _| Value::from(false));
    column("proisstrict", &|_, _| Value::from(false));
    column("proretset", &|_, _| Value::from(false));
    column("provolatile", &|_, _| Value::from("i"));
    column("proparallel", &|_, _| Value::from("s"));
    column("pronargs", &|_, own| Value::from(own.types.len()));
    column("pronargdefaults", &|_, own| Value::from(own.optional));
    column("prorettype", &|_, own| Value::from(own.returns));
    column("proargtypes", &|_, own| Value::from(own.types.clone()));
    for name in ["proallargtypes", "proargmodes", "proargnames"] {
        column(name, &|_, _| Value::Null);
    }
    let (name, source) = (position("proname"), position("prosrc"));
    let sources = routines.rows.iter().map(|row| table.text(*row, source).or(table.text(*row, name)));
    batch.column("prosrc", sources.chain(routines.own.iter().map(|(name, _)| Some(name.as_str()))));
    batch.constant("pronamespace", PG_CATALOG);
    batch.constant("proowner", objects::bootstrap_role(scope));
    batch.constant("prolang", INTERNAL);
    batch.constant("procost", 1);
}
