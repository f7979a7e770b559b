//! pg_catalog, information_schema and tidemill.*: real rows from the snapshot, made when read.
