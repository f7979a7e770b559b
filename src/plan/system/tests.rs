//! System relations and functions on a scope over a small catalog: two schemas, a table with a primary key and a check,
//! a view, a second role with few privileges.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs};
use datafusion::prelude::SessionContext;
use parking_lot::Mutex;
use tidemill_catalog::Oid;
use tidemill_catalog::acl::{AclItem, Privileges};
use tidemill_catalog::record::{Body, Change, CheckDef, ColumnDef, Object, RoleDef, TableDef, TableOptions, ViewDef};
use tidemill_udfs::types::{SqlType, TextSettings};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::Options;
use crate::instance::{Activity, Instance, SessionHandle};
use crate::session::settings::Settings;

const DATABASE: Oid = 5;
const SALES: Oid = 16390;
const ORDERS: Oid = 16391;
const CHECK: Oid = 16392;
const V_ORDERS: Oid = 16393;
const READER: Oid = 16394;
const SECRET: Oid = 16395;
const SUPERUSER: Oid = 10;

fn object(oid: Oid, parent: Oid, name: &str, body: Body) -> Object {
    Object {
        oid,
        parent,
        name: name.to_owned(),
        owner: SUPERUSER,
        version: 1,
        comment: None,
        acl: vec![],
        depends_on: vec![],
        body,
    }
}

fn column(id: i32, name: &str, sql_type: &str, nullable: bool) -> ColumnDef {
    ColumnDef {
        id,
        name: name.to_owned(),
        physical_name: name.to_owned(),
        sql_type: sql_type.to_owned(),
        data_type: SqlType::parse(sql_type).unwrap().data_type(),
        nullable,
        default: None,
        missing_value: None,
        user_type: None,
        sequence: None,
        source_field: None,
        comment: None,
    }
}

fn table(columns: Vec<ColumnDef>) -> TableDef {
    let next_column_id = i32::try_from(columns.len()).unwrap() + 1;
    TableDef {
        columns,
        checks: vec![],
        indexes: vec![],
        foreign_keys: vec![],
        primary_key: vec![],
        primary_key_name: None,
        options: TableOptions {
            time_column: None,
            sort_key: vec![],
            partition_by: vec![],
            flush_interval_ms: 1000,
            flush_bytes: 1 << 20,
            upsert: None,
            evolve: false,
            widen: false,
            flatten: None,
        },
        given_options: BTreeMap::new(),
        column_mapping: false,
        next_column_id,
    }
}

fn changes() -> Vec<Change> {
    let mut orders = table(vec![
        ColumnDef { comment: Some("the key".into()), ..column(1, "id", "bigint", false) },
        ColumnDef { default: Some("0".into()), ..column(2, "amount", "numeric(10,2)", true) },
        column(3, "ts", "timestamp with time zone", true),
        column(4, "tags", "text[]", true),
        column(5, "name", "character varying(20)", true),
    ]);
    orders.primary_key = vec!["id".into()];
    orders.checks = vec![CheckDef { oid: CHECK, name: "orders_amount_check".into(), condition: "amount >= 0".into() }];
    orders.given_options = [("tidemill.time_column".to_owned(), "ts".to_owned())].into();
    let view = ViewDef {
        query: "SELECT id FROM sales.orders;".into(),
        search_path: vec!["public".into()],
        columns: vec![column(1, "id", "bigint", true)],
        relations: vec![],
    };
    let reader = RoleDef { login: true, inherit: true, connection_limit: -1, ..RoleDef::default() };
    let schema = Object {
        acl: vec![
            AclItem::new(SUPERUSER, SUPERUSER, Privileges::of("UC")),
            AclItem::new(READER, SUPERUSER, Privileges::USAGE),
        ],
        ..object(SALES, DATABASE, "sales", Body::Schema {})
    };
    let granted = Object {
        acl: vec![
            AclItem::new(SUPERUSER, SUPERUSER, Privileges::of("arwdDxt")),
            AclItem { options: Privileges::SELECT, ..AclItem::new(READER, SUPERUSER, Privileges::SELECT) },
        ],
        comment: Some("all orders".into()),
        ..object(ORDERS, SALES, "orders", Body::Table(Arc::new(orders)))
    };
    let dependent = Object { depends_on: vec![ORDERS], ..object(V_ORDERS, SALES, "v_orders", Body::View(view)) };
    let secret = object(SECRET, 2200, "Secret", Body::Table(Arc::new(table(vec![column(1, "x", "integer", true)]))));
    [object(READER, 0, "reader", Body::Role(reader)), schema, granted, dependent, secret]
        .into_iter()
        .map(|object| Change::Put(Arc::new(object)))
        .collect()
}

/// A scope, and the folder that its store lives in.
struct Fixture {
    scope: Arc<Scope>,
    _dir: tempfile::TempDir,
}

fn fixture(role: Oid, extra: Vec<Change>) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { data_dir: Some(dir.path().to_owned()), ..Options::default() };
    let instance = Instance::open(options.resolve().unwrap(), tokio::runtime::Handle::current()).unwrap();
    let handle = Arc::new(SessionHandle {
        outbox: Mutex::default(),
        pid: 42,
        secret: 0,
        started_at: 0,
        client_address: Some("127.0.0.1:5000".parse().unwrap()),
        terminate: CancellationToken::new(),
        activity: Mutex::new(Activity {
            user: "tidemill".into(),
            database: ("tidemill".into(), DATABASE),
            state: "active",
            query: "SELECT 1".into(),
            ..Activity::default()
        }),
    });
    instance.sessions.lock().insert(42, Arc::clone(&handle));
    let snapshot = instance.store.snapshot().apply(&changes(), 1).unwrap().apply(&extra, 2).unwrap();
    let scope = Scope {
        instance,
        handle,
        snapshot: Arc::new(snapshot),
        temp: Arc::default(),
        database: DATABASE,
        search_path: vec!["nowhere".into(), "public".into()],
        role,
        session_role: role,
        settings: Arc::new(Mutex::new(Settings::default())),
        sequences: Arc::default(),
        text: Arc::new(TextSettings::default()),
        transaction: Arc::default(),
        transaction_at: 1,
        statement_at: 1,
        locators: None,
        written: vec![],
        cancel: CancellationToken::new(),
    };
    Fixture { scope: Arc::new(scope), _dir: dir }
}

/// The rows of a relation, some columns of it, each as `a|b|c`, in order of the text.
async fn rows(scope: &Arc<Scope>, schema: &str, name: &str, columns: &[&str], filter: &str) -> Vec<String> {
    let context = SessionContext::new();
    let provider = relation(scope, schema, name).unwrap_or_else(|| panic!("{schema}.{name}"));
    let all = context.read_table(provider).unwrap();
    let filter = context.parse_sql_expr(filter, all.schema()).unwrap();
    let batches = all.filter(filter).unwrap().select_columns(columns).unwrap().collect().await.unwrap();
    let mut lines: Vec<String> = batches.iter().flat_map(lines).collect();
    lines.sort();
    lines
}

fn lines(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> =
        batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
    (0..batch.num_rows())
        .map(|row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|"))
        .collect()
}

/// What a function returns for constants, as text.
fn call(scope: &Arc<Scope>, name: &str, args: &[ScalarValue]) -> Result<String, String> {
    let udf = function(scope, name).unwrap_or_else(|| panic!("{name}"));
    let types: Vec<DataType> = args.iter().map(ScalarValue::data_type).collect();
    let types = udf.coerce_types(&types).map_err(|error| error.to_string())?;
    let args: Vec<ScalarValue> = args.iter().zip(&types).map(|(arg, to)| arg.cast_to(to).unwrap()).collect();
    let fields: Vec<_> = types.iter().map(|t| Arc::new(arrow::datatypes::Field::new("", t.clone(), true))).collect();
    let scalars = vec![None; fields.len()];
    let return_field =
        udf.return_field_from_args(ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &scalars }).unwrap();
    let args = ScalarFunctionArgs {
        args: args.into_iter().map(ColumnarValue::Scalar).collect(),
        arg_fields: fields,
        number_rows: 1,
        return_field,
        config_options: Arc::default(),
    };
    let result = udf.invoke_with_args(args).map_err(|error| error.to_string().replace("External error: ", ""))?;
    let array = result.into_array(1).unwrap();
    let options = FormatOptions::default().with_null("NULL");
    Ok(ArrayFormatter::try_new(array.as_ref(), &options).unwrap().value(0).to_string())
}

fn text(value: &str) -> ScalarValue {
    ScalarValue::Utf8(Some(value.to_owned()))
}

fn oid(value: Oid) -> ScalarValue {
    ScalarValue::UInt32(Some(value))
}

/// Every relation can be read whole, and what a column declares not null is not.
#[tokio::test]
async fn every_relation_reads() {
    let fixture = fixture(SUPERUSER, vec![]);
    let context = SessionContext::new();
    for relation in registry::all() {
        let provider = super::relation(&fixture.scope, relation.namespace, relation.name).unwrap();
        let result = context.read_table(provider).unwrap().collect().await;
        assert!(result.is_ok(), "{}.{}: {:?}", relation.namespace, relation.name, result.err());
    }
}

#[tokio::test]
async fn relations_of_users_are_listed() {
    let fixture = fixture(SUPERUSER, vec![]);
    let scope = &fixture.scope;
    let user = "oid >= 16384";
    assert_eq!(
        rows(
            scope,
            "pg_catalog",
            "pg_class",
            &["oid", "relname", "relnamespace", "relkind", "relnatts", "relchecks", "relhasindex"],
            user
        )
        .await,
        [
            "1073758215|orders_pkey|16390|i|1|0|false",
            "16391|orders|16390|r|5|1|true",
            "16393|v_orders|16390|v|1|0|false",
            "16395|Secret|2200|r|1|0|false",
        ]
    );
    assert_eq!(
        rows(
            scope,
            "pg_catalog",
            "pg_attribute",
            &["attnum", "attname", "atttypid", "atttypmod", "attnotnull", "atthasdef", "attlen", "attndims"],
            "attrelid = 16391 AND attnum > 0"
        )
        .await,
        [
            "1|id|20|-1|true|false|8|0",
            "2|amount|1700|655366|false|true|-1|0",
            "3|ts|1184|-1|false|false|8|0",
            "4|tags|1009|-1|false|false|-1|1",
            "5|name|1043|24|false|false|-1|0",
        ]
    );
    assert_eq!(
        rows(scope, "pg_catalog", "pg_constraint", &["oid", "conname", "contype", "conindid", "conkey"], "true").await,
        ["1073758215|orders_pkey|p|1073758215|[1]", "16392|orders_amount_check|c|0|[2]"]
    );
    assert_eq!(
        rows(
            scope,
            "pg_catalog",
            "pg_index",
            &["indexrelid", "indrelid", "indisprimary", "indkey", "indclass"],
            "true"
        )
        .await,
        ["1073758215|16391|true|[1]|[3124]"]
    );
    assert_eq!(
        rows(scope, "pg_catalog", "pg_depend", &["objid", "refobjid", "deptype"], "classid = 2618").await,
        ["1073758217|16391|n", "1073758217|16393|i", "1073758217|16393|n"]
    );
    assert_eq!(
        rows(
            scope,
            "pg_catalog",
            "pg_description",
            &["objoid", "classoid", "objsubid", "description"],
            "objoid >= 16384 AND objoid < 100000"
        )
        .await,
        ["16391|1259|0|all orders", "16391|1259|1|the key"]
    );
    assert_eq!(rows(scope, "pg_catalog", "pg_attrdef", &["adrelid", "adnum", "adbin"], "true").await, ["16391|2|0"]);
    assert_eq!(
        rows(scope, "pg_catalog", "pg_views", &["schemaname", "viewname", "definition"], "schemaname = 'sales'").await,
        ["sales|v_orders|SELECT id FROM sales.orders;"]
    );
}

#[tokio::test]
async fn types_and_functions_are_postgresqls() {
    let fixture = fixture(SUPERUSER, vec![]);
    let scope = &fixture.scope;
    assert_eq!(
        rows(
            scope,
            "pg_catalog",
            "pg_type",
            &["oid", "typname", "typarray", "typelem", "typrelid"],
            "typname IN ('int4', '_int4', 'orders', '_orders')"
        )
        .await,
        [
            "1007|_int4|0|23|0",
            "1610629127|_orders|0|536887303|0",
            "23|int4|1007|0|0",
            "536887303|orders|1610629127|0|16391",
        ]
    );
    assert_eq!(rows(scope, "pg_catalog", "pg_proc", &["oid"], "proname = 'array_in'").await, ["750"]);
    assert_eq!(rows(scope, "pg_catalog", "pg_proc", &["oid"], "proname = 'pg_table_is_visible'").await, ["2079"]);
    assert_eq!(rows(scope, "pg_catalog", "pg_am", &["oid"], "amname = 'btree'").await, ["403"]);
    assert_eq!(
        rows(scope, "pg_catalog", "pg_cast", &["castmethod"], "castsource = 23 AND casttarget = 20").await,
        ["f"]
    );
}

/// No two rows of a catalog have the same oid.
#[tokio::test]
async fn oids_are_unique() {
    let fixture = fixture(SUPERUSER, vec![]);
    for name in ["pg_class", "pg_type", "pg_proc", "pg_constraint", "pg_attrdef", "pg_rewrite", "pg_operator"] {
        let mut all = rows(&fixture.scope, "pg_catalog", name, &["oid"], "true").await;
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count, "{name}");
    }
}

#[tokio::test]
async fn information_schema_follows_the_standard() {
    let fixture = fixture(SUPERUSER, vec![]);
    let scope = &fixture.scope;
    let columns = [
        "column_name",
        "ordinal_position",
        "is_nullable",
        "data_type",
        "udt_name",
        "numeric_precision",
        "numeric_scale",
        "character_maximum_length",
        "datetime_precision",
    ];
    assert_eq!(
        rows(scope, "information_schema", "columns", &columns, "table_name = 'orders'").await,
        [
            "amount|2|YES|numeric|numeric|10|2|NULL|NULL",
            "id|1|NO|bigint|int8|64|0|NULL|NULL",
            "name|5|YES|character varying|varchar|NULL|NULL|20|NULL",
            "tags|4|YES|ARRAY|_text|NULL|NULL|NULL|NULL",
            "ts|3|YES|timestamp with time zone|timestamptz|NULL|NULL|NULL|6",
        ]
    );
    assert_eq!(
        rows(scope, "information_schema", "table_constraints", &["constraint_name", "constraint_type"], "true").await,
        ["16390_16391_1_not_null|CHECK", "orders_amount_check|CHECK", "orders_pkey|PRIMARY KEY"]
    );
    assert_eq!(
        rows(
            scope,
            "information_schema",
            "key_column_usage",
            &["constraint_name", "table_schema", "column_name", "ordinal_position"],
            "true"
        )
        .await,
        ["orders_pkey|sales|id|1"]
    );
}

/// A role sees in information_schema only what it may use; a superuser sees all.
#[tokio::test]
async fn privileges_decide_what_is_shown() {
    let columns = ["table_schema", "table_name"];
    let user = "table_schema NOT IN ('pg_catalog', 'information_schema', 'tidemill')";
    let owner = fixture(SUPERUSER, vec![]);
    assert_eq!(
        rows(&owner.scope, "information_schema", "tables", &columns, user).await,
        ["public|Secret", "sales|orders", "sales|v_orders"]
    );
    let reader = fixture(READER, vec![]);
    assert_eq!(rows(&reader.scope, "information_schema", "tables", &columns, user).await, ["sales|orders"]);
    let privilege = |name: &str, table: ScalarValue, words: &str| call(&reader.scope, name, &[table, text(words)]);
    for (table, words, expected) in [
        ("sales.orders", "SELECT", "true"),
        ("sales.orders", "select with grant option", "true"),
        ("sales.orders", "INSERT", "false"),
        ("sales.orders", "INSERT, SELECT", "true"),
        ("\"Secret\"", "SELECT", "false"),
    ] {
        assert_eq!(privilege("has_table_privilege", text(table), words).unwrap(), expected, "{table} {words}");
    }
    assert_eq!(privilege("has_schema_privilege", text("sales"), "USAGE").unwrap(), "true");
    assert_eq!(privilege("has_schema_privilege", text("sales"), "CREATE").unwrap(), "false");
    assert_eq!(privilege("has_table_privilege", oid(1), "SELECT").unwrap(), "NULL");
    assert_eq!(
        privilege("has_table_privilege", text("sales.orders"), "FLY").unwrap_err(),
        "unrecognized privilege type: \"FLY\""
    );
    assert_eq!(
        privilege("has_table_privilege", text("sales.none"), "SELECT").unwrap_err(),
        "relation \"sales.none\" does not exist"
    );
    assert_eq!(
        call(&reader.scope, "has_table_privilege", &[text("tidemill"), text("\"Secret\""), text("DELETE")]).unwrap(),
        "true"
    );
}

#[tokio::test]
async fn names_resolve_and_print() {
    let fixture = fixture(SUPERUSER, vec![]);
    let scope = &fixture.scope;
    for (name, expected) in [
        ("sales.orders", Ok(ORDERS)),
        ("SALES.Orders", Ok(ORDERS)),
        ("\"Secret\"", Ok(SECRET)),
        ("tidemill.sales.orders", Ok(ORDERS)),
        ("pg_class", Ok(1259)),
        ("information_schema.tables", Ok(registry::find("information_schema", "tables").unwrap().oid)),
        ("sales.orders_pkey", Ok(ORDERS | 1 << 30)),
        ("16391", Ok(ORDERS)),
        ("-", Ok(0)),
        ("orders", Err("relation \"orders\" does not exist")),
        ("a.\"B", Err("invalid name syntax")),
    ] {
        let found = resolve_regclass(scope, name).map_err(|error| error.report().message.clone());
        assert_eq!(found, expected.map_err(str::to_owned), "{name}");
    }
    for (oid, expected) in [
        (ORDERS, "sales.orders"),
        (SECRET, "\"Secret\""),
        (1259, "pg_class"),
        (77, "77"),
        (0, "-"),
        (ORDERS | 1 << 30, "sales.orders_pkey"),
    ] {
        assert_eq!(regclass_text(scope, oid), expected);
    }
    for (name, oid, printed) in [
        ("int4", 23, "integer"),
        ("character varying", 1043, "character varying"),
        ("text[]", 1009, "text[]"),
        ("sales.orders", ORDERS | 1 << 29, "sales.orders"),
        ("sales.orders[]", ORDERS | 3 << 29, "sales.orders[]"),
        ("point", 600, "point"),
    ] {
        assert_eq!(resolve_regtype(scope, name).unwrap(), oid, "{name}");
        assert_eq!(regtype_text(scope, oid), printed, "{name}");
    }
    assert!(resolve_regtype(scope, "hstore").is_err());
    assert_eq!(resolve_regproc(scope, "pg_catalog.array_in").unwrap(), 750);
    assert_eq!(regproc_text(scope, 750), "array_in");
    assert_eq!(resolve_regnamespace(scope, "sales").unwrap(), SALES);
    assert_eq!(regrole_text(scope, READER), "reader");
    for (name, expected) in
        [("abc", "abc"), ("Abc", "\"Abc\""), ("a\"b", "\"a\"\"b\""), ("select", "\"select\""), ("1a", "\"1a\"")]
    {
        assert_eq!(quote_ident(name), expected);
    }
}

/// What `format_type` prints, from PostgreSQL 15.
#[tokio::test]
async fn types_print_as_postgresql_prints_them() {
    let fixture = fixture(SUPERUSER, vec![]);
    for (oid, typmod, expected) in [
        (1700, Some(655_366), "numeric(10,2)"),
        (1700, Some(-1), "numeric"),
        (1231, Some(655_366), "numeric(10,2)[]"),
        (1043, Some(14), "character varying(10)"),
        (1042, Some(14), "character(10)"),
        (1042, Some(-1), "bpchar"),
        (1042, None, "character"),
        (18, None, "\"char\""),
        (1114, Some(3), "timestamp(3) without time zone"),
        (1184, None, "timestamp with time zone"),
        (1083, Some(0), "time(0) without time zone"),
        (1186, Some(2_147_418_115), "interval(3)"),
        (22, None, "int2vector"),
        (2276, None, "\"any\""),
        (2950, None, "uuid"),
    ] {
        assert_eq!(format_type(&fixture.scope, oid, typmod).as_deref(), Some(expected));
    }
    assert_eq!(format_type(&fixture.scope, 4_000_000_000, None), None);
}

#[tokio::test]
async fn functions_describe_objects() {
    let fixture = fixture(SUPERUSER, vec![]);
    let scope = &fixture.scope;
    let index = oid(ORDERS | 1 << 30);
    let int = |value| ScalarValue::Int32(Some(value));
    for (name, args, expected) in [
        ("pg_get_viewdef", vec![oid(V_ORDERS)], "SELECT id FROM sales.orders;"),
        (
            "pg_get_viewdef",
            vec![text("sales.v_orders"), ScalarValue::Boolean(Some(true))],
            "SELECT id FROM sales.orders;",
        ),
        ("pg_get_constraintdef", vec![oid(CHECK)], "CHECK ((amount >= 0))"),
        ("pg_get_constraintdef", vec![oid(CHECK), ScalarValue::Boolean(Some(true))], "CHECK (amount >= 0)"),
        ("pg_get_constraintdef", vec![index.clone()], "PRIMARY KEY (id)"),
        ("pg_get_indexdef", vec![index.clone()], "CREATE UNIQUE INDEX orders_pkey ON sales.orders USING btree (id)"),
        ("pg_get_indexdef", vec![index, int(1), ScalarValue::Boolean(Some(false))], "id"),
        ("obj_description", vec![oid(ORDERS), text("pg_class")], "all orders"),
        ("col_description", vec![oid(ORDERS), int(1)], "the key"),
        ("col_description", vec![oid(ORDERS), int(2)], "NULL"),
        ("pg_get_userbyid", vec![oid(READER)], "reader"),
        ("pg_get_userbyid", vec![oid(99)], "unknown (OID=99)"),
        ("format_type", vec![oid(23), ScalarValue::Null], "integer"),
        ("format_type", vec![oid(1), ScalarValue::Null], "???"),
        ("pg_table_is_visible", vec![oid(SECRET)], "true"),
        ("pg_table_is_visible", vec![oid(ORDERS)], "false"),
        ("pg_table_is_visible", vec![oid(1)], "NULL"),
        ("to_regclass", vec![text("nothing")], "NULL"),
        ("current_schema", vec![], "public"),
        ("current_schemas", vec![ScalarValue::Boolean(Some(true))], "[pg_catalog, public]"),
        ("current_user", vec![], "tidemill"),
        ("current_database", vec![], "tidemill"),
        ("pg_backend_pid", vec![], "42"),
        ("pg_has_role", vec![text("reader"), text("tidemill"), text("MEMBER")], "false"),
        ("pg_relation_size", vec![text("sales.orders")], "0"),
        ("pg_get_function_arguments", vec![oid(2079)], "oid"),
        ("pg_get_function_result", vec![oid(2079)], "boolean"),
        ("pg_encoding_to_char", vec![int(6)], "UTF8"),
        ("inet_client_addr", vec![], "127.0.0.1"),
        ("current_setting", vec![text("DateStyle")], "ISO, MDY"),
        ("current_setting", vec![text("no.such"), ScalarValue::Boolean(Some(true))], "NULL"),
        ("set_config", vec![text("bytea_output"), text("escape"), ScalarValue::Boolean(Some(false))], "escape"),
        ("current_setting", vec![text("bytea_output")], "escape"),
    ] {
        assert_eq!(call(scope, name, &args).as_deref(), Ok(expected), "{name}{args:?}");
    }
}

/// Drivers read the number after the first word.
#[tokio::test]
async fn version_begins_as_postgresqls() {
    let fixture = fixture(SUPERUSER, vec![]);
    let version = call(&fixture.scope, "version", &[]).unwrap();
    assert!(version.starts_with("PostgreSQL 15.") && version.contains("(Tidemill "), "{version}");
}

#[tokio::test]
async fn advisory_locks_exclude_other_sessions() {
    let fixture = fixture(SUPERUSER, vec![]);
    let mine = &fixture.scope;
    let other = Arc::new(SessionHandle {
        outbox: Mutex::default(),
        pid: 43,
        secret: 0,
        started_at: 0,
        client_address: None,
        terminate: CancellationToken::new(),
        activity: Mutex::default(),
    });
    let others = |handle: &Arc<SessionHandle>| {
        Arc::new(Scope {
            instance: Arc::clone(&mine.instance),
            handle: Arc::clone(handle),
            snapshot: Arc::clone(&mine.snapshot),
            temp: Arc::default(),
            database: DATABASE,
            search_path: vec![],
            role: SUPERUSER,
            session_role: SUPERUSER,
            settings: Arc::clone(&mine.settings),
            sequences: Arc::default(),
            text: Arc::clone(&mine.text),
            transaction: Arc::default(),
            transaction_at: 1,
            statement_at: 1,
            locators: None,
            written: vec![],
            cancel: CancellationToken::new(),
        })
    };
    let key = || vec![ScalarValue::Int64(Some(7))];
    let theirs = others(&other);
    assert_eq!(call(&theirs, "pg_try_advisory_lock", &key()).unwrap(), "true");
    assert_eq!(call(mine, "pg_try_advisory_lock", &key()).unwrap(), "false");
    assert_eq!(call(mine, "pg_advisory_unlock", &key()).unwrap(), "false");
    // A session that ended holds nothing.
    drop((theirs, other));
    assert_eq!(call(mine, "pg_try_advisory_lock", &key()).unwrap(), "true");
    mine.cancel.cancel();
    assert_eq!(
        call(mine, "pg_sleep", &[ScalarValue::Float64(Some(60.0))]).unwrap_err(),
        "canceling statement due to user request"
    );
    assert_eq!(call(mine, "pg_advisory_unlock", &key()).unwrap(), "true");
}

/// All of 5,000 tables and their columns are listed.
#[tokio::test]
async fn many_tables_are_listed() {
    let columns = || (1..=10).map(|id| column(id, &format!("c{id}"), "double precision", true)).collect();
    let tables = (0..5000).map(|n| {
        let name = format!("t{n}");
        Change::Put(Arc::new(object(20000 + n, SALES, &name, Body::Table(Arc::new(table(columns()))))))
    });
    let fixture = fixture(SUPERUSER, tables.collect());
    let class =
        rows(&fixture.scope, "pg_catalog", "pg_class", &["oid", "relname", "relkind"], "relnamespace = 16390").await;
    let attributes =
        rows(&fixture.scope, "pg_catalog", "pg_attribute", &["attname", "atttypid"], "attrelid >= 20000").await;
    // Tables have six columns of the system each.
    assert_eq!((class.len(), attributes.len()), (5003, 80_000 + 1));
}
