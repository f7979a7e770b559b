//! Literal results of PostgreSQL 15.
