//! A table's definition as Delta's `protocol` and `metaData` actions.

use arrow::datatypes::DataType;
use serde_json::{Map, Value, json};

use crate::record::{ColumnDef, SQL_TYPE_KEY, TableDef};
use crate::table::physical::{partition_columns, storage_type};

/// The lowest protocol that describes the table: reader 1, writer 2, unless it has timestamps without time zone or
/// renamed columns. A table that had such a column keeps the feature: dropping the column turns column mapping on.
pub(super) fn protocol(def: &TableDef) -> Value {
    let mut features = vec![];
    if def.column_mapping {
        features.push("columnMapping");
    }
    if def.column_mapping || def.columns.iter().any(|column| has_local_time(&column.data_type)) {
        features.push("timestampNtz");
    }
    if features.is_empty() {
        json!({"minReaderVersion": 1, "minWriterVersion": 2})
    } else {
        json!({"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features})
    }
}

fn has_local_time(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, None) => true,
        DataType::List(item) => has_local_time(item.data_type()),
        _ => false,
    }
}

pub(super) fn metadata(def: &TableDef, id: &str, now_ms: i64) -> Value {
    let fields: Vec<Value> = def.columns.iter().map(|column| field(def, column)).collect();
    let schema = json!({"type": "struct", "fields": fields});
    let mut configuration = Map::new();
    if def.column_mapping {
        configuration.insert("delta.columnMapping.mode".into(), "name".into());
        let greatest = def.columns.iter().map(|column| column.id).max().unwrap_or(0).max(def.next_column_id - 1);
        configuration.insert("delta.columnMapping.maxColumnId".into(), greatest.to_string().into());
    }
    json!({
        "id": id,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": schema.to_string(),
        "partitionColumns": partition_columns(def).iter().map(|column| &column.name).collect::<Vec<_>>(),
        "configuration": configuration,
        "createdTime": now_ms,
    })
}

fn field(def: &TableDef, column: &ColumnDef) -> Value {
    let mut metadata = Map::new();
    metadata.insert(SQL_TYPE_KEY.into(), column.sql_type.clone().into());
    if let Some(comment) = &column.comment {
        metadata.insert("comment".into(), comment.clone().into());
    }
    if def.column_mapping {
        metadata.insert("delta.columnMapping.id".into(), column.id.into());
        metadata.insert("delta.columnMapping.physicalName".into(), column.physical_name.clone().into());
    }
    json!({
        "name": column.name,
        "type": type_of(&storage_type(&column.data_type)),
        // Files older than the column do not have it, and other readers see NULL there.
        "nullable": column.nullable || column.missing_value.is_some(),
        "metadata": metadata,
    })
}

fn type_of(storage: &DataType) -> Value {
    match storage {
        DataType::Boolean => "boolean".into(),
        DataType::Int16 => "short".into(),
        DataType::Int32 => "integer".into(),
        DataType::Int64 => "long".into(),
        DataType::Float32 => "float".into(),
        DataType::Float64 => "double".into(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})").into(),
        DataType::BinaryView => "binary".into(),
        DataType::Date32 => "date".into(),
        DataType::Timestamp(_, None) => "timestamp_ntz".into(),
        DataType::Timestamp(_, Some(_)) => "timestamp".into(),
        DataType::List(item) => {
            json!({"type": "array", "elementType": type_of(item.data_type()), "containsNull": true})
        }
        _ => "string".into(),
    }
}
