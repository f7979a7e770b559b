//! DataRow messages byte by byte.

use super::*;
use datafusion::arrow::array::{ArrayRef, Int32Array, RecordBatch, StringViewArray, UInt64Array};

fn column(sql_type: SqlType) -> Column {
    Column::new("x", sql_type)
}

fn batch() -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(7), None, Some(-1)]));
    let texts: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "", "ß"]));
    RecordBatch::try_from_iter_with_nullable([("n", numbers, true), ("t", texts, true)]).unwrap()
}

#[test]
fn rows() {
    let columns = [column(SqlType::Int4), column(SqlType::Text)];
    let text: &[u8] = b"D\0\0\0\x10\0\x02\0\0\0\x017\0\0\0\x01aD\0\0\0\x0e\0\x02\xff\xff\xff\xff\0\0\0\0";
    let binary: &[u8] = b"D\0\0\0\x13\0\x02\0\0\0\x04\0\0\0\x07\0\0\0\x01aD\0\0\0\x0e\0\x02\xff\xff\xff\xff\0\0\0\0";
    for (formats, expected) in [(&[][..], text), (&[0], text), (&[1], binary), (&[1, 0], binary)] {
        let mut encoder = RowEncoder::new(&columns, formats, Arc::default()).unwrap();
        let mut out = BytesMut::new();
        assert_eq!(encoder.encode_batch(&batch(), 0, 2, &mut out).unwrap(), 2);
        assert_eq!(out, expected);
        assert_eq!(encoder.encode_batch(&batch(), 2, 100, &mut out).unwrap(), 1);
        assert_eq!(encoder.encode_batch(&batch(), 3, 100, &mut out).unwrap(), 0);
    }
}

#[test]
fn refused() {
    let columns = [column(SqlType::Int4), column(SqlType::Text)];
    let code = |formats: &[i16]| RowEncoder::new(&columns, formats, Arc::default()).unwrap_err().code().clone();
    assert_eq!(code(&[0, 1, 0]), SqlState::PROTOCOL_VIOLATION);
    assert_eq!(code(&[2]), SqlState::INVALID_PARAMETER_VALUE);

    let array: ArrayRef = Arc::new(UInt64Array::from(vec![1, u64::MAX]));
    let batch = RecordBatch::try_from_iter([("n", array)]).unwrap();
    let mut encoder = RowEncoder::new(&[column(SqlType::Int8)], &[], Arc::default()).unwrap();
    let error = encoder.encode_batch(&batch, 0, 2, &mut BytesMut::new()).unwrap_err();
    assert_eq!(error.code(), &SqlState::NUMERIC_VALUE_OUT_OF_RANGE);
}

#[test]
fn stops_at_a_chunk() {
    let wide = "x".repeat(CHUNK_BYTES / 4);
    let array: ArrayRef = Arc::new(StringViewArray::from(vec![wide.as_str(); 10]));
    let batch = RecordBatch::try_from_iter([("t", array)]).unwrap();
    let mut encoder = RowEncoder::new(&[column(SqlType::Text)], &[], Arc::default()).unwrap();
    let mut out = BytesMut::new();
    assert_eq!(encoder.encode_batch(&batch, 0, 10, &mut out).unwrap(), 4);
    assert_eq!(encoder.encode_batch(&batch, 4, 10, &mut out).unwrap(), 1, "a full buffer takes one row a time");
}
