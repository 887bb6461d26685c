//! Loading plugins: from a file's bytes to the declarations of a mapped image.
//!
//! In the order a plugin travels: [`SearchPath`] finds its file by name, [`inspect`] reads and
//! checks the bytes before any of their code runs, [`Copies`] makes a private copy of them,
//! [`Images`] maps that, asks the root module for [`Declarations`] and holds them against what the file
//! said of itself;
//! [`load`] makes a [`generation`](generation::Generation) of it and splices its nodes into the
//! running graph; [`registry`] knows all that it registered and takes it away again.

pub mod classes;
pub mod command;
mod copies;
mod declarations;
mod descriptor;
mod elf;
mod elf_dynamic;
mod elf_segments;
mod error;
mod fault;
pub mod generation;
mod image;
mod inspect;
mod kind;
pub mod lifecycle;
pub mod listeners;
pub mod load;
mod maps;
mod name;
mod ownership;
mod place;
mod private_copy;
mod raw_declaration;
pub mod registry;
mod root;
mod search;
pub mod services;
pub mod slots;
pub mod table;
#[cfg(test)]
mod testing;

pub use copies::{Copied, Copies};
pub use declarations::{Body, Declarations, Declared};
pub use descriptor::{
    ArcRecord, CommandRecord, Description, FeatureRecord, OfferRecord, RequireRecord,
};
pub use error::{LoadError, OwnershipFault, UnloadError};
pub use fault::{DeclarationFault, ElfFault, RecordFault};
pub use image::{Image, Images};
pub use inspect::{Inspected, Ownership, Trust, inspect, inspect_bytes};
pub use kind::Kind;
pub use maps::MapUsage;
pub use place::image_directories;
pub use search::{SearchPath, privileged};
