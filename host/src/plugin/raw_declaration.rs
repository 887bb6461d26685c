//! Reads declarations out of a plugin's memory.
//!
//! A structure is read only as far as its size says it is there, and only after the pointers in
//! it that Rust takes to be valid have been looked at as numbers.
#![expect(unsafe_code, reason = "pointers into a plugin's image, typed by its declarations")]

use std::{ffi::c_void, mem::offset_of};

use gristmill_abi::{
    ABI_MAJOR, List,
    command::CommandDecl,
    declaration::{
        ArcDecl, Declaration, FeatureDecl, NodeDecl, OfferDecl, PluginDecl, RequireDecl, Variant,
    },
    device::DeviceClassDecl,
    grow::{self, Grows, HeadFault},
    root::{ENTRY_SYMBOL, Entry},
};

use super::{
    declarations::{Body, Declared},
    fault::DeclarationFault,
    kind::Kind,
    root::Root,
};

/// Most declarations of one plugin.
const DECLARATIONS_MAX: usize = 4096;

/// Reads every declaration of an image.
pub(super) fn read_all(root: Root) -> Result<Vec<Declared>, DeclarationFault> {
    let mut all = Vec::new();
    for index in 0_u32.. {
        let pointer = root.declaration(index);
        if pointer.is_null() {
            break;
        }
        if all.len() == DECLARATIONS_MAX {
            return Err(DeclarationFault::TooMany { limit: DECLARATIONS_MAX });
        }
        all.push(read_one(&format!("#{index}"), pointer)?);
    }
    Ok(all)
}

fn read_one(place: &str, pointer: *const Declaration) -> Result<Declared, DeclarationFault> {
    // SAFETY: the root module answers with null or a declaration that lives as long as its image,
    // which is for ever; every bit pattern of its fields is valid.
    let read = unsafe { grow::read(pointer) };
    let declaration = read.map_err(|fault| refused(place, "declaration", fault))?;
    let name = declaration.name.as_str().to_owned();
    if name.is_empty() {
        return Err(DeclarationFault::Missing { name: place.to_owned(), what: "name" });
    }
    let plugin = declaration.plugin.as_str().to_owned();
    let kind = declaration.kind.as_str();
    let body = declaration.body;
    let body = match Kind::of_declaration(kind) {
        None => return Err(DeclarationFault::Kind { kind: kind.to_owned(), name }),
        Some(Kind::Plugin) => Body::Plugin(read_body(&name, "PluginDecl", body)?),
        Some(Kind::Node) => {
            let node = read_body(&name, "NodeDecl", body)?;
            check_variants(&name, body)?;
            Body::Node(node)
        }
        Some(Kind::Arc) => Body::Arc(read_body(&name, "ArcDecl", body)?),
        Some(Kind::Feature) => Body::Feature(read_body(&name, "FeatureDecl", body)?),
        Some(Kind::DeviceClass) => Body::DeviceClass(read_body(&name, "DeviceClassDecl", body)?),
        Some(Kind::Command) => Body::Command(read_body(&name, "CommandDecl", body)?),
        Some(Kind::Offer) => Body::Offer(read_body(&name, "OfferDecl", body)?),
        Some(Kind::Require) => Body::Require(read_body(&name, "RequireDecl", body)?),
    };
    Ok(Declared { plugin, name, body })
}

/// What a structure's head is refused for, with the name of the declaration.
fn refused(name: &str, what: &'static str, fault: HeadFault) -> DeclarationFault {
    let name = name.to_owned();
    match fault {
        HeadFault::Major(found) => DeclarationFault::Major { name, what, found, host: ABI_MAJOR },
        HeadFault::Small { found, needed } => DeclarationFault::Small { name, what, found, needed },
        _ => DeclarationFault::Missing { name, what },
    }
}

/// The body of a declaration, valid whatever bytes it has once its functions are not null.
///
/// # Safety
/// Every field but those at `FUNCTIONS`, which the structure always had, is valid for every bit pattern.
unsafe trait Table: Grows {
    /// Offsets of fields that are function pointers.
    const FUNCTIONS: &'static [usize];
}

macro_rules! tables {
    ($($body:ty: $($function:ident)*;)*) => {$(
        // SAFETY: the fields named are its only function pointers, but for optional ones; the rest
        // are numbers, and text and lists, which are a raw pointer and a length. Optional functions
        // and those are valid if they are zeros.
        unsafe impl Table for $body {
            const FUNCTIONS: &'static [usize] = &[$(offset_of!($body, $function)),*];
        }
    )*};
}

tables! {
    Entry: declaration initialize;
    PluginDecl: create start stop notify destroy;
    NodeDecl: create destroy;
    ArcDecl: ;
    FeatureDecl: ;
    DeviceClassDecl: rx tx set_admin destroy;
    CommandDecl: run;
    OfferDecl: table;
    RequireDecl: ;
}

fn read_body<T: Table>(
    name: &str,
    what: &'static str,
    body: *const c_void,
) -> Result<T, DeclarationFault> {
    let body = body.cast::<T>();
    // SAFETY: what a declaration leads to begins with a head.
    unsafe { grow::check(body) }.map_err(|fault| refused(name, what, fault))?;
    for &offset in T::FUNCTIONS {
        let field = body.cast::<usize>().wrapping_byte_add(offset);
        // SAFETY: the body has at least the size that a `T` had first, and the field is in that.
        let function = unsafe { field.read() };
        if function == 0 {
            return Err(DeclarationFault::Missing { name: name.to_owned(), what: "function" });
        }
    }
    // SAFETY: it is a `T` as far as its size goes, lives for ever, and its functions are not null.
    unsafe { grow::read(body) }.map_err(|fault| refused(name, what, fault))
}

/// The entry of a plugin in C.
///
/// # Safety
/// `entry` begins with a head, and leads to as many bytes as that says, for ever.
pub(super) unsafe fn read_entry(entry: *const Entry) -> Result<Entry, DeclarationFault> {
    read_body(ENTRY_SYMBOL, "Entry", entry.cast())
}

/// Looks for null entries before anyone takes the list for one of functions.
fn check_variants(name: &str, body: *const c_void) -> Result<(), DeclarationFault> {
    const { assert!(size_of::<Variant>() == size_of::<[usize; 2]>()) };
    const { assert!(offset_of!(Variant, entry) == size_of::<usize>()) };
    let variants = body.wrapping_byte_add(offset_of!(NodeDecl, variants));
    // SAFETY: the body was read as a `NodeDecl`; a variant has the size and alignment of two words.
    let variants = unsafe { variants.cast::<List<'static, [usize; 2]>>().read() };
    if variants.as_slice().iter().any(|&[_, entry]| entry == 0) {
        return Err(DeclarationFault::Missing { name: name.to_owned(), what: "entry" });
    }
    Ok(())
}
