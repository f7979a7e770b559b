//! Parquet files to arrays, one column chunk at a time.
