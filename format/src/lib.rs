//! The repository format, version 1: encodings, cryptography and trust. Pure: no I/O, no clock, no async.
