//! Objects in words: names, types, definitions, comments, visibility.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int32Array, ListArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields};
use tidemill_catalog::Oid;

use super::{Call, Function, function};
use crate::error::{Error, Result};
use crate::plan::Scope;
use crate::plan::system::batch::{Value, array};
use crate::plan::system::objects::{self, Kind, Rel};
use crate::plan::system::relations::{self, class};
use crate::plan::system::{data, definitions, names, routines, signatures, user_types};

pub(super) const FUNCTIONS: &[Function] = &[
    function("format_type", 2, 2, "text", format_type).lenient(),
    function("pg_get_expr", 2, 3, "text", |call| Ok(call.text(0).map(str::to_owned).into())),
    function("pg_get_viewdef", 1, 2, "text", viewdef),
    function("pg_get_constraintdef", 1, 2, "text", constraintdef),
    function("pg_get_indexdef", 1, 3, "text", indexdef),
    function("pg_get_ruledef", 1, 2, "text", ruledef),
    function("pg_get_triggerdef", 1, 2, "text", |_| Ok(Value::Null)),
    function("pg_get_partkeydef", 1, 1, "text", |_| Ok(Value::Null)),
    function("pg_get_partition_constraintdef", 1, 1, "text", |_| Ok(Value::Null)),
    function("pg_get_statisticsobjdef", 1, 1, "text", |_| Ok(Value::Null)),
    function("pg_get_statisticsobjdef_columns", 1, 1, "text", |_| Ok(Value::Null)),
    function("pg_get_functiondef", 1, 1, "text", functiondef),
    function("pg_get_function_arguments", 1, 1, "text", |call| Ok(routines::arguments(call.oid(0)?, false).into())),
    function("pg_get_function_identity_arguments", 1, 1, "text", |call| {
        Ok(routines::arguments(call.oid(0)?, true).into())
    }),
    function("pg_get_function_result", 1, 1, "text", |call| Ok(routines::result(call.scope, call.oid(0)?).into())),
    function("pg_get_function_arg_default", 2, 2, "text", |_| Ok(Value::Null)),
    function("pg_get_function_sqlbody", 1, 1, "text", |_| Ok(Value::Null)),
    function("pg_get_userbyid", 1, 1, "name", |call| {
        Ok(objects::role_name(call.scope, call.oid(0)?).into_owned().into())
    }),
    function("pg_get_replica_identity_index", 1, 1, "regclass", |_| Ok(Value::Null)),
    function("obj_description", 1, 2, "text", obj_description),
    function("col_description", 2, 2, "text", col_description),
    function("shobj_description", 2, 2, "text", shobj_description),
    function("pg_describe_object", 3, 3, "text", describe_object),
    function("pg_table_is_visible", 1, 1, "bool", table_is_visible),
    function("pg_type_is_visible", 1, 1, "bool", type_is_visible),
    function("pg_function_is_visible", 1, 1, "bool", |call| {
        let oid = call.oid(0)?;
        Ok(routines::name(oid).map(|_| names::system_is_visible(call.scope)).into())
    }),
    function("pg_operator_is_visible", 1, 1, "bool", |call| known(call, data::operators())),
    function("pg_opclass_is_visible", 1, 1, "bool", |call| known(call, data::opclasses())),
    function("pg_opfamily_is_visible", 1, 1, "bool", |call| known(call, data::opfamilies())),
    function("pg_collation_is_visible", 1, 1, "bool", |call| known(call, data::collations())),
    function("pg_conversion_is_visible", 1, 1, "bool", |_| Ok(Value::Null)),
    function("pg_statistics_obj_is_visible", 1, 1, "bool", |_| Ok(Value::Null)),
    function("pg_ts_config_is_visible", 1, 1, "bool", |_| Ok(Value::Null)),
    function("pg_ts_dict_is_visible", 1, 1, "bool", |_| Ok(Value::Null)),
    function("pg_ts_parser_is_visible", 1, 1, "bool", |_| Ok(Value::Null)),
    function("pg_ts_template_is_visible", 1, 1, "bool", |_| Ok(Value::Null)),
    function("to_regclass", 1, 1, "regclass", |call| Ok(found(call, names::resolve_regclass))),
    function("to_regtype", 1, 1, "regtype", |call| Ok(found(call, names::resolve_regtype))),
    function("to_regproc", 1, 1, "regproc", |call| Ok(found(call, names::resolve_regproc))),
    function("to_regprocedure", 1, 1, "regprocedure", |call| Ok(found(call, signatures::resolve_regprocedure))),
    function("to_regoperator", 1, 1, "regoperator", |call| Ok(found(call, signatures::resolve_regoperator))),
    function("to_regnamespace", 1, 1, "regnamespace", |call| Ok(found(call, names::resolve_regnamespace))),
    function("to_regrole", 1, 1, "regrole", |call| Ok(found(call, names::resolve_regrole))),
    function("pg_relation_is_publishable", 1, 1, "bool", |call| {
        let oid = call.relation(0)?;
        Ok(objects::find_relation(call.scope, oid).map(|rel| rel.table().is_some() && !rel.temporary).into())
    }),
    function("pg_relation_is_updatable", 2, 2, "int4", |call| {
        // Bits of what INSERT, UPDATE and DELETE can do: all three on tables.
        let rel = objects::find_relation(call.scope, call.relation(0)?);
        Ok(rel.map_or(0, |rel| if rel.table().is_some() { 28 } else { 0 }).into())
    }),
    function("pg_column_is_updatable", 3, 3, "bool", |call| {
        Ok(objects::find_relation(call.scope, call.relation(0)?).is_some_and(|rel| rel.table().is_some()).into())
    }),
    function("pg_partition_ancestors", 1, 1, "oid[]", |_| Ok(Value::List(Vec::new()))),
    function("pg_partition_root", 1, 1, "regclass", |_| Ok(Value::Null)),
    function("pg_tablespace_location", 1, 1, "text", |_| Ok("".into())),
    function("pg_tablespace_databases", 1, 1, "oid[]", |call| {
        Ok(objects::databases(call.scope).map(|database| database.oid).collect::<Vec<_>>().into())
    }),
    function("pg_indexam_has_property", 2, 2, "bool", |_| Ok(Value::Null)),
    function("pg_index_has_property", 2, 2, "bool", |_| Ok(Value::Null)),
    function("pg_index_column_has_property", 3, 3, "bool", index_column_has_property),
    function("pg_encoding_max_length", 1, 1, "int4", |_| Ok(4.into())),
    function("_pg_expandarray", 1, 1, "text", |call| Ok(call.list(0).map_or(Value::Null, |list| integers(&list)))),
];

fn found(call: &Call<'_>, resolve: fn(&Scope, &str) -> Result<Oid>) -> Value<'static> {
    call.text(0).and_then(|text| resolve(call.scope, text).ok()).into()
}

/// True for what the given table of PostgreSQL's own objects has; NULL for other oids.
fn known(call: &Call<'_>, table: &data::Table) -> Result<Value<'static>> {
    let oid = call.oid(0)?;
    let column = table.position("oid").unwrap_or_default();
    let found = (0..table.len()).any(|row| table.oid(row, column) == oid);
    Ok(found.then(|| names::system_is_visible(call.scope)).into())
}

fn format_type(call: &Call<'_>) -> Result<Value<'static>> {
    if call.is_null(0) {
        return Ok(Value::Null);
    }
    let typmod = call.int(1).and_then(|typmod| i32::try_from(typmod).ok());
    Ok(match call.oid(0)? {
        0 => "-".to_owned(),
        oid => names::format_type(call.scope, oid, typmod).unwrap_or_else(|| "???".to_owned()),
    }
    .into())
}

fn viewdef(call: &Call<'_>) -> Result<Value<'static>> {
    let rel = objects::find_relation(call.scope, call.relation(0)?);
    Ok(rel.and_then(|rel| definitions::view_definition(&rel)).into())
}

fn constraintdef(call: &Call<'_>) -> Result<Value<'static>> {
    let oid = call.oid(0)?;
    if let Some((_, check)) = user_types::domain_check(call.scope, oid) {
        return Ok(definitions::domain_check_definition(check, call.boolean(1).unwrap_or(false)).into());
    }
    let Some(table) = constrained_table(call.scope, oid) else { return Ok(Value::Null) };
    let all = relations::constraints_of(&table);
    let constraint = all.iter().find(|constraint| constraint.oid == oid);
    Ok(constraint.map(|c| definitions::constraint_definition(call.scope, c, call.boolean(1).unwrap_or(false))).into())
}

/// The table that has the constraint.
fn constrained_table(scope: &Scope, constraint: Oid) -> Option<Rel<'_>> {
    if let Some(Rel { kind: Kind::Index(table, ..), .. }) = objects::find_relation(scope, constraint) {
        return objects::find_relation(scope, table.oid);
    }
    objects::find_relation(scope, objects::table_of_part(scope, constraint)?)
}

fn indexdef(call: &Call<'_>) -> Result<Value<'static>> {
    let Some(index) = objects::find_relation(call.scope, call.oid(0)?) else { return Ok(Value::Null) };
    Ok(match call.int(1).unwrap_or(0) {
        0 => definitions::index_definition(call.scope, &index, call.boolean(2).unwrap_or(false)),
        number => usize::try_from(number).ok().and_then(|number| definitions::index_column(&index, number)),
    }
    .into())
}

fn index_column_has_property(call: &Call<'_>) -> Result<Value<'static>> {
    let index = objects::find_relation(call.scope, call.relation(0)?);
    let is_key = index.is_some_and(|rel| matches!(rel.kind, Kind::Index(..)));
    Ok(match call.text(2).unwrap_or_default().to_lowercase().as_str() {
        "asc" | "nulls_last" | "orderable" | "returnable" | "search_array" | "search_nulls" if is_key => true.into(),
        "desc" | "nulls_first" | "distance_orderable" if is_key => false.into(),
        _ => Value::Null,
    })
}

fn ruledef(call: &Call<'_>) -> Result<Value<'static>> {
    let rule = call.oid(0)?;
    let rel = objects::find_relation(call.scope, rule & !objects::rule_oid(0));
    let definition = rel.and_then(|rel| {
        let query = definitions::view_query(&rel)?;
        Some(format!(
            "CREATE RULE \"_RETURN\" AS\n    ON SELECT TO {} DO INSTEAD {query};",
            relations::qualified_name(&rel)
        ))
    });
    Ok(definition.into())
}

fn functiondef(call: &Call<'_>) -> Result<Value<'static>> {
    let oid = call.oid(0)?;
    if let (Some("a"), Some(name)) = (routines::kind(oid), routines::name(oid)) {
        let code = crate::error::SqlState::WRONG_OBJECT_TYPE;
        return Err(Error::new(code, format!("\"{name}\" is an aggregate function")));
    }
    Ok(routines::definition(call.scope, oid).into())
}

fn obj_description(call: &Call<'_>) -> Result<Value<'static>> {
    let oid = call.oid(0)?;
    let of = |catalog: Oid| comment(call.scope, catalog, oid);
    let catalog = match call.len() {
        1 => {
            let classes = [class::CLASS, class::TYPE, class::NAMESPACE, class::PROC];
            return Ok(classes.into_iter().find_map(of).into());
        }
        _ => call.text(1).unwrap_or_default(),
    };
    Ok(match catalog {
        "pg_class" => of(class::CLASS),
        "pg_namespace" => of(class::NAMESPACE),
        "pg_type" => of(class::TYPE),
        "pg_proc" => of(class::PROC),
        _ => None,
    }
    .into())
}

/// The comment on an object of a catalog.
fn comment(scope: &Scope, catalog: Oid, oid: Oid) -> Option<String> {
    if catalog == class::PROC {
        return routines::description(oid).map(str::to_owned);
    }
    let object = match catalog {
        class::CLASS => objects::find_relation(scope, oid)?.object?,
        class::NAMESPACE => objects::namespace(scope, oid)?.object?,
        class::TYPE => scope.user_type_with(oid).filter(|(_, is_array)| !is_array)?.0,
        class::DATABASE => objects::databases(scope).find(|database| database.oid == oid)?,
        class::AUTHID => objects::role(scope, oid)?.0,
        _ => return None,
    };
    object.comment.clone()
}

fn shobj_description(call: &Call<'_>) -> Result<Value<'static>> {
    let oid = call.oid(0)?;
    Ok(match call.text(1).unwrap_or_default() {
        "pg_database" => comment(call.scope, class::DATABASE, oid),
        "pg_authid" | "pg_roles" => comment(call.scope, class::AUTHID, oid),
        _ => None,
    }
    .into())
}

fn col_description(call: &Call<'_>) -> Result<Value<'static>> {
    let Some(rel) = objects::find_relation(call.scope, call.relation(0)?) else { return Ok(Value::Null) };
    let number = call.int(1).unwrap_or_default();
    let column = match rel.table() {
        Some(def) => def.columns.iter().find(|column| i64::from(column.id) == number),
        None => usize::try_from(number - 1).ok().and_then(|index| rel.columns().get(index)),
    };
    Ok(column.and_then(|column| column.comment.clone()).into())
}

fn describe_object(call: &Call<'_>) -> Result<Value<'static>> {
    let (catalog, oid) = (call.oid(0)?, call.oid(1)?);
    let relation = |oid| objects::find_relation(call.scope, oid);
    Ok(match catalog {
        class::CLASS => relation(oid).map(|rel| {
            let kind = match rel.relkind() {
                "v" => "view",
                "i" => "index",
                "S" => "sequence",
                _ => "table",
            };
            let name = names::regclass_text(call.scope, oid);
            let column = call
                .int(2)
                .filter(|number| *number > 0)
                .and_then(|number| rel.columns().iter().find(|column| i64::from(column.id) == number));
            column.map_or_else(|| format!("{kind} {name}"), |column| format!("column {} of {kind} {name}", column.name))
        }),
        class::REWRITE => relation(oid & !objects::rule_oid(0))
            .map(|rel| format!("rule _RETURN on view {}", names::regclass_text(call.scope, rel.oid))),
        class::NAMESPACE => objects::namespace(call.scope, oid).map(|schema| format!("schema {}", schema.name)),
        class::TYPE => names::format_type(call.scope, oid, None).map(|name| format!("type {name}")),
        class::PROC => routines::name(oid)
            .map(|name| format!("function {name}({})", routines::arguments(oid, true).unwrap_or_default())),
        class::DATABASE => objects::databases(call.scope)
            .find(|database| database.oid == oid)
            .map(|database| format!("database {}", database.name)),
        class::AUTHID => objects::role(call.scope, oid).map(|(role, _)| format!("role {}", role.name)),
        class::CONSTRAINT => constrained_table(call.scope, oid).and_then(|table| {
            let all = relations::constraints_of(&table);
            let name = all.iter().find(|constraint| constraint.oid == oid)?.name.to_string();
            Some(format!("constraint {name} on table {}", names::regclass_text(call.scope, table.oid)))
        }),
        _ => None,
    }
    .into())
}

fn table_is_visible(call: &Call<'_>) -> Result<Value<'static>> {
    let path = objects::search_path(call.scope, true);
    let rel = objects::find_relation(call.scope, call.oid(0)?);
    Ok(rel.map(|rel| objects::is_visible(call.scope, &path, &rel)).into())
}

fn type_is_visible(call: &Call<'_>) -> Result<Value<'static>> {
    let oid = call.oid(0)?;
    if data::type_row(oid).is_some() {
        return Ok(names::system_is_visible(call.scope).into());
    }
    if let Some((object, _)) = call.scope.user_type_with(oid) {
        return Ok(user_types::is_visible(call.scope, object).into());
    }
    let path = objects::search_path(call.scope, true);
    let rel = objects::find_relation(call.scope, oid & !objects::row_array_type_oid(0));
    Ok(rel.map(|rel| objects::is_visible(call.scope, &path, &rel)).into())
}

/// The elements of a list of numbers.
fn integers(list: &ArrayRef) -> Value<'static> {
    let numbers = arrow::compute::cast(list, &DataType::Int64).ok();
    let numbers = numbers.as_ref().and_then(|array| array.as_any().downcast_ref::<arrow::array::Int64Array>());
    numbers.map_or(Value::Null, |numbers| Value::List(numbers.iter().map(Value::from).collect()))
}

/// What `_pg_expandarray` returns: rows `(x, n)` of element and position.
pub(super) fn expanded_type() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Struct(expanded_fields()), true)))
}

fn expanded_fields() -> Fields {
    let field = |name| Field::new(name, DataType::Int32, true);
    Fields::from(vec![field("x"), field("n")])
}

/// Lists of numbers as lists of (number, position from 1).
pub(super) fn expanded(values: Vec<Value<'static>>, data_type: &DataType) -> Result<ArrayRef> {
    let DataType::List(item) = data_type else { return Err(Error::internal("_pg_expandarray returns a list")) };
    let (mut items, mut positions, mut lengths, mut valid) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for value in values {
        let list = if let Value::List(list) = value { Some(list) } else { None };
        valid.push(list.is_some());
        let list = list.unwrap_or_default();
        lengths.push(list.len());
        positions.extend((1..).take(list.len()));
        items.extend(list);
    }
    let count = items.len();
    let columns: Vec<ArrayRef> =
        vec![array(&DataType::Int32, false, count, items.into_iter()), Arc::new(Int32Array::from(positions))];
    let rows =
        StructArray::try_new(expanded_fields(), columns, None).map_err(|error| Error::internal(error.to_string()))?;
    let nulls = valid.contains(&false).then(|| NullBuffer::from(valid));
    Ok(Arc::new(ListArray::new(Arc::clone(item), OffsetBuffer::from_lengths(lengths), Arc::new(rows), nulls)))
}
