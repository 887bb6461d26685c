//! A lab for whole-host tests.
