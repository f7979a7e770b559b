//! `tidemill demo`: example data through the front door.
