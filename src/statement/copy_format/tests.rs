//! COPY formats, against literal results of PostgreSQL 15.
