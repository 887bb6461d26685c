//! The plugin itself: its state, its life.

use core::mem::{ManuallyDrop, forget};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use gristmill_abi::{
    ErrorText, Head, List, Status, Str,
    declaration::{ConfigEntry, PluginDecl, PluginHandle, notice},
    text::Opaque,
};

use crate::{Config, Error, Host, InterfaceIndex, ThreadIndex};

/// Something changed in the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// An interface was created.
    InterfaceAdded(InterfaceIndex),
    /// An interface is about to be deleted.
    InterfaceRemoved(InterfaceIndex),
    /// An interface went up or down.
    InterfaceState(InterfaceIndex),
    /// A thread was added.
    ThreadAdded(ThreadIndex),
    /// A thread is gone.
    ThreadRemoved(ThreadIndex),
}

/// What all nodes, devices and commands of a plugin share.
///
/// State lives here and not in statics: the same code may be loaded twice with fresh state.
pub trait Plugin: Send + Sync + Sized + 'static {
    /// Name, kebab-case, unique in the host; third parties prefix it with theirs.
    const NAME: &'static str;

    /// Makes the state, before any node runs.
    ///
    /// Context: main, workers running.
    ///
    /// # Errors
    /// A reason; the plugin is not loaded then and leaves nothing behind.
    fn create(host: Host, config: &Config<'_>) -> Result<Self, Error>;

    /// Called once the plugin's nodes are in the running graph.
    ///
    /// # Errors
    /// A reason; the plugin is taken out again.
    fn start(self: &Arc<Self>) -> Result<(), Error> {
        Ok(())
    }

    /// Called before the plugin's nodes leave the graph.
    fn stop(self: &Arc<Self>) {}

    /// Tells of a change in the host.
    fn notify(self: &Arc<Self>, notice: Notice) {
        let _ = notice;
    }
}

/// Declares the [`Plugin`] of this crate; version and description are those of the package.
#[macro_export]
macro_rules! declare_plugin {
    ($plugin:ty) => {
        const _: () = {
            #[allow(unsafe_code, reason = "a record that the host reads from the file")]
            #[unsafe(link_section = ".gristmill")]
            #[used]
            static RECORD: $crate::abi::descriptor::PluginRecord =
                $crate::abi::descriptor::PluginRecord::new(
                    <$plugin as $crate::Plugin>::NAME,
                    env!("CARGO_PKG_VERSION"),
                    $crate::VERSION,
                    env!("CARGO_PKG_DESCRIPTION"),
                );
            static BODY: $crate::private::Recorded<$crate::abi::declaration::PluginDecl> =
                $crate::private::Recorded::new(
                    $crate::private::plugin_decl::<$plugin>(
                        env!("CARGO_PKG_VERSION"),
                        env!("CARGO_PKG_DESCRIPTION"),
                    ),
                    &RECORD.head,
                );
            #[$crate::linkme::distributed_slice($crate::private::DECLARATIONS)]
            #[linkme(crate = $crate::linkme)]
            static DECLARATION: $crate::abi::declaration::Declaration =
                $crate::private::declaration::<$plugin, _>(
                    $crate::abi::declaration::kind::PLUGIN,
                    <$plugin as $crate::Plugin>::NAME,
                    &BODY,
                );
        };
    };
}

/// Runs `f`; `None` if it panicked. The panic was reported by the hook; its payload is leaked,
/// because dropping it might panic again.
pub(crate) fn contain<R>(f: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(f)).map_err(forget).ok()
}

/// The plugin behind `state`, still owned by the host.
///
/// # Safety
/// `state` is what `create` of a `P` returned.
pub(crate) unsafe fn borrow<P>(state: Opaque) -> ManuallyDrop<Arc<P>> {
    // SAFETY: it is an `Arc<P>` turned into a pointer, whose count is not touched here.
    ManuallyDrop::new(unsafe { Arc::from_raw(state.cast::<P>().cast_const()) })
}

pub(crate) const fn decl<P: Plugin>(
    version: &'static str,
    description: &'static str,
) -> PluginDecl {
    PluginDecl {
        head: Head::of::<PluginDecl>(),
        version: Str::new(version),
        description: Str::new(description),
        create: create::<P>,
        start: start::<P>,
        stop: stop::<P>,
        notify: notify::<P>,
        destroy: destroy::<P>,
    }
}

/// Makes the plugin with those settings, of which it must know all.
pub(crate) fn make<P: Plugin>(host: Host, entries: &[ConfigEntry<'_>]) -> Result<P, Error> {
    crate::trace::attach(host);
    let config = Config::new(host, entries);
    let plugin = P::create(host, &config)?;
    match config.unknown() {
        Some(reason) => Err(Error::new(reason)),
        None => Ok(plugin),
    }
}

unsafe extern "C" fn create<P: Plugin>(
    host: PluginHandle,
    config: List<'_, ConfigEntry<'_>>,
    error: *mut ErrorText,
) -> Opaque {
    let made = contain(|| make::<P>(Host::new(host), config.as_slice()));
    // SAFETY: the host passes room for an error.
    match settle(made, unsafe { &mut *error }) {
        Ok(plugin) => Arc::into_raw(Arc::new(plugin)).cast_mut().cast(),
        Err(_) => core::ptr::null_mut(),
    }
}

unsafe extern "C" fn start<P: Plugin>(state: Opaque, error: *mut ErrorText) -> Status {
    // SAFETY: the host passes what `create` returned.
    let plugin = unsafe { borrow::<P>(state) };
    // SAFETY: the host passes room for an error.
    settle(contain(|| plugin.start()), unsafe { &mut *error })
        .map_or_else(|status| status, |()| Status::OK)
}

unsafe extern "C" fn stop<P: Plugin>(state: Opaque) -> Status {
    // SAFETY: the host passes what `create` returned.
    let plugin = unsafe { borrow::<P>(state) };
    contain(|| plugin.stop()).map_or(Status::PANICKED, |()| Status::OK)
}

unsafe extern "C" fn notify<P: Plugin>(state: Opaque, kind: u32, value: u64) -> Status {
    // SAFETY: the host passes what `create` returned.
    let plugin = unsafe { borrow::<P>(state) };
    let Ok(index) = u32::try_from(value) else { return Status::FAILED };
    let notice = match kind {
        notice::INTERFACE_ADDED => Notice::InterfaceAdded(InterfaceIndex(index)),
        notice::INTERFACE_REMOVED => Notice::InterfaceRemoved(InterfaceIndex(index)),
        notice::INTERFACE_STATE => Notice::InterfaceState(InterfaceIndex(index)),
        notice::THREAD_ADDED => Notice::ThreadAdded(ThreadIndex(index)),
        notice::THREAD_REMOVED => Notice::ThreadRemoved(ThreadIndex(index)),
        _ => return Status::OK, // A newer host tells of something this SDK does not know.
    };
    contain(|| plugin.notify(notice)).map_or(Status::PANICKED, |()| Status::OK)
}

unsafe extern "C" fn destroy<P: Plugin>(state: Opaque) -> Status {
    // SAFETY: the host gives back, once, what `create` returned.
    let plugin = unsafe { Arc::from_raw(state.cast::<P>().cast_const()) };
    contain(|| drop(plugin)).map_or(Status::PANICKED, |()| Status::OK)
}

/// Turns the outcome of contained code into a status, its reason written into `error`.
pub(crate) fn settle<R>(
    outcome: Option<Result<R, Error>>,
    error: &mut ErrorText,
) -> Result<R, Status> {
    match outcome {
        Some(Ok(value)) => Ok(value),
        Some(Err(reason)) => {
            error.set(&reason.to_string());
            Err(Status::FAILED)
        }
        None => {
            error.set("the plugin panicked; the log has its message");
            Err(Status::PANICKED)
        }
    }
}
