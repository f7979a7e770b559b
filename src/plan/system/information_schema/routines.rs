//! routines and parameters: the functions of pg_proc that PostgreSQL has too.

use super::catalog;
use super::columns::Typed;
use crate::plan::Scope;
use crate::plan::system::batch::{Batch, Value};
use crate::plan::system::{data, names, routines as functions};

fn column(name: &str) -> usize {
    data::procs().position(name).unwrap_or_default()
}

/// A function's name with its oid: what the standard calls the specific name.
fn specific_name(row: usize) -> String {
    let table = data::procs();
    format!("{}_{}", table.text(row, column("proname")).unwrap_or_default(), table.oid(row, column("oid")))
}

pub(super) fn routines(scope: &Scope, batch: &mut Batch<'_>) {
    let table = data::procs();
    let (name, returns, kind) = (column("proname"), column("prorettype"), column("prokind"));
    let (strict, volatile) = (column("proisstrict"), column("provolatile"));
    let is_function = |row: &&usize| matches!(table.text(**row, kind), Some("f" | "p"));
    let rows: Vec<usize> = functions::all().rows.iter().filter(is_function).copied().collect();
    batch.rows(rows.len());
    catalog(scope, batch, &["specific_catalog", "routine_catalog", "type_udt_catalog"]);
    for schema in ["specific_schema", "routine_schema", "type_udt_schema"] {
        batch.constant(schema, "pg_catalog");
    }
    batch.column("specific_name", rows.iter().map(|row| specific_name(*row)));
    batch.column("routine_name", rows.iter().map(|row| table.text(*row, name)));
    batch.constant("routine_type", "FUNCTION");
    let typed = |row: &usize| Typed { oid: table.oid(*row, returns), typmod: -1 };
    batch.column("data_type", rows.iter().map(|row| typed(row).data_type(scope)));
    let type_name = |row: &usize| data::type_row(table.oid(*row, returns)).map(|row| row.name);
    batch.column("type_udt_name", rows.iter().map(type_name));
    batch.constant("dtd_identifier", "0");
    batch.constant("routine_body", "EXTERNAL");
    batch.constant("external_language", "INTERNAL");
    batch.constant("parameter_style", "GENERAL");
    let yes_no = |value: bool| if value { "YES" } else { "NO" };
    batch.column("is_deterministic", rows.iter().map(|row| yes_no(table.text(*row, volatile) == Some("i"))));
    batch.constant("sql_data_access", "MODIFIES");
    batch.column("is_null_call", rows.iter().map(|row| yes_no(table.text(*row, strict) == Some("t"))));
    batch.constant("schema_level_routine", "YES");
    batch.constant("max_dynamic_result_sets", 0);
    batch.constant("security_type", "INVOKER");
    for column in ["as_locator", "is_udt_dependent", "result_cast_as_locator"] {
        batch.constant(column, "NO");
    }
}

pub(super) fn parameters(scope: &Scope, batch: &mut Batch<'_>) {
    let table = data::procs();
    let (types, inputs, arg_names) = (column("proallargtypes"), column("proargtypes"), column("proargnames"));
    let modes = column("proargmodes");
    let items = |row: usize, column: usize| -> Vec<&'static str> {
        let text = table.text(row, column).unwrap_or_default();
        let list = text.trim_start_matches('{').trim_end_matches('}');
        list.split([',', ' ']).map(|item| item.trim_matches('"')).collect()
    };
    let mut all: Vec<(usize, usize, u32, &'static str, &'static str)> = Vec::new();
    for &row in &functions::all().rows {
        let oids = if table.text(row, types).is_some() { items(row, types) } else { items(row, inputs) };
        let (names, modes) = (items(row, arg_names), items(row, modes));
        for (index, oid) in oids.iter().enumerate() {
            let Ok(oid) = oid.parse() else { continue };
            let mode = match modes.get(index) {
                Some(&"o" | &"t") => "OUT",
                Some(&"b") => "INOUT",
                _ => "IN",
            };
            all.push((row, index + 1, oid, mode, names.get(index).copied().unwrap_or_default()));
        }
    }
    batch.rows(all.len());
    catalog(scope, batch, &["specific_catalog", "udt_catalog"]);
    batch.constant("specific_schema", "pg_catalog");
    batch.column("specific_name", all.iter().map(|row| specific_name(row.0)));
    batch.column("ordinal_position", all.iter().map(|row| row.1));
    batch.column("parameter_mode", all.iter().map(|row| row.3));
    batch.constant("is_result", "NO");
    batch.constant("as_locator", "NO");
    batch.column(
        "parameter_name",
        all.iter().map(|row| if row.4.is_empty() { Value::Null } else { Value::from(row.4) }),
    );
    batch.column("data_type", all.iter().map(|row| Typed { oid: row.2, typmod: -1 }.data_type(scope)));
    batch.constant("udt_schema", "pg_catalog");
    batch.column(
        "udt_name",
        all.iter()
            .map(|row| names::format_type(scope, row.2, None).map(|_| data::type_row(row.2).map(|t| t.name)))
            .map(Option::flatten),
    );
    batch.column("dtd_identifier", all.iter().map(|row| row.1.to_string()));
}
