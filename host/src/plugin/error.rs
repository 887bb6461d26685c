//! Why a plugin did not load.
//!
//! Every message is one line that names the file and the cause, so nothing here has a `source`
//! that a caller would have to print as well.

use std::{io, path::PathBuf};

use super::fault::{DeclarationFault, ElfFault, RecordFault};
use super::services::ServiceError;
use crate::host::GraphError;

/// Why a plugin did not load. The host runs on; nothing of the plugin stays registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A plugin of that name is loaded.
    #[error("{}: plugin {name} {version} is loaded already: unload it first", path.display())]
    Loaded {
        /// The file.
        path: PathBuf,
        /// The plugin.
        name: String,
        /// Version of the one that is loaded.
        version: String,
    },
    /// The host was told to end while the file was read.
    #[error("{}: not loaded, the host ends", path.display())]
    Ending {
        /// The file.
        path: PathBuf,
    },
    /// Something of that name is another plugin's.
    #[error("{}: the {what} name {name:?} is taken by {other}", path.display())]
    Taken {
        /// The file.
        path: PathBuf,
        /// What has the name.
        what: &'static str,
        /// The name.
        name: String,
        /// Who has it.
        other: String,
    },
    /// A service it requires is missing, or one it offers is there already.
    #[error("{}: {cause}", path.display())]
    Service {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: Box<ServiceError>,
    },
    /// A command cannot be registered.
    #[error("{}: {reason}", path.display())]
    Command {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Its nodes, arcs or features do not fit the graph.
    #[error("{}: {cause}", path.display())]
    Graph {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: Box<GraphError>,
    },
    /// It could not be created.
    #[error("{}: cannot be created: {reason}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// The plugin's reason.
        reason: String,
    },
    /// It could not start; it was taken out again.
    #[error("{}: cannot start: {reason}", path.display())]
    Start {
        /// The file.
        path: PathBuf,
        /// The plugin's reason.
        reason: String,
    },
    /// Not a plugin's name.
    #[error("{name:?} is not a plugin's name: lower-case words joined by hyphens, or give a path")]
    Name {
        /// What was asked for.
        name: String,
    },
    /// No file of that name where plugins are looked for.
    #[error("no plugin {name}: looked for {file} in {}", list(places))]
    NotFound {
        /// The plugin.
        name: String,
        /// Name of its file.
        file: String,
        /// Directories, in the order they were looked at.
        places: Vec<PathBuf>,
    },
    /// It cannot be opened or read.
    #[error("{}: cannot be read: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A directory, a device, a pipe.
    #[error("{}: is {found}, not a file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// More bytes than a plugin may have.
    #[error("{}: has more than {limit} bytes: strip its debug information", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes allowed.
        limit: u64,
    },
    /// Others could replace it.
    #[error("{}: {fault}", path.display())]
    Ownership {
        /// The file.
        path: PathBuf,
        /// Who could, and where.
        fault: OwnershipFault,
    },
    /// Not a shared object that is safe to map.
    #[error("{}: {fault}", path.display())]
    Elf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: ElfFault,
    },
    /// Its descriptor is missing or wrong.
    #[error("{}: {fault}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: RecordFault,
    },
    /// Built against another major version of the ABI.
    #[error(
        "{}: speaks plugin ABI {found}, this host {host}: rebuild it against plugin-api {host}.x",
        path.display()
    )]
    AbiMajor {
        /// The file.
        path: PathBuf,
        /// Its major version.
        found: u16,
        /// The host's.
        host: u16,
    },
    /// Needs a newer minor version of the ABI.
    #[error(
        "{}: needs plugin ABI {major}.{found}, this host has {major}.{host} and lacks {}: \
         update the host, or rebuild the plugin against plugin-api {major}.{host}",
        path.display(), versions(*major, *host, *found, lacking)
    )]
    AbiMinor {
        /// The file.
        path: PathBuf,
        /// Major version of both.
        major: u16,
        /// Its minor version.
        found: u16,
        /// The host's.
        host: u16,
        /// What the plugin's records have and require that this host does not know, each in words.
        lacking: Vec<String>,
    },
    /// Built against other layouts of the same ABI.
    #[error(
        "{}: was built with ABI layouts {found:#018x}, this host with {host:#018x}: \
         rebuild it against the released plugin-api",
        path.display()
    )]
    Layout {
        /// The file.
        path: PathBuf,
        /// Its digest.
        found: u64,
        /// The host's.
        host: u64,
    },
    /// A panic in it would end the host.
    #[error(
        "{}: was built with panic=abort, so a panic in it would end the host: \
         rebuild it with panic=unwind, or allow it in the configuration",
        path.display()
    )]
    PanicAbort {
        /// The file.
        path: PathBuf,
    },
    /// Its code exports no root module.
    #[error(
        "{}: exports no root module: it needs `export_plugin!` once, in the crate that makes the \
         shared object, or `gristmill_plugin_entry` if it is in C",
        path.display()
    )]
    NoRoot {
        /// The file.
        path: PathBuf,
    },
    /// The process is near its limit of mappings.
    #[error(
        "{}: the process has {used} of {limit} memory mappings and loading stops at 80 %: \
         restart the host, or raise vm.max_map_count",
        path.display()
    )]
    TooManyMaps {
        /// The file.
        path: PathBuf,
        /// Mappings there are.
        used: usize,
        /// Mappings the kernel allows.
        limit: usize,
    },
    /// Its private copy could not be written.
    #[error("{}: cannot be copied to {}: {cause}", path.display(), place.display())]
    Copy {
        /// The file.
        path: PathBuf,
        /// Where the copy would be.
        place: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The dynamic linker refused it.
    #[error("{}: cannot be linked: {cause}", path.display())]
    Link {
        /// The file.
        path: PathBuf,
        /// What the linker said.
        cause: String,
    },
    /// Its root module does not fit.
    #[error("{}: its root module does not fit: {summary}", path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// The first thing that differs.
        summary: String,
        /// All of it, up to hundreds of lines: for the log.
        detail: String,
    },
    /// Its image could not be initialised.
    #[error("{}: its image refused the host's table (status {status})", path.display())]
    Initialize {
        /// The file.
        path: PathBuf,
        /// What it answered.
        status: i32,
    },
    /// What its code declares is wrong.
    #[error("{}: {fault}", path.display())]
    Declaration {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: DeclarationFault,
    },
}

fn list(places: &[PathBuf]) -> String {
    if places.is_empty() {
        return "no directory (give one with --plugin-dir)".to_owned();
    }
    let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
    places.join(", ")
}

/// The versions between the host's and the plugin's, and what of them the plugin's records show.
fn versions(major: u16, host: u16, found: u16, lacking: &[String]) -> String {
    let first = host.saturating_add(1);
    let versions = if first >= found {
        format!("{major}.{found}")
    } else {
        format!("{major}.{first} to {major}.{found}")
    };
    if lacking.is_empty() { versions } else { format!("{versions} ({})", lacking.join("; ")) }
}

/// Who could change a plugin's file behind the host's back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnershipFault {
    /// Its bits let others write.
    #[error("{} is writable by others: chmod go-w {}", at.display(), at.display())]
    Writable {
        /// The file or one of its parent directories.
        at: PathBuf,
    },
    /// It belongs to someone else.
    #[error(
        "{} belongs to uid {owner}, neither root nor the host's own: chown root {}",
        at.display(), at.display()
    )]
    Owner {
        /// The file or one of its parent directories.
        at: PathBuf,
        /// Who owns it.
        owner: u32,
    },
    /// The opened file is not what its name leads to.
    #[error("its directory entry is gone or leads elsewhere: put it where it stays")]
    Moved,
    /// A parent directory cannot be looked at.
    #[error("{} cannot be checked: {cause}", at.display())]
    Unknown {
        /// The file or one of its parent directories.
        at: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// Why a plugin was not unloaded; it runs on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnloadError {
    /// None of that name is loaded.
    #[error("no plugin {0:?} is loaded")]
    Unknown(String),
    /// Others cannot do without it.
    #[error("{name} is in use: {}", holders.join(", "))]
    Held {
        /// The plugin.
        name: String,
        /// Who holds on to it.
        holders: Vec<String>,
    },
    /// Its nodes cannot be taken out of the graph.
    #[error("{name} stays loaded: {source}")]
    Graph {
        /// The plugin.
        name: String,
        /// What is wrong.
        source: GraphError,
    },
}
