//! A laboratory for whole-host tests: the real `gristmill` in a process of its own, spoken to by
//! the real `millctl`, with network namespaces on either side.
//!
//! Read in this order: [`lab`] (a host that runs), [`answer`] (what it says), [`traffic`] (packets
//! that are accounted for), [`netns`] (networks to test with), `inside` (sockets in them),
//! [`between`] (a host that forwards), [`flood`] (numbered datagrams through it), [`packet`] and
//! [`capture`], [`demo`], [`rest`], `build` and `turn` (what they stand on).
//!
//! ```no_run
//! use gristmill_tests::Lab;
//!
//! let lab = Lab::options().plugins(&["ethernet", "null"]).start();
//! lab.run("create null");
//! assert_eq!(lab.run("show interface").text(0, "State"), "down");
//! lab.finish();
//! ```

pub mod answer;
pub mod between;
mod build;
pub mod capture;
pub mod demo;
pub mod flood;
mod inside;
pub mod lab;
pub mod netns;
pub mod packet;
pub mod rest;
pub mod tools;
pub mod traffic;
mod turn;

pub use answer::Answer;
pub use between::{Between, Link, Shape};
pub use build::{Build, SOURCE};
pub use flood::Flood;
pub use lab::{Failure, Lab, Options};
pub use netns::Netns;
pub use tools::{need_root, need_tool};
pub use traffic::Traffic;
