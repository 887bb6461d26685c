//! Where the host enters an image: a root module of `abi_stable`, or the entry of a plugin in C.
#![expect(
    unsafe_code,
    reason = "functions of a plugin's image, of the types that the ABI gives them"
)]

use gristmill_abi::{
    declaration::Declaration,
    host::HostTable,
    root::{Entry, V1Ref},
};

/// What an image exports.
#[derive(Clone, Copy)]
pub(super) enum Root {
    Module(V1Ref),
    Entry(Entry),
}

impl Root {
    /// Hands the table to the image; 0 if it takes it.
    pub(super) fn initialize(self, table: &'static HostTable) -> i32 {
        match self {
            Self::Module(root) => (root.initialize())(std::ptr::from_ref(table).cast()),
            // SAFETY: by contract it may be called once the image is mapped.
            Self::Entry(entry) => unsafe { (entry.initialize)(table) }.0,
        }
    }

    /// The declaration at `index`; null past the last one.
    pub(super) fn declaration(self, index: u32) -> *const Declaration {
        match self {
            Self::Module(root) => (root.declaration())(index).cast(),
            // SAFETY: by contract it may be called once the image is initialised.
            Self::Entry(entry) => unsafe { (entry.declaration)(index) },
        }
    }

    /// Version of the SDK it was built with, as its code says.
    pub(super) fn sdk_version(self) -> Option<String> {
        match self {
            Self::Module(root) => Some((root.sdk_version())().as_str().to_owned()),
            Self::Entry(_) => None,
        }
    }
}
