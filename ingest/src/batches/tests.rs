//! Batches as a table's rows: types, names, new columns, values that do not fit; and streams that are cut and changed.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int8Array, Int32Array,
    Int64Array, LargeStringArray, ListArray, MapBuilder, NullArray, RecordBatch, StringArray, StringBuilder,
    StructArray, TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidemill_udfs::types::TextSettings;

use super::{ArrowReader, BatchDecoder};
use crate::testing::{adding, check_counts, flattening, shown, table};
use crate::{Decoded, Limits, TableShape};

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn decode(shape: TableShape, batch: &RecordBatch) -> Vec<Decoded> {
    let all: Vec<_> = BatchDecoder::new(shape, TextSettings::default()).decode(batch).collect();
    let all = all.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    all.iter().for_each(check_counts);
    all
}

fn code(shape: TableShape, batch: &RecordBatch) -> &'static str {
    let mut decoder = BatchDecoder::new(shape, TextSettings::default());
    decoder.decode(batch).find_map(Result::err).expect("an error").code
}

#[test]
fn columns_are_found_by_name_and_cast() {
    let input = batch(vec![
        ("ID", Arc::new(Int64Array::from(vec![1, 2, 3_000_000_000]))),
        ("name", Arc::new(LargeStringArray::from(vec![Some("a"), None, Some("c")]))),
        ("price", Arc::new(Float64Array::from(vec![1.5, 2.0, 2.5]))),
        ("ts", Arc::new(StringArray::from(vec!["2026-01-01T00:00:00Z", "yesterday's", "2026-01-02"]))),
    ]);
    let shape = table(&["id integer", "name text", "price numeric(5,1)", "ts timestamptz", "extra text default"]);
    let decoded = decode(shape, &input);
    let text = shown(&decoded);
    assert!(text.contains("id=1 name=a price=1.5 ts=2026-01-01 00:00:00+00"), "{text}");
    assert_eq!(decoded[0].counts.rows, 1);
    let letters: Vec<_> = decoded[0].dead_letters.iter().collect();
    let about = |at: usize| (letters[at].error.code, letters[at].column.as_deref(), letters[at].line);
    assert_eq!(about(0), ("22007", Some("ts"), 2));
    assert_eq!(about(1), ("22003", Some("id"), 3));
    assert_eq!(String::from_utf8_lossy(&letters[0].raw), r#"{"ID":2,"price":2,"ts":"yesterday's"}"#);
    assert_eq!(decoded[0].defaults.len(), 1, "no row mentions extra");
}

#[test]
fn values_that_would_lose_something_are_letters() {
    let cases: Vec<(&str, ArrayRef, usize)> = vec![
        ("smallint", Arc::new(Int32Array::from(vec![1, 40_000])), 1),
        ("integer", Arc::new(Float64Array::from(vec![1.0, 1.5])), 1),
        ("bigint", Arc::new(UInt64Array::from(vec![1, u64::MAX])), 1),
        ("boolean", Arc::new(StringArray::from(vec!["true", "perhaps"])), 1),
        ("uuid", Arc::new(StringArray::from(vec!["a0eebc999c0b4ef8bb6d6bb9bd380a11", "x"])), 1),
        ("varchar(2)", Arc::new(StringArray::from(vec!["ab", "abc"])), 1),
        ("jsonb", Arc::new(StringArray::from(vec!["{\"a\":1}", "{"])), 1),
        ("jsonb", Arc::new(Int32Array::from(vec![1, 2])), 0),
        ("text", Arc::new(BooleanArray::from(vec![true, false])), 0),
        ("date", Arc::new(TimestampNanosecondArray::from(vec![0, 1])), 0),
        ("double precision", Arc::new(Int8Array::from(vec![1, -1])), 0),
        // The byte that PostgreSQL's texts cannot hold.
        ("text", Arc::new(StringArray::from(vec!["a\0b", "c"])), 1),
    ];
    for (sql_type, array, letters) in cases {
        let name = format!("{} into {sql_type}", array.data_type());
        let decoded = decode(table(&[&format!("v {sql_type}")]), &batch(vec![("v", array)]));
        assert_eq!(decoded[0].dead_letters.len(), letters, "{name}: {}", shown(&decoded));
    }
}

#[test]
fn new_columns_have_the_type_of_their_values() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None]);
    let dictionary: DictionaryArray<Int32Type> = vec![Some("x"), None].into_iter().collect();
    let inner = StructArray::from(vec![
        (Arc::new(Field::new("a", DataType::Int32, true)), Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef),
        (Arc::new(Field::new("b", DataType::Utf8, true)), Arc::new(StringArray::from(vec![Some("q\""), None]))),
    ]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), arrow::array::Int32Builder::new());
    map.keys().append_value("k");
    map.values().append_value(7);
    map.append(true).unwrap();
    map.append(false).unwrap();
    let input = batch(vec![
        ("u32", Arc::new(UInt32Array::from(vec![u32::MAX, 0]))),
        ("u64", Arc::new(UInt64Array::from(vec![u64::MAX, 0]))),
        ("ns", Arc::new(TimestampNanosecondArray::from(vec![1_767_225_600_000_000_500, -1]).with_timezone("+02:00"))),
        ("list", Arc::new(list)),
        ("dict", Arc::new(dictionary)),
        ("bytes", Arc::new(BinaryArray::from(vec![b"\x00\xff".as_slice(), b""]))),
        ("obj", Arc::new(inner)),
        ("map", Arc::new(map.finish())),
        ("nothing", Arc::new(NullArray::new(2))),
        ("Mixed Case", Arc::new(BooleanArray::from(vec![None, Some(true)]))),
        ("", Arc::new(Int32Array::from(vec![None, None]))),
    ]);
    let decoded = decode(adding(&["id integer"]), &input);
    let added: Vec<_> = decoded[0].batch.schema().fields().iter().skip(1).map(|f| f.name().clone()).collect();
    assert_eq!(added, ["u32", "u64", "ns", "list", "dict", "bytes", "obj", "map", "mixed case", "_"]);
    let text = shown(&decoded);
    for expected in [
        "u32 bigint",
        "u64 numeric(20,0)",
        "ns timestamp with time zone",
        "list integer[]",
        "dict text",
        "bytes bytea",
        "obj jsonb",
        "map jsonb",
        "u64=18446744073709551615",
        "ns=2026-01-01 00:00:00.000001+00",
        "ns=1970-01-01 00:00:00+00",
        "list={1,NULL}",
        "obj={\"a\": 1, \"b\": \"q\\\"\"}",
        "map={\"k\": 7}",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let uuid = FixedSizeBinaryArray::try_from_iter([[0xab_u8; 16]].iter()).unwrap();
    let field = Field::new("u", DataType::FixedSizeBinary(16), true)
        .with_metadata([("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned())].into());
    let input = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(uuid)]).unwrap();
    let text = shown(&decode(adding(&[]), &input));
    assert!(text.contains("u uuid") && text.contains("abababab-abab-abab-abab-abababababab"), "{text}");
}

#[test]
fn columns_without_a_place_go_to_rest_or_are_refused() {
    let input = batch(vec![
        ("id", Arc::new(Int32Array::from(vec![1, 2]))),
        ("x", Arc::new(StringArray::from(vec![Some("a"), None]))),
    ]);
    assert_eq!(code(table(&["id integer"]), &input), "42703");
    let text = shown(&decode(table(&["id integer", "_rest jsonb"]), &input));
    assert!(text.contains("_rest={\"x\": \"a\"}"), "{text}");
    let full = TableShape { limits: Limits { columns_max: 1, ..Limits::default() }, ..adding(&["id integer"]) };
    let text = shown(&decode(full, &input));
    assert!(text.contains("_rest={\"x\": \"a\"}"), "{text}");
    let twice = batch(vec![("id", Arc::new(Int32Array::from(vec![1]))), ("ID", Arc::new(Int32Array::from(vec![1])))]);
    assert_eq!(code(table(&["id integer"]), &twice), "42701");
}

/// `a {b integer, c {d text}}`, of which the second is NULL and the third has no `c`.
fn structs() -> ArrayRef {
    let field = |name: &str, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x", "hidden", "hidden too"]));
    let inner = StructArray::new(vec![field("D", &text)].into(), vec![text], Some(vec![true, true, false].into()));
    let (inner, number): (ArrayRef, ArrayRef) = (Arc::new(inner), Arc::new(Int32Array::from(vec![1, 2, 3])));
    let members = vec![field("b", &number), field("c", &inner)].into();
    Arc::new(StructArray::new(members, vec![number, inner], Some(vec![true, false, true].into())))
}

#[test]
fn members_of_structs_are_columns_where_the_table_flattens() {
    let input = batch(vec![("id", Arc::new(Int32Array::from(vec![1, 2, 3]))), ("a", structs())]);
    let text = shown(&decode(flattening(4, &["id integer"]), &input));
    assert_eq!(
        text,
        "+ a_b integer for a.b\n+ a_c_d text for a.c.D\n\
         id=1 a_b=1 a_c_d=x\nid=2 a_b=∅ a_c_d=∅\nid=3 a_b=3 a_c_d=∅\n"
    );
    let text = shown(&decode(flattening(1, &["id integer"]), &input));
    assert!(
        text.contains("+ a_b integer for a.b\n+ a_c jsonb for a.c") && text.contains("a_c={\"D\": \"x\"}"),
        "{text}"
    );
    // A column for the object as a whole comes first.
    let text = shown(&decode(flattening(4, &["id integer", "a jsonb"]), &input));
    assert!(text.contains("id=1 a={\"b\": 1, \"c\": {\"D\": \"x\"}}\nid=2 a=∅"), "{text}");
    // What does not fit is the document again; what has no place is below its own objects.
    let decoded = decode(flattening(4, &["id integer", "a_b boolean", "a_c_d date"]), &input);
    let raws: Vec<_> = decoded[0].dead_letters.iter().map(|letter| String::from_utf8_lossy(&letter.raw)).collect();
    assert_eq!(raws, [r#"{"id":1,"a":{"b":1,"c":{"D":"x"}}}"#, r#"{"id":3,"a":{"b":3}}"#]);
    assert_eq!(decoded[0].places, [(1, 2)], "the row that is left");
    let shape = flattening(4, &["id integer"]);
    let full = TableShape { limits: Limits { columns_max: 1, ..Limits::default() }, ..shape };
    let text = shown(&decode(full, &input));
    assert!(text.contains(r#"id=1 _rest={"a": {"b": 1, "c": {"D": "x"}}}"#), "{text}");
}

#[test]
fn parts_of_a_batch_count_their_rows_on() {
    let shape = TableShape { limits: Limits { batch_rows: 2, ..Limits::default() }, ..table(&["v integer"]) };
    let input = batch(vec![("v", Arc::new(StringArray::from(vec!["1", "2", "3", "x", "5"])))]);
    let decoded = decode(shape, &input);
    assert_eq!(decoded.iter().map(|part| part.counts.rows).collect::<Vec<_>>(), [2, 1, 1]);
    assert_eq!((decoded[1].dead_letters[0].offset, decoded[1].dead_letters[0].line), (3, 4));
}

// ---- Streams ----

fn streams() -> Vec<Vec<u8>> {
    let dictionary: DictionaryArray<Int32Type> = vec!["x", "y", "x"].into_iter().collect();
    let input = batch(vec![
        ("a", Arc::new(Int32Array::from(vec![1, 2, 3]))),
        ("b", Arc::new(StringArray::from(vec![Some("abc"), None, Some("")]))),
        ("c", Arc::new(dictionary)),
    ]);
    let schema = input.schema();
    let zstd = || IpcWriteOptions::default().try_with_compression(Some(arrow::ipc::CompressionType::ZSTD)).unwrap();
    let mut all = vec![];
    for options in [IpcWriteOptions::default(), zstd()] {
        let mut writer = StreamWriter::try_new_with_options(vec![], &schema, options.clone()).unwrap();
        writer.write(&input).unwrap();
        writer.write(&input.slice(1, 2)).unwrap();
        writer.finish().unwrap();
        all.push(writer.into_inner().unwrap());
        let mut writer = FileWriter::try_new_with_options(vec![], &schema, options).unwrap();
        writer.write(&input).unwrap();
        writer.write(&input.slice(1, 2)).unwrap();
        writer.finish().unwrap();
        all.push(writer.into_inner().unwrap());
    }
    all
}

fn read(bytes: &[u8], cuts: usize) -> Result<usize, tidemill_udfs::types::ValueError> {
    let mut reader = ArrowReader::default();
    let mut rows = 0;
    for piece in bytes.chunks(cuts.max(1)) {
        reader.push(piece)?;
        while let Some(batch) = reader.take_batch() {
            rows += batch.num_rows();
        }
    }
    reader.finish()?;
    while let Some(batch) = reader.take_batch() {
        rows += batch.num_rows();
    }
    Ok(rows)
}

#[test]
fn streams_and_files_cut_anywhere() {
    for bytes in streams() {
        for cuts in [1, 7, 64, 1000, usize::MAX] {
            assert_eq!(read(&bytes, cuts), Ok(5), "cut into {cuts}");
        }
        for end in 0..bytes.len() {
            // A stream may end between messages; nothing else may.
            if let Ok(rows) = read(&bytes[..end], usize::MAX) {
                assert!(bytes.len() - end <= 8 || rows < 5, "{end} of {}", bytes.len());
                assert!(!bytes.starts_with(b"ARROW1"), "a file of {end} bytes");
            }
        }
    }
    // Rows without columns, and without a body.
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(4));
    let empty = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    let mut writer = StreamWriter::try_new(vec![], &empty.schema()).unwrap();
    writer.write(&empty).unwrap();
    let bytes = writer.into_inner().unwrap();
    assert_eq!(read(&bytes, usize::MAX), Ok(4));
    for noise in ["", "hello, world, hello", "{\"a\":1}\n{\"a\":2}\n", "\u{0}\u{0}\u{0}\u{0}"] {
        assert_eq!(read(noise.as_bytes(), 5).expect_err(noise).code, "22P04");
    }
}

/// Bytes that were changed are an error or other values, never a panic, and never much memory.
#[test]
fn changed_bytes_do_no_harm() {
    let seed = std::env::var("TIDEMILL_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    let mut random = StdRng::seed_from_u64(seed);
    let hook = std::panic::take_hook();
    // arrow's own panics are caught: they need not be told.
    std::panic::set_hook(Box::new(|_| {}));
    let all = streams();
    let harmless = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for _ in 0..2000 {
            let mut bytes = all[random.random_range(0..all.len())].clone();
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(0..bytes.len());
                bytes[at] = if random.random() { random.random() } else { 0xff };
            }
            let _ = read(&bytes, random.random_range(1..2000));
        }
    }));
    std::panic::set_hook(hook);
    assert!(harmless.is_ok(), "TIDEMILL_TEST_SEED={seed}");
}
