//! From declarations to a shared object.

use core::{
    ffi::c_void,
    sync::atomic::{AtomicPtr, Ordering},
};

use abi_stable::{library::RootModuleResult, prefix_type::WithMetadata, std_types::RStr};
use gristmill_abi::{
    declaration::Declaration,
    host::HostTable,
    root::{V1, V1Ref},
};

use crate::VERSION;

/// The declarations of all plugins linked into this image.
#[linkme::distributed_slice]
pub static DECLARATIONS: [Declaration];

/// The host's table; the same for all plugins of this image.
pub(crate) static HOST: AtomicPtr<HostTable> = AtomicPtr::new(core::ptr::null_mut());

/// Makes a shared object of the plugin crate that is named: the one thing in a `cdylib`.
///
/// With no argument it exports the plugin of the crate it is used in.
#[macro_export]
macro_rules! export_plugin {
    ($($plugin:ident)?) => {
        $(use $plugin as _;)?

        #[allow(unsafe_code, reason = "the one symbol the host looks up")]
        #[allow(missing_docs, reason = "named by abi_stable")]
        #[unsafe(no_mangle)]
        pub static _1as_0lib_1header_0root_bmodule_bloader: $crate::abi_stable::library::LibHeader =
            $crate::private::HEADER;
    };
}

/// One declaration other than the plugin's: record, body, element.
#[doc(hidden)]
#[macro_export]
macro_rules! __declare {
    (
        plugin: $plugin:ty,
        kind: $kind:ident,
        name: $name:expr,
        detail: $detail:expr,
        body: $body_type:ty = $body:expr,
    ) => {
        const _: () = {
            #[allow(unsafe_code, reason = "a record that the host reads from the file")]
            #[unsafe(link_section = ".gristmill")]
            #[used]
            static RECORD: $crate::abi::descriptor::NameRecord =
                $crate::abi::descriptor::NameRecord::new(
                    $crate::abi::descriptor::kind::$kind,
                    $name,
                    $detail,
                );
            static BODY: $crate::private::Recorded<$body_type> =
                $crate::private::Recorded::new($body, &RECORD.head);
            #[$crate::linkme::distributed_slice($crate::private::DECLARATIONS)]
            #[linkme(crate = $crate::linkme)]
            static DECLARATION: $crate::abi::declaration::Declaration =
                $crate::private::declaration::<$plugin, _>(
                    $crate::abi::declaration::kind::$kind,
                    $name,
                    &BODY,
                );
        };
    };
}

/// What the macros expand to; no part of the SDK's face.
pub mod private {
    #![expect(missing_docs, reason = "hidden")]

    use abi_stable::library::{CheckTypeLayout, LibHeader};
    use gristmill_abi::{
        Head, Str,
        command::CommandDecl,
        declaration::{NodeDecl, PluginDecl},
        descriptor::RecordHead,
        device::DeviceClassDecl,
    };

    pub use super::DECLARATIONS;
    use super::*;
    use crate::{Command, Device, Node, Plugin};

    /// The `abi_stable` header of a plugin's shared object.
    #[expect(
        clippy::declare_interior_mutable_const,
        reason = "it becomes a static where it is used"
    )]
    // SAFETY: `constructor` returns a `V1Ref`.
    pub const HEADER: LibHeader =
        unsafe { LibHeader::from_constructor::<V1Ref>(constructor, CheckTypeLayout::Yes) };

    /// A body with the record that speaks of the same thing. Where `#[used]` binds only the compiler
    /// (rustc 1.85), the linker keeps a record because the body leads to it.
    #[repr(C)]
    #[derive(Debug)]
    pub struct Recorded<B> {
        body: B,
        record: &'static RecordHead,
    }

    impl<B> Recorded<B> {
        pub const fn new(body: B, record: &'static RecordHead) -> Self {
            Self { body, record }
        }
    }

    pub const fn declaration<P: Plugin, B>(
        kind: &'static str,
        name: &'static str,
        body: &'static Recorded<B>,
    ) -> Declaration {
        Declaration {
            head: Head::of::<Declaration>(),
            kind: Str::new(kind),
            plugin: Str::new(P::NAME),
            name: Str::new(name),
            body: core::ptr::from_ref(body).cast::<c_void>(), // Whose first field is the body.
        }
    }

    pub const fn plugin_decl<P: Plugin>(
        version: &'static str,
        description: &'static str,
    ) -> PluginDecl {
        crate::plugin::decl::<P>(version, description)
    }

    pub const fn node_decl<N: Node>() -> NodeDecl {
        crate::node::decl::<N>()
    }

    pub const fn device_decl<D: Device>() -> DeviceClassDecl {
        crate::device::decl::<D>()
    }

    pub const fn command_decl<C: Command>() -> CommandDecl {
        crate::cli::decl::<C>()
    }

    pub use crate::service::shim;
}

extern "C" fn constructor() -> RootModuleResult {
    abi_stable::library::__call_root_module_loader(root)
}

/// The root module of this image.
fn root() -> V1Ref {
    const MODULE: &WithMetadata<V1> =
        &WithMetadata::new(V1 { sdk_version, declaration: declaration_at, initialize });
    V1Ref(MODULE.static_as_prefix())
}

extern "C" fn sdk_version() -> RStr<'static> {
    RStr::from_str(VERSION)
}

extern "C" fn declaration_at(index: u32) -> *const () {
    DECLARATIONS
        .get(index as usize)
        .map_or(core::ptr::null(), |declaration| core::ptr::from_ref(declaration).cast())
}

extern "C" fn initialize(host: *const ()) -> i32 {
    attach(host.cast());
    std::panic::set_hook(Box::new(|panic| {
        crate::host::log_error(&panic.to_string());
    }));
    0
}

/// Makes `host` the table that this image calls.
pub(crate) fn attach(host: *const HostTable) {
    HOST.store(host.cast_mut(), Ordering::Release);
}
