//! Tests of host state files.
