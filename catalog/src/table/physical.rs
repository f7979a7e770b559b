//! How a column's type looks in files, and back.
