//! What may be wrong inside a plugin: its ELF structure, its descriptor, its declarations.
//!
//! Each is the second half of a line that [`LoadError`](super::LoadError) begins with the path.

use super::kind::Kind;

/// What is wrong with a file as a shared object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ElfFault {
    /// No bytes.
    #[error("is empty: copy it again")]
    Empty,
    /// Another kind of file.
    #[error("is not an ELF file")]
    NotElf,
    /// Shorter than its headers say.
    #[error("is cut off: {what} ends at byte {end}, the file at {len}: copy it again")]
    CutOff {
        /// What is missing.
        what: &'static str,
        /// Where it would end.
        end: u64,
        /// Where the file ends.
        len: u64,
    },
    /// Another architecture.
    #[error("is built for {found}, this host for {host}: build it for {host}")]
    Machine {
        /// What the file is for.
        found: String,
        /// What the host is.
        host: &'static str,
    },
    /// A program.
    #[error("is an executable, not a plugin: build it as a cdylib")]
    Executable,
    /// An object file or a core dump.
    #[error("is an ELF file of type {found}, not a shared object: build it as a cdylib")]
    Type {
        /// `e_type`.
        found: u16,
    },
    /// No section headers, so the descriptor cannot be found.
    #[error("has no section headers: strip it with `strip`, which keeps them")]
    NoSections,
    /// A segment both writable and executable.
    #[error("has a segment that is writable and executable: link it with -z separate-code")]
    WritableCode,
    /// Loading it would make the host's stacks executable.
    #[error("asks for an executable stack: link it with -z noexecstack")]
    ExecutableStack,
    /// Relocations in its code.
    #[error("has relocations in its code (TEXTREL): compile it with -fPIC")]
    TextRelocations,
    /// A search path of its own.
    #[error("has {tag} {value:?}: link it without -rpath")]
    RunPath {
        /// RPATH or RUNPATH.
        tag: &'static str,
        /// Directories.
        value: String,
    },
    /// Brings other libraries along.
    #[error(
        "needs {library:?}: only the C library's own and libgcc_s are allowed, link it statically"
    )]
    Needed {
        /// Name of the library.
        library: String,
    },
    /// Passes for a system library.
    #[error("calls itself {soname:?}, a name other libraries are found by: change its -soname")]
    SystemName {
        /// Its `DT_SONAME`.
        soname: String,
    },
    /// Makes the linker load or call other objects.
    #[error("has the dynamic tag {tag}, which plugins may not have")]
    Tag {
        /// Its name.
        tag: &'static str,
    },
    /// Its headers contradict each other.
    #[error("is damaged: {what}: build or copy it again")]
    Damaged {
        /// What does not add up.
        what: &'static str,
    },
}

/// What is wrong with a descriptor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordFault {
    /// No `.gristmill` section.
    #[error("has no section .gristmill: it is not a plugin, or a tool dropped the section")]
    NoSection,
    /// No plugin record.
    #[error("has no plugin record: it needs `export_plugin!`")]
    NoPlugin,
    /// More than one plugin record.
    #[error("has {count} plugin records: use `export_plugin!` once in a shared object")]
    ManyPlugins {
        /// How many.
        count: usize,
    },
    /// Bytes that begin no record.
    #[error("has no record at byte {offset} of section .gristmill: rebuild it")]
    Magic {
        /// Offset in the section.
        offset: usize,
    },
    /// A later form of record.
    #[error("has records of form {form:?}, this host reads \"1\": update the host")]
    Form {
        /// Last byte of the magic.
        form: char,
    },
    /// A size that cannot be.
    #[error("has a record of {size} bytes at byte {offset} of section .gristmill: rebuild it")]
    Size {
        /// Offset in the section.
        offset: usize,
        /// Size it says.
        size: u32,
    },
    /// A kind of record this host does not know.
    #[error(
        "has a record of kind {number}, {name:?}, which this host does not know: update the host"
    )]
    Kind {
        /// The kind.
        number: u16,
        /// What stands where records have their name.
        name: String,
    },
    /// A text field with something else in it.
    #[error("has a {kind} record whose {field} is not zero-padded plain text: rebuild it")]
    Text {
        /// Kind of record.
        kind: Kind,
        /// Field.
        field: &'static str,
    },
    /// A name that is none.
    #[error("has the {kind} name {name:?}: names are lower-case words joined by hyphens")]
    Name {
        /// Kind of thing that is named.
        kind: Kind,
        /// The name.
        name: String,
    },
    /// Not a version.
    #[error("has {field} {text:?}: {cause}")]
    Version {
        /// What the version is of.
        field: &'static str,
        /// What is there.
        text: String,
        /// Why it is no version.
        cause: String,
    },
    /// Two of a kind under one name.
    #[error("has two {kind} records {name:?}: rename one")]
    Duplicate {
        /// Kind of record.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// More records than any plugin has.
    #[error("has more than {limit} records")]
    TooMany {
        /// Records allowed.
        limit: usize,
    },
}

/// What is wrong with what a plugin's code declares.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeclarationFault {
    /// Made for another layout than this host's.
    #[error(
        "its declaration {name:?} has {found} bytes of {what}, this host needs {needed}: rebuild it"
    )]
    Small {
        /// Name, or place in the list.
        name: String,
        /// Structure.
        what: &'static str,
        /// `struct_size`.
        found: u32,
        /// Bytes needed.
        needed: u32,
    },
    /// Made for another major version.
    #[error(
        "its declaration {name:?} has a {what} of ABI {found}, this host speaks {host}: rebuild it"
    )]
    Major {
        /// Name, or place in the list.
        name: String,
        /// Structure.
        what: &'static str,
        /// Its major version.
        found: u16,
        /// The host's.
        host: u16,
    },
    /// A pointer that cannot be one.
    #[error("its declaration {name:?} has no {what}: rebuild it")]
    Missing {
        /// Name, or place in the list.
        name: String,
        /// What is not there.
        what: &'static str,
    },
    /// A kind this host does not know.
    #[error("declares {name:?} of kind {kind:?}, which this host does not know: update the host")]
    Kind {
        /// The kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// Belongs to another plugin.
    #[error("declares {kind} {name:?} for plugin {found:?}, its descriptor says {plugin:?}")]
    Plugin {
        /// Kind of declaration.
        kind: Kind,
        /// Its name.
        name: String,
        /// The plugin it names.
        found: String,
        /// The plugin of the descriptor.
        plugin: String,
    },
    /// A value that is not allowed.
    #[error("declares {kind} {name:?} with {what}")]
    Value {
        /// Kind of declaration.
        kind: Kind,
        /// Its name.
        name: String,
        /// The value, and what is wrong with it.
        what: String,
    },
    /// In its code, not in its descriptor.
    #[error("declares {kind} {name:?}, which its descriptor does not have: rebuild it")]
    NotRecorded {
        /// Kind of declaration.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// In its descriptor, not in its code.
    #[error("does not declare {kind} {name:?}, which its descriptor has: rebuild it")]
    NotDeclared {
        /// Kind of record.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// More declarations than any plugin has.
    #[error("declares more than {limit} things")]
    TooMany {
        /// Declarations allowed.
        limit: usize,
    },
}
