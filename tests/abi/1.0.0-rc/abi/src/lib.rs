//! The contract between the Gristmill host and its plugins: every type that crosses the boundary.
//!
//! Everything here is `repr(C)`. Structures that the two sides may know in different lengths begin
//! with their size and are only ever appended to; a field past `struct_size` is not there. Nothing
//! is allocated on one side and freed on the other: text is borrowed for the call or lives in the
//! shared object, errors are written into the caller's [`ErrorText`].
//!
//! Layers, outermost first: [`descriptor`] (read from the file before any code runs), [`root`]
//! (the one `abi_stable` module), [`declaration`] (what the plugin brings), [`host`] (what it may
//! ask of the host), [`frame`] and [`buffer`] (what both touch for every packet).
#![expect(unsafe_code, reason = "raw structures shared by two binaries are Sync by contract")]

pub mod buffer;
pub mod command;
pub mod declaration;
pub mod deferred;
pub mod descriptor;
pub mod device;
pub mod file;
pub mod frame;
pub mod grow;
pub mod handoff;
pub mod host;
pub mod layout;
pub mod process;
pub mod root;
pub mod text;
pub mod work;

pub use text::{ErrorText, List, Status, Str};

/// Major version of the ABI; a plugin of another major is refused.
pub const ABI_MAJOR: u16 = 1;
/// Minor version of the ABI; a plugin that needs a higher one is refused.
pub const ABI_MINOR: u16 = 0;

/// First fields of every structure that may grow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Size of the whole structure as its maker knew it, in bytes.
    pub struct_size: u32,
    /// [`ABI_MAJOR`] of its maker.
    pub abi_major: u16,
    /// [`ABI_MINOR`] of its maker.
    pub abi_minor: u16,
}

impl Head {
    /// The head of a `T` made by this version.
    pub const fn of<T>() -> Self {
        let size = size_of::<T>();
        assert!(size <= u32::MAX as usize);
        #[expect(clippy::cast_possible_truncation, reason = "asserted above")]
        let struct_size = size as u32;
        Self { struct_size, abi_major: ABI_MAJOR, abi_minor: ABI_MINOR }
    }
}
