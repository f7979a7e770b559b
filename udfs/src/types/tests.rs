//! Values both ways, against literal results of PostgreSQL 15.
