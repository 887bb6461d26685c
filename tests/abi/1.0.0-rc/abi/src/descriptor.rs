//! Records in the ELF section `.gristmill`, read from a file's bytes before any of its code runs.
//!
//! Each declaration macro leaves one. They hold no pointers, so they survive fat LTO, `strip` and
//! section garbage collection, and need no relocation to be read. The linker may put zero bytes
//! between them; a reader goes from 8-byte boundary to 8-byte boundary until it finds [`MAGIC`].

/// Name of the section.
pub const SECTION: &str = ".gristmill";
/// First bytes of every record.
pub const MAGIC: [u8; 8] = *b"GRSTMIL1";

/// What a record speaks of.
pub mod kind {
    /// The plugin itself: [`PluginRecord`](super::PluginRecord); exactly one in a file.
    pub const PLUGIN: u16 = 1;
    /// A node: name; `detail` empty.
    pub const NODE: u16 = 2;
    /// A feature arc: name; `detail` its end node.
    pub const ARC: u16 = 3;
    /// A feature: node name; `detail` its arc.
    pub const FEATURE: u16 = 4;
    /// A device class: name.
    pub const DEVICE_CLASS: u16 = 5;
    /// A command: its path; `detail` is its grammar, cut if longer.
    pub const COMMAND: u16 = 6;
    /// A service offered: name; `detail` its version.
    pub const OFFER: u16 = 7;
    /// A service required: name; `detail` the version range.
    pub const REQUIRE: u16 = 8;
}

/// First fields of every record.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct RecordHead {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// One of [`kind`].
    pub kind: u16,
    /// Reserved, 0.
    pub reserved: u16,
    /// Bytes of the record with this head.
    pub size: u32,
}

impl RecordHead {
    const fn of<T>(kind: u16) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "records are a few hundred bytes")]
        let size = size_of::<T>() as u32;
        Self { magic: MAGIC, kind, reserved: 0, size }
    }
}

/// [`PluginRecord::flags`]: built with `panic = "unwind"`.
pub const FLAG_PANIC_UNWIND: u32 = 1;

/// The plugin itself.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct PluginRecord {
    /// Head, kind [`kind::PLUGIN`].
    pub head: RecordHead,
    /// ABI major it was built against.
    pub abi_major: u16,
    /// ABI minor it needs at least.
    pub abi_minor: u16,
    /// `FLAG_*`.
    pub flags: u32,
    /// [`crate::layout::DIGEST`] of its build.
    pub layout_digest: u64,
    /// Name, zero-padded.
    pub name: [u8; 64],
    /// Version, zero-padded.
    pub version: [u8; 32],
    /// Version of the SDK, zero-padded.
    pub sdk_version: [u8; 32],
    /// One sentence, zero-padded.
    pub description: [u8; 128],
}

impl PluginRecord {
    /// A record for this build.
    ///
    /// # Panics
    /// At compile time, if a text does not fit.
    pub const fn new(name: &str, version: &str, sdk_version: &str, description: &str) -> Self {
        Self {
            head: RecordHead::of::<Self>(kind::PLUGIN),
            abi_major: crate::ABI_MAJOR,
            abi_minor: crate::ABI_MINOR,
            flags: if cfg!(panic = "unwind") { FLAG_PANIC_UNWIND } else { 0 },
            layout_digest: crate::layout::DIGEST,
            name: pad(name, false),
            version: pad(version, false),
            sdk_version: pad(sdk_version, false),
            description: pad(description, true),
        }
    }
}

/// Anything else: a name and one detail.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct NameRecord {
    /// Head.
    pub head: RecordHead,
    /// Name, zero-padded.
    pub name: [u8; 64],
    /// Detail, zero-padded.
    pub detail: [u8; 192],
}

impl NameRecord {
    /// A record of `kind`; the name must fit, the detail is cut.
    ///
    /// # Panics
    /// At compile time, if the name has more than 63 bytes.
    pub const fn new(kind: u16, name: &str, detail: &str) -> Self {
        Self {
            head: RecordHead::of::<Self>(kind),
            name: pad(name, false),
            detail: pad(detail, true),
        }
    }
}

const fn pad<const N: usize>(text: &str, cut: bool) -> [u8; N] {
    let from = text.as_bytes();
    assert!(cut || from.len() < N, "name or version too long for its record");
    let mut to = [0; N];
    let mut at = 0;
    while at < from.len() && at < N - 1 {
        to[at] = from[at];
        at += 1;
    }
    to
}

/// The text of a zero-padded field; `None` if it is not UTF-8.
pub fn text(field: &[u8]) -> Option<&str> {
    let len = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    core::str::from_utf8(&field[..len]).ok()
}
