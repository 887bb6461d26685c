//! Reading a structure that another version of the ABI may have made.

use core::{
    fmt,
    mem::{MaybeUninit, size_of},
    ptr,
};

use crate::{
    ABI_MAJOR, Head,
    command::CommandDecl,
    declaration::{
        ArcDecl, Declaration, FeatureDecl, NodeDecl, OfferDecl, PluginDecl, RequireDecl,
    },
    deferred::{SoftirqSpec, TaskletSpec},
    device::{DeviceClassDecl, InterfaceSpec},
    file::FileSpec,
    host::{CallSpec, TimerSpec},
    layout::first_size,
    process::{DelayedEvent, ProcessSpec, Wait},
    root::Entry,
    work::{WorkItemSpec, WorkQueueSpec},
};

/// A structure that says its size, and may be appended to.
///
/// # Safety
/// It begins with a [`Head`], and each field appended since its first version is valid, and means that
/// nothing is asked for, when its bytes are 0. (An appended function is an `Option`.)
pub unsafe trait Grows: Copy {
    /// Its size in the version that brought it; no maker's is smaller.
    const FIRST_SIZE: usize;
}

macro_rules! grows {
    ($($name:ident $(<$life:lifetime>)?)*) => {$(
        // SAFETY: as `layout::LAYOUTS` says; nothing was appended yet that is not valid when it is 0.
        unsafe impl Grows for $name $(<$life>)? {
            const FIRST_SIZE: usize = first_size(stringify!($name));
        }
    )*};
}

grows! {
    Entry Declaration PluginDecl NodeDecl ArcDecl FeatureDecl DeviceClassDecl CommandDecl OfferDecl RequireDecl
    InterfaceSpec<'_> FileSpec<'_> TimerSpec<'_> ProcessSpec<'_> CallSpec Wait DelayedEvent
    SoftirqSpec<'_> TaskletSpec<'_> WorkQueueSpec<'_> WorkItemSpec<'_>
}

/// Why a structure cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadFault {
    /// The pointer is null, or cannot lead to one.
    Missing,
    /// It was made for another major version.
    Major(u16),
    /// It is smaller than it ever was.
    Small {
        /// Bytes it says it has.
        found: u32,
        /// Bytes it had from the beginning.
        needed: u32,
    },
}

impl core::error::Error for HeadFault {}

impl fmt::Display for HeadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("a pointer is null or not aligned"),
            Self::Major(found) => {
                write!(f, "a structure is of ABI {found}, this is {ABI_MAJOR}")
            }
            Self::Small { found, needed } => {
                write!(f, "a structure has {found} bytes, and {needed} are needed")
            }
        }
    }
}

/// Checks the head of the structure at `from`, and gives how many bytes of it a `T` can be read from.
///
/// # Errors
/// If it is none.
///
/// # Safety
/// `from` is null, not aligned, or leads to a [`Head`].
pub unsafe fn check<T: Grows>(from: *const T) -> Result<usize, HeadFault> {
    if from.is_null() || !from.is_aligned() {
        return Err(HeadFault::Missing);
    }
    // SAFETY: by the caller's promise.
    let head = unsafe { from.cast::<Head>().read() };
    if head.abi_major != ABI_MAJOR {
        return Err(HeadFault::Major(head.abi_major));
    }
    #[expect(clippy::cast_possible_truncation, reason = "a few hundred bytes")]
    let needed = T::FIRST_SIZE as u32;
    if head.struct_size < needed {
        return Err(HeadFault::Small { found: head.struct_size, needed });
    }
    Ok((head.struct_size as usize).min(size_of::<T>()))
}

/// Copies the structure at `from`; what its maker did not know is 0, what we do not know is left out.
///
/// # Errors
/// If its head does not fit.
///
/// # Safety
/// `from` is null, not aligned, or leads to as many bytes as the [`Head`] there says, which are a `T` as
/// far as they go.
pub unsafe fn read<T: Grows>(from: *const T) -> Result<T, HeadFault> {
    // SAFETY: by the caller's promise.
    let size = unsafe { check(from) }?;
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: both have `size` bytes, and the copy is ours.
    unsafe { ptr::copy_nonoverlapping(from.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), size) };
    // SAFETY: what was copied is a `T` up to there, and of the rest zeros are valid (`Grows`).
    Ok(unsafe { value.assume_init() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Wait` as a later version could have it.
    #[repr(C)]
    #[derive(Clone, Copy, Debug)]
    struct Longer {
        now: Wait,
        later: u64,
        function: Option<extern "C" fn()>,
    }
    // SAFETY: it begins with `Wait`'s head, and zeros are valid in the two fields behind it.
    unsafe impl Grows for Longer {
        const FIRST_SIZE: usize = size_of::<Wait>();
    }

    const NOW: Wait = Wait {
        head: Head::of::<Wait>(),
        flags: 1,
        woken: 2,
        events: 3,
        timeout_ns: 4,
        process: ptr::null(),
    };

    #[test]
    fn what_an_older_maker_did_not_know_is_zero() {
        // Garbage lies behind it.
        let made = [NOW, NOW];
        // SAFETY: a `Wait` is a `Longer` as far as its size goes.
        let read = unsafe { read(made.as_ptr().cast::<Longer>()) }.unwrap();
        assert_eq!((read.now.events, read.later, read.function), (3, 0, None));
        assert_eq!(read.now.head.struct_size as usize, size_of::<Wait>());
    }

    #[test]
    fn what_a_newer_maker_appended_is_left_out() {
        let head = Head { abi_minor: 7, ..Head::of::<Longer>() };
        let made = Longer { now: Wait { head, ..NOW }, later: u64::MAX, function: None };
        // SAFETY: it begins with a `Wait`, and says its size.
        let read = unsafe { read((&raw const made).cast::<Wait>()) }.unwrap();
        assert_eq!((read.flags, read.timeout_ns, read.head.abi_minor), (1, 4, 7));
    }

    #[test]
    fn a_structure_that_cannot_be_one_is_not_read() {
        let fault = |head| {
            let made = Wait { head, ..NOW };
            // SAFETY: it is a `Wait`; a size that is too large is not among the cases.
            unsafe { read(&raw const made) }.unwrap_err()
        };
        let head = Head::of::<Wait>();
        assert_eq!(fault(Head { abi_major: 2, ..head }), HeadFault::Major(2));
        let small = HeadFault::Small { found: 39, needed: 40 };
        assert_eq!(fault(Head { struct_size: 39, ..head }), small);
        assert_eq!(small.to_string(), "a structure has 39 bytes, and 40 are needed");
        // SAFETY: null, and not aligned.
        let missing =
            [ptr::null::<Wait>(), ptr::without_provenance(9)].map(|at| unsafe { read(at) });
        assert!(missing.iter().all(|read| matches!(read, Err(HeadFault::Missing))));
    }
}
