//! Services: tables of functions that plugins offer each other, by name and version.
//!
//! [`service!`](crate::service!) declares one and gives both sides a safe face; those of the
//! default plugins are declared here, so that everyone has them.

pub mod ethernet_types;
pub mod ip4_fib;

use core::fmt::Debug;

use gristmill_abi::{ErrorText, Head, Status, declaration::ServiceRef, text::Opaque};

use crate::{
    Error, Host, Plugin,
    plugin::{borrow, contain, settle},
};

/// Declares a service as a module with a `Provider` trait and a `Client`.
///
/// ```
/// plugin_api::service! {
///     /// Counts things.
///     pub mod tally("acme-tally", "1.2.0") {
///         /// Adds to the count of `thing` and returns it.
///         fn add(thing: u32, amount: u64) -> u64;
///     }
/// }
/// # fn main() {}
/// ```
/// Arguments and results are numbers or [`Str`](crate::abi::Str). Functions are added at the end,
/// with a new minor version; a client that needs one asks for that version.
#[macro_export]
macro_rules! service {
    ($(#[$meta:meta])* $vis:vis mod $service:ident($name:literal, $version:literal) {
        $($(#[$fn_meta:meta])* fn $function:ident($($arg:ident: $type:ty),* $(,)?) -> $result:ty;)+
    }) => {
        $(#[$meta])*
        #[allow(unsafe_code, reason = "both ends of calls through a table of functions")]
        $vis mod $service {
            #[allow(unused_imports, reason = "not every service passes text")]
            use $crate::abi::{ErrorText, Head, Status, Str, declaration::ServiceRef, text::Opaque};

            /// Name of the service.
            pub const NAME: &str = $name;
            /// Version of the service.
            pub const VERSION: &str = $version;
            /// The functions as they stand in the table, each with its types.
            pub const FUNCTIONS: &[&str] =
                &[$(concat!(stringify!($function), "(", $(stringify!($type), ", ",)* ") -> ",
                    stringify!($result))),+];

            /// The functions, as a plugin offers them.
            pub trait Provider: $crate::Plugin {
                $($(#[$fn_meta])*
                ///
                /// # Errors
                /// A reason for the caller.
                fn $function(&self, $($arg: $type),*) -> Result<$result, $crate::Error>;)+
            }

            /// The table that crosses the boundary.
            #[repr(C)]
            #[derive(Debug)]
            pub struct Table {
                head: Head,
                $($function: unsafe extern "C" fn(
                    Opaque, $($type,)* *mut $result, *mut ErrorText) -> Status,)+
            }

            struct TableOf<P>(core::marker::PhantomData<P>);

            impl<P: Provider> TableOf<P> {
                const TABLE: Table =
                    Table { head: Head::of::<Table>(), $($function: Self::$function,)+ };

                $(unsafe extern "C" fn $function(
                    context: Opaque, $($arg: $type,)*
                    result: *mut $result, error: *mut ErrorText) -> Status {
                    // SAFETY: the caller passes what the host gave it for this service.
                    unsafe {
                        $crate::private::shim::<P, _>(context, result, error, |plugin| {
                            plugin.$function($($arg),*)
                        })
                    }
                })+
            }

            #[doc(hidden)]
            pub unsafe extern "C" fn table<P: Provider>(_: Opaque) -> *const core::ffi::c_void {
                core::ptr::from_ref::<Table>(const { &TableOf::<P>::TABLE }).cast()
            }

            /// The service, as another plugin uses it. Main thread.
            #[derive(Clone, Copy, Debug)]
            pub struct Client($crate::service::Found);

            impl Client {
                /// Finds the service; the plugin must also declare that it requires it.
                ///
                /// # Errors
                /// If no plugin offers it in a version that fits `range`.
                pub fn find(host: $crate::Host, range: &str) -> Result<Self, $crate::Error> {
                    $crate::service::Found::find(host, NAME, range).map(Self)
                }

                $($(#[$fn_meta])*
                ///
                /// # Errors
                /// What the provider says.
                pub fn $function(&self, $($arg: $type),*) -> Result<$result, $crate::Error> {
                    let at = core::mem::offset_of!(Table, $function);
                    let mut result = <$result>::default();
                    self.0.call(at, |table, context, error| {
                        // SAFETY: the function is there, and the table is of this service.
                        let function = unsafe { (*table.cast::<Table>()).$function };
                        // SAFETY: all pointers are good for the call.
                        unsafe { function(context, $($arg,)* &raw mut result, error) }
                    })?;
                    Ok(result)
                })+
            }
        }
    };
}

/// Declares that this plugin offers a [`service!`](crate::service!).
#[macro_export]
macro_rules! offer_service {
    ($plugin:ty, $($service:ident)::+) => {
        $crate::__declare! {
            plugin: $plugin,
            kind: OFFER,
            name: $($service)::+::NAME,
            detail: $($service)::+::VERSION,
            body: $crate::abi::declaration::OfferDecl = $crate::abi::declaration::OfferDecl {
                head: $crate::abi::Head::of::<$crate::abi::declaration::OfferDecl>(),
                version: $crate::abi::Str::new($($service)::+::VERSION),
                table: $($service)::+::table::<$plugin>,
            },
        }
    };
}

/// Declares that this plugin cannot work without a [`service!`](crate::service!).
#[macro_export]
macro_rules! require_service {
    ($plugin:ty, $($service:ident)::+, $range:literal) => {
        $crate::__declare! {
            plugin: $plugin,
            kind: REQUIRE,
            name: $($service)::+::NAME,
            detail: $range,
            body: $crate::abi::declaration::RequireDecl = $crate::abi::declaration::RequireDecl {
                head: $crate::abi::Head::of::<$crate::abi::declaration::RequireDecl>(),
                range: $crate::abi::Str::new($range),
            },
        }
    };
}

/// A service that was found.
#[derive(Clone, Copy, Debug)]
pub struct Found(ServiceRef);

// SAFETY: the table is immutable and the context is a plugin's shared state.
unsafe impl Send for Found {}
// SAFETY: as above.
unsafe impl Sync for Found {}

impl Found {
    #[doc(hidden)]
    pub fn find(host: Host, name: &str, range: &str) -> Result<Self, Error> {
        host.service(name, range).map(Self)
    }

    #[doc(hidden)]
    pub fn call(
        &self,
        at: usize,
        call: impl FnOnce(*const core::ffi::c_void, Opaque, *mut ErrorText) -> Status,
    ) -> Result<(), Error> {
        // SAFETY: every table begins with a `Head`.
        let head = unsafe { &*self.0.table.cast::<Head>() };
        if at + size_of::<usize>() > head.struct_size as usize {
            return Err(Error::new("the provider of the service is too old for this call"));
        }
        let mut error = ErrorText::new();
        match call(self.0.table, self.0.context, &raw mut error) {
            Status::OK => Ok(()),
            _ => Err(Error::from_text(&error)),
        }
    }
}

/// Runs a provider's function at the boundary.
///
/// # Safety
/// `context` is the state of a `P`; `result` and `error` have room.
#[doc(hidden)]
pub unsafe fn shim<P: Plugin, R: Debug>(
    context: Opaque,
    result: *mut R,
    error: *mut ErrorText,
    function: impl FnOnce(&P) -> Result<R, Error>,
) -> Status {
    // SAFETY: by the caller's promise.
    let plugin = unsafe { borrow::<P>(context) };
    // SAFETY: by the caller's promise.
    let error = unsafe { &mut *error };
    match settle(contain(|| function(&plugin)), error) {
        Ok(value) => {
            // SAFETY: by the caller's promise.
            unsafe { result.write(value) };
            Status::OK
        }
        Err(status) => status,
    }
}

#[cfg(test)]
mod tests {
    use super::{ethernet_types, ip4_fib};

    /// What each version had stays where it is, and what is new comes after it, with the next minor
    /// version of the service.
    #[test]
    fn the_tables_of_the_default_plugins_are_only_appended_to() {
        for (version, functions, first) in [
            (
                ethernet_types::VERSION,
                ethernet_types::FUNCTIONS,
                &["register(u16, Str<'_>, ) -> u16"][..],
            ),
            (
                ip4_fib::VERSION,
                ip4_fib::FUNCTIONS,
                &["add_route(u32, u32, u32, u32, ) -> u32", "remove_route(u32, u32, ) -> u32"],
            ),
        ] {
            assert!(functions.starts_with(first), "{functions:?}: 1.0.0 was {first:?}");
            let grown = functions.len() > first.len();
            assert_eq!(
                version != "1.0.0",
                grown,
                "a new function is a new minor version: {functions:?}"
            );
        }
    }
}
