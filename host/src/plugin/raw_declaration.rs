//! Reads declarations out of a plugin's memory.
//!
//! A structure is read only as far as its size says it is there, and only after the pointers in
//! it that Rust takes to be valid have been looked at as numbers.
#![expect(unsafe_code, reason = "pointers into a plugin's image, typed by its declarations")]

use std::{
    ffi::c_void,
    mem::{MaybeUninit, offset_of},
};

use gristmill_abi::{
    ABI_MAJOR, Head, List,
    command::CommandDecl,
    declaration::{
        ArcDecl, Declaration, FeatureDecl, NODE_DECL_SIZE_1_0, NodeDecl, OfferDecl, PluginDecl,
        RequireDecl, Variant,
    },
    device::DeviceClassDecl,
    root::V1Ref,
};

use super::{
    declarations::{Body, Declared},
    fault::DeclarationFault,
    kind::Kind,
};

/// Most declarations of one plugin.
const DECLARATIONS_MAX: usize = 4096;

/// Reads every declaration of an image.
pub(super) fn read_all(root: V1Ref) -> Result<Vec<Declared>, DeclarationFault> {
    let declaration = root.declaration();
    let mut all = Vec::new();
    for index in 0_u32.. {
        let pointer = declaration(index).cast::<Declaration>();
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
    check_head(place, "declaration", pointer, size_of::<Declaration>())?;
    // SAFETY: the root module answers with null or a declaration that lives as long as its image,
    // which is for ever; its size was checked, and every bit pattern of its fields is valid.
    let declaration = unsafe { pointer.read() };
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

/// Checks that a pointer can lead to a `T` and that the structure there is at least as large as a `T`
/// has to be; its size.
fn check_head<T>(
    name: &str,
    what: &'static str,
    pointer: *const T,
    least: usize,
) -> Result<usize, DeclarationFault> {
    if pointer.is_null() || !pointer.is_aligned() {
        return Err(DeclarationFault::Missing { name: name.to_owned(), what });
    }
    // SAFETY: the pointer is aligned, and what a plugin declares begins with a head.
    let head = unsafe { pointer.cast::<Head>().read() };
    if head.abi_major != ABI_MAJOR {
        let name = name.to_owned();
        return Err(DeclarationFault::Major { name, what, found: head.abi_major, host: ABI_MAJOR });
    }
    let needed = u32::try_from(least).expect("declarations are a few hundred bytes");
    if head.struct_size < needed {
        let name = name.to_owned();
        return Err(DeclarationFault::Small { name, what, found: head.struct_size, needed });
    }
    Ok(head.struct_size as usize)
}

/// The body of a declaration, valid whatever bytes it has once its functions are not null.
///
/// # Safety
/// Every field but those at `FUNCTIONS` is valid for every bit pattern, and what follows the first
/// `LEAST` bytes is valid if it is all zeros.
unsafe trait Table: Copy {
    /// Offsets of fields that are function pointers.
    const FUNCTIONS: &'static [usize];
    /// Bytes that one has at least: what was appended later may be missing.
    const LEAST: usize = size_of::<Self>();
}

macro_rules! tables {
    ($($body:ty $(, $least:ident)?: $($function:ident)*;)*) => {$(
        // SAFETY: the fields named are its only function pointers, but for optional ones; the rest
        // are numbers, and text and lists, which are a raw pointer and a length. Optional functions
        // and those are valid if they are zeros.
        unsafe impl Table for $body {
            const FUNCTIONS: &'static [usize] = &[$(offset_of!($body, $function)),*];
            $(const LEAST: usize = $least;)?
        }
    )*};
}

tables! {
    PluginDecl: create start stop notify destroy;
    NodeDecl, NODE_DECL_SIZE_1_0: create destroy;
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
    let size = check_head(name, what, body, T::LEAST)?;
    for &offset in T::FUNCTIONS {
        let field = body.cast::<usize>().wrapping_byte_add(offset);
        // SAFETY: the field is one of the first `LEAST` bytes of a `T`, which are there.
        let function = unsafe { field.read() };
        if function == 0 {
            return Err(DeclarationFault::Missing { name: name.to_owned(), what: "function" });
        }
    }
    let mut read = MaybeUninit::<T>::zeroed();
    let (from, to) = (body.cast::<u8>(), read.as_mut_ptr().cast::<u8>());
    let there = if size < size_of::<T>() { T::LEAST } else { size_of::<T>() };
    // SAFETY: so many bytes are there, and there is room for as many.
    unsafe { std::ptr::copy_nonoverlapping(from, to, there) };
    // SAFETY: it lives for ever, its functions are not null, and what is missing is zeros.
    Ok(unsafe { read.assume_init() })
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
