//! System functions in FROM.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::Expr;
use tidemill_catalog::acl::{AclItem, Privileges};

use super::batch::{Batch, Value};
use super::provider::SystemTable;
use super::registry::{self, Relation};
use super::{data, names, objects, privileges};
use crate::Result;
use crate::plan::Scope;

/// Their names, for pg_proc.
pub(crate) const NAMES: &[&str] =
    &["pg_get_keywords", "pg_show_all_settings", "pg_timezone_names", "pg_options_to_table", "aclexplode"];

/// See [`super::table_function`].
pub(crate) fn find(scope: &Arc<Scope>, name: &str, args: &[Expr]) -> Result<Option<Arc<dyn TableProvider>>> {
    Ok(Some(match (name, args) {
        ("pg_show_all_settings", []) => return Ok(system(scope, "pg_settings")),
        ("pg_timezone_names", []) => return Ok(system(scope, "pg_timezone_names")),
        ("pg_get_keywords", []) => {
            rows("word text,catcode char,barelabel bool,catdesc text,baredesc text", |relation, batch| {
                data::keywords().fill_all(relation, batch)
            })?
        }
        ("pg_options_to_table", [list]) => {
            let options = texts(list);
            rows("option_name text,option_value text", |_, batch| {
                let pairs: Vec<_> = options.iter().map(|text| text.split_once('=').unwrap_or((text, ""))).collect();
                batch.rows(pairs.len());
                batch.column("option_name", pairs.iter().map(|(name, _)| *name));
                batch.column("option_value", pairs.iter().map(|(_, value)| *value));
            })?
        }
        ("aclexplode", [list]) => {
            let items = texts(list);
            rows("grantor oid,grantee oid,privilege_type text,is_grantable bool", |_, batch| {
                let items = items.iter().filter_map(|item| privileges::parse(scope, item));
                let all: Vec<_> =
                    items.flat_map(|item| item.privileges.letters().map(move |letter| (item, letter))).collect();
                batch.rows(all.len());
                batch.column("grantor", all.iter().map(|(item, _)| item.grantor));
                batch.column("grantee", all.iter().map(|(item, _)| item.grantee));
                batch.column("privilege_type", all.iter().map(|(_, letter)| privileges::word(*letter)));
                let grantable =
                    |(item, letter): &(AclItem, char)| item.options.contains(Privileges::of_letter(*letter));
                batch.column("is_grantable", all.iter().map(grantable));
            })?
        }
        ("pg_partition_ancestors", [_]) => rows("relid regclass", |_, _| {})?,
        ("pg_partition_tree", [relation]) => {
            let oid = oid(scope, relation)?;
            rows("relid regclass,parentrelid regclass,isleaf bool,level int4", |_, batch| {
                let oid = oid.filter(|oid| objects::find_relation(scope, *oid).is_some());
                batch.rows(usize::from(oid.is_some()));
                batch.column("relid", oid);
                batch.column("isleaf", oid.map(|_| true));
                batch.column("level", oid.map(|_| 0));
            })?
        }
        _ => return Ok(None),
    }))
}

fn system(scope: &Arc<Scope>, name: &str) -> Option<Arc<dyn TableProvider>> {
    let relation = registry::find("pg_catalog", name)?;
    Some(Arc::new(SystemTable::new(relation, scope)))
}

/// A table of rows that are made at once.
fn rows(columns: &'static str, fill: impl FnOnce(&Relation, &mut Batch<'_>)) -> Result<Arc<dyn TableProvider>> {
    let relation = Relation::new("pg_catalog", "function", 0, "v", columns, |_, _| {});
    let mut batch = Batch::new(&relation, (0..relation.columns.len()).collect());
    fill(&relation, &mut batch);
    let batch = batch.finish()?;
    Ok(Arc::new(MemTable::try_new(Arc::clone(&relation.schema), vec![vec![batch]])?))
}

/// The texts of a constant array; none for what is no such constant.
fn texts(expression: &Expr) -> Vec<String> {
    match literal(expression) {
        Some(ScalarValue::List(list)) => {
            let texts = arrow::compute::cast(list.values(), &arrow::datatypes::DataType::Utf8);
            let texts = texts.ok().and_then(|array| {
                let array = array.as_any().downcast_ref::<arrow::array::StringArray>()?;
                Some(array.iter().flatten().map(str::to_owned).collect())
            });
            texts.unwrap_or_default()
        }
        Some(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text))) => {
            let value = data::list_texts(text);
            value
                .into_iter()
                .filter_map(|value| if let Value::Text(text) = value { Some(text.into_owned()) } else { None })
                .collect()
        }
        _ => Vec::new(),
    }
}

fn oid(scope: &Scope, expression: &Expr) -> Result<Option<u32>> {
    Ok(match literal(expression) {
        Some(ScalarValue::UInt32(oid)) => *oid,
        Some(ScalarValue::Int32(Some(oid))) => u32::try_from(*oid).ok(),
        Some(ScalarValue::Int64(Some(oid))) => u32::try_from(*oid).ok(),
        Some(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text))) => {
            Some(names::resolve_regclass(scope, text)?)
        }
        _ => None,
    })
}

fn literal(expression: &Expr) -> Option<&ScalarValue> {
    match expression {
        Expr::Literal(value, _) => Some(value),
        Expr::Alias(alias) => literal(&alias.expr),
        _ => None,
    }
}
