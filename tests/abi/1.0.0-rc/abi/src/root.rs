//! Where a host enters an image: the root module of one in Rust, or the [`Entry`] of one in C.
//!
//! The root module is three functions over primitives, frozen for ever: `abi_stable` refuses an old
//! plugin on a newer host for every type reachable from the root, so nothing richer is reachable from
//! it; what grows is behind the opaque pointers.

use abi_stable::{
    StableAbi, library::RootModule, package_version_strings, sabi_types::VersionStrings,
    std_types::RStr,
};

use crate::{Head, Status, declaration::Declaration, host::HostTable};

/// Name of the symbol that holds the `abi_stable` header of a plugin.
pub const ROOT_SYMBOL: &str = "_1as_0lib_1header_0root_bmodule_bloader";

/// The root module, version 1.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = V1Ref, prefix_fields = V1Prefix)))]
#[sabi(missing_field(panic))]
pub struct V1 {
    /// Version of the SDK the plugin was built with.
    pub sdk_version: extern "C" fn() -> RStr<'static>,
    /// The declaration at `index` (a [`Declaration`]), null past
    /// the last one.
    pub declaration: extern "C" fn(index: u32) -> *const (),
    /// Hands the host's table (a [`HostTable`]) to the image; 0 is success.
    #[sabi(last_prefix_field)]
    pub initialize: extern "C" fn(host: *const ()) -> i32,
}

impl RootModule for V1Ref {
    abi_stable::declare_root_module_statics! {V1Ref}

    const BASE_NAME: &'static str = "gristmill_plugin";
    const NAME: &'static str = "gristmill_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// Name of the symbol that holds the [`Entry`] of an image without a root module.
pub const ENTRY_SYMBOL: &str = "gristmill_plugin_entry";

/// What a plugin in C exports in the place of a root module: the same three things.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Size and version.
    pub head: Head,
    /// The declaration at `index`, null past the last one.
    pub declaration: unsafe extern "C" fn(index: u32) -> *const Declaration,
    /// Hands the host's table to the image, before any declaration is asked for.
    pub initialize: unsafe extern "C" fn(host: *const HostTable) -> Status,
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_symbol_is_the_one_abi_stable_looks_up() {
        assert_eq!(super::ROOT_SYMBOL, abi_stable::library::ROOT_MODULE_LOADER_NAME);
    }
}
