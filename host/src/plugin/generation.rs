//! A generation: one loading of a plugin, from its state's creation to its end.
#![expect(unsafe_code, reason = "calls the plugin's functions")]

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use gristmill_abi::{
    ErrorText, List, Status, Str,
    declaration::{ConfigEntry, NodeDecl, PluginDecl},
    text::Opaque,
};

use super::image::Image;
use crate::graph::{Owner, node::Maker};

/// The plugin's state, as a word that threads share by contract.
#[derive(Clone, Copy, Debug)]
struct State(Opaque);

// SAFETY: a plugin's state is shared between threads by contract (`Send + Sync` in the SDK).
unsafe impl Send for State {}
// SAFETY: as above.
unsafe impl Sync for State {}

/// One loading of a plugin.
///
/// Whoever can still call into the plugin (a node's instance, a device, a command) holds one; the
/// state ends with the last of them.
pub struct Generation {
    /// Name of the plugin.
    pub name: String,
    /// Version of the plugin.
    pub version: String,
    /// Names it in calls to the host, and all that it registers.
    pub owner: Owner,
    /// Where it was read.
    pub path: std::path::PathBuf,
    /// Its code.
    pub image: Option<Arc<Image>>,
    decl: PluginDecl,
    state: OnceLock<State>,
    /// Commands of it that run now; one that waits does so for a while.
    commands: AtomicU32,
}

/// While it lives, a command of the generation runs.
#[derive(Debug)]
pub(super) struct RunningCommand<'a>(&'a AtomicU32);

impl Drop for RunningCommand<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Generation({} {} #{})", self.name, self.version, self.owner.0)
    }
}

impl Generation {
    /// A generation without state.
    pub fn new(
        name: &str,
        owner: Owner,
        path: std::path::PathBuf,
        image: Option<Arc<Image>>,
        decl: PluginDecl,
    ) -> Self {
        let version = decl.version.as_str().to_owned();
        let (name, state, commands) = (name.to_owned(), OnceLock::new(), AtomicU32::new(0));
        Self { name, version, owner, path, image, decl, state, commands }
    }

    /// Notes that a command of it runs.
    pub(super) fn enter_command(&self) -> RunningCommand<'_> {
        self.commands.fetch_add(1, Ordering::Relaxed);
        RunningCommand(&self.commands)
    }

    /// Commands of it that run now.
    pub fn running_commands(&self) -> u32 {
        self.commands.load(Ordering::Relaxed)
    }

    /// Makes the state. Context: main.
    ///
    /// # Errors
    /// The plugin's reason.
    pub fn create(&self, config: &[(String, String)]) -> Result<(), String> {
        let entries: Vec<ConfigEntry<'_>> = config
            .iter()
            .map(|(key, value)| ConfigEntry { key: Str::new(key), value: Str::new(value) })
            .collect();
        let mut error = ErrorText::new();
        // SAFETY: the function is the plugin's own; all it is given is good for the call.
        let state =
            unsafe { (self.decl.create)(self.owner.0, List::new(&entries), &raw mut error) };
        if state.is_null() {
            return Err(error.as_str().to_owned());
        }
        self.state.set(State(state)).map_err(|_| "it was created before".to_owned())
    }

    /// An address in its code.
    pub fn code(&self) -> usize {
        self.decl.create as usize
    }

    /// The state; null before [`create`](Self::create).
    pub fn state(&self) -> Opaque {
        self.state.get().map_or(std::ptr::null_mut(), |state| state.0)
    }

    /// Tells the plugin that its nodes are in the running graph. Context: main.
    ///
    /// # Errors
    /// The plugin's reason.
    pub fn start(&self) -> Result<(), String> {
        let mut error = ErrorText::new();
        // SAFETY: the state is the plugin's own.
        let status = unsafe { (self.decl.start)(self.state(), &raw mut error) };
        if status.is_ok() { Ok(()) } else { Err(error.as_str().to_owned()) }
    }

    /// Tells the plugin that its nodes are about to leave the graph. Context: main.
    pub fn stop(&self) -> Status {
        // SAFETY: the state is the plugin's own.
        unsafe { (self.decl.stop)(self.state()) }
    }

    /// Tells the plugin of a [`notice`](gristmill_abi::declaration::notice). Context: main.
    pub fn notify(&self, notice: u32, value: u64) -> Status {
        // SAFETY: the state is the plugin's own.
        unsafe { (self.decl.notify)(self.state(), notice, value) }
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if let Some(state) = self.state.get() {
            // SAFETY: `create` made it, and no one can call into this generation any more.
            unsafe { (self.decl.destroy)(state.0) };
        }
    }
}

/// Makes the instances of a plugin's node.
#[derive(Debug)]
pub struct PluginMaker {
    /// The declaration.
    pub decl: NodeDecl,
    /// The generation it belongs to.
    pub generation: Arc<Generation>,
}

impl Maker for PluginMaker {
    fn make(&self, thread: u32) -> Result<Opaque, String> {
        let mut error = ErrorText::new();
        // SAFETY: the state is that of the plugin that declared the node.
        let state = unsafe { (self.decl.create)(self.generation.state(), thread, &raw mut error) };
        if state.is_null() { Err(error.as_str().to_owned()) } else { Ok(state) }
    }

    #[expect(
        clippy::not_unsafe_ptr_arg_deref,
        reason = "the state is only handed back to its maker"
    )]
    fn end(&self, state: Opaque) {
        // SAFETY: `create` made it, and the last runtime that knew it is gone.
        unsafe { (self.decl.destroy)(state) };
    }
}
