//! Packet traces: what a node saw of a traced packet, as a record that it writes in a few bytes while
//! packets flow, and that is made text of when an operator looks.

mod field;

use core::{
    ffi::c_void,
    fmt::{self, Display, Write as _},
    marker::PhantomData,
    ptr::null_mut,
    sync::atomic::{AtomicPtr, Ordering},
};

use gristmill_abi::{
    Status,
    buffer::LINE_SHIFT,
    frame::{CTX_TRACED, ThreadCtx},
    trace::{FormatTraceFn, TRACE_RECORD, TraceService, TraceText},
};

pub use self::field::TraceField;
use crate::{Buffer, Host, Packet, plugin::contain};

/// The host's service `trace`, the same for all plugins of this image; null if it has none.
static SERVICE: AtomicPtr<TraceService> = AtomicPtr::new(null_mut());
/// Its context.
static CONTEXT: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// What a node leaves of a traced packet; [`trace_record!`](crate::trace_record) makes one. Its
/// `Display` is what `show trace` shows: one line or more.
pub trait TraceRecord: Display + Sized {
    /// Bytes of it, at most 64.
    const SIZE: usize;

    /// Writes the bytes of the record, of which there is room for [`SIZE`](Self::SIZE).
    fn encode(&self, room: &mut [u8]);

    /// Reads them again; `None` if they are not of such a record.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// Declares a [`TraceRecord`]: a structure whose fields are [`TraceField`]s, at most 64 bytes in all.
///
/// ```
/// use std::{fmt, net::Ipv4Addr};
/// use plugin_api::{TraceRecord as _, trace_record};
///
/// trace_record! {
///     /// What `acme-ttl` saw.
///     #[derive(Debug, PartialEq)]
///     pub struct Seen { source: Ipv4Addr, ttl: u8 }
/// }
///
/// impl fmt::Display for Seen {
///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         write!(f, "from {}, ttl {}", self.source, self.ttl)
///     }
/// }
///
/// assert_eq!(Seen::SIZE, 5);
/// let mut bytes = [0; 5];
/// Seen { source: Ipv4Addr::LOCALHOST, ttl: 64 }.encode(&mut bytes);
/// assert_eq!(Seen::decode(&bytes).unwrap().to_string(), "from 127.0.0.1, ttl 64");
/// ```
#[macro_export]
macro_rules! trace_record {
    ($(#[$meta:meta])* $vis:vis struct $record:ident {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty),+ $(,)?
    }) => {
        $(#[$meta])*
        $vis struct $record { $($(#[$field_meta])* $field_vis $field: $type),+ }

        impl $crate::TraceRecord for $record {
            const SIZE: usize = {
                let size = 0 $(+ <$type as $crate::TraceField>::SIZE)+;
                assert!(size <= $crate::abi::trace::TRACE_RECORD, "a trace record has 64 bytes at most");
                size
            };

            fn encode(&self, room: &mut [u8]) {
                let mut room = room;
                $($crate::TraceField::put(&self.$field, &mut room);)+
                let _ = room;
            }

            fn decode(bytes: &[u8]) -> Option<Self> {
                let mut bytes = bytes;
                $(let $field = $crate::TraceField::take(&mut bytes)?;)+
                bytes.is_empty().then_some(Self { $($field),+ })
            }
        }
    };
}

/// How a node's records are shown: [`Node::TRACE`](crate::Node::TRACE).
#[derive(Clone, Copy, Debug)]
pub struct TraceFormat(pub(crate) Option<FormatTraceFn>);

impl TraceFormat {
    /// In hexadecimal.
    pub const HEX: Self = Self(None);

    /// As the text of an `R`, which is what the node leaves.
    pub const fn of<R: TraceRecord>() -> Self {
        Self(Some(format::<R>))
    }
}

unsafe extern "C" fn format<R: TraceRecord>(
    record: *const u8,
    len: u32,
    text: *const TraceText,
) -> Status {
    // SAFETY: the host passes `len` bytes.
    let bytes = unsafe { core::slice::from_raw_parts(record, len as usize) };
    // SAFETY: the host lends its sink for the call.
    let mut text = Text(unsafe { &*text });
    let written = contain(|| R::decode(bytes).map(|record| write!(text, "{record}")));
    match written {
        Some(Some(Ok(()))) => Status::OK,
        Some(_) => Status::FAILED,
        None => Status::PANICKED,
    }
}

/// The host's sink, to be written to.
struct Text<'a>(&'a TraceText);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: the sink is good while it is lent; the text is borrowed for the call.
        unsafe { (self.0.write)(self.0.context, text.into()) };
        Ok(())
    }
}

/// Looks the host's service up. Main, before any node runs.
pub(crate) fn attach(host: Host) {
    if let Ok((service, context)) = host.builtin::<TraceService>("trace", "^1") {
        CONTEXT.store(context, Ordering::Relaxed);
        SERVICE.store(core::ptr::from_ref(service).cast_mut(), Ordering::Release);
    }
}

/// Keeps a node's records of the traced packets of its frame; to be had of
/// [`Frame::tracer`](crate::Frame::tracer), and good for one dispatch.
#[derive(Clone, Copy, Debug)]
pub struct Tracer<'a> {
    ctx: *mut ThreadCtx,
    base: *mut u8,
    is_on: bool,
    life: PhantomData<&'a ThreadCtx>,
}

impl Tracer<'_> {
    /// That of a dispatch.
    ///
    /// # Safety
    /// `ctx` is what the host handed to the node, which runs during `'a`.
    #[inline(always)]
    pub(crate) unsafe fn new(ctx: *mut ThreadCtx) -> Self {
        // SAFETY: by the caller's promise.
        let flags = unsafe { (*ctx).flags };
        // SAFETY: as above.
        let base = unsafe { (*ctx).buffer_base };
        Self { ctx, base, is_on: flags & CTX_TRACED != 0, life: PhantomData }
    }

    /// Whether a packet of the frame is traced.
    #[inline(always)]
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Keeps a record of a packet of the frame, in the place of one that was left before. Where the
    /// packet is not traced, `record` is not called, and nothing happens.
    #[inline(always)]
    pub fn record<R: TraceRecord>(&self, packet: &Packet<'_>, record: impl FnOnce() -> R) {
        if self.is_on && packet.is_traced() {
            self.keep(packet, &record());
        }
    }

    #[cold]
    pub(crate) fn keep<R: TraceRecord>(&self, packet: &Packet<'_>, record: &R) {
        let mut room = [0; TRACE_RECORD];
        record.encode(&mut room[..R::SIZE]);
        if let Some((service, context)) = service() {
            #[expect(clippy::cast_possible_truncation, reason = "at most 64")]
            let len = R::SIZE as u32;
            // SAFETY: the context is the node's, which runs; the record is good for the call.
            unsafe { (service.record)(context, self.ctx, self.index(packet), room.as_ptr(), len) };
        }
    }

    /// Has the trace of `packet` go on with `copy` too, which the node has made of it.
    pub fn follow(&self, packet: &Packet<'_>, copy: &mut Buffer) {
        let copy = copy.packet();
        if !self.is_on || !packet.is_traced() {
            return;
        }
        if let Some((service, context)) = service() {
            let (packet, copy) = (self.index(packet), self.index(&copy));
            // SAFETY: the context is the node's, which runs; both packets are the node's.
            unsafe { (service.follow)(context, self.ctx, packet, copy) };
        }
    }

    /// Number of a packet's buffer.
    fn index(&self, packet: &Packet<'_>) -> u32 {
        let offset = packet.address().wrapping_sub(self.base.addr());
        u32::try_from(offset >> LINE_SHIFT).unwrap_or(u32::MAX)
    }
}

fn service() -> Option<(&'static TraceService, *mut c_void)> {
    // SAFETY: `attach` stored null or the host's service, which outlives every plugin.
    let service = unsafe { SERVICE.load(Ordering::Acquire).as_ref() };
    service.map(|service| (service, CONTEXT.load(Ordering::Relaxed)))
}

/// The text of a record, as `show trace` has it. For tests.
pub(crate) fn text_of(format: TraceFormat, record: &[u8]) -> String {
    unsafe extern "C" fn write(context: *mut c_void, text: gristmill_abi::Str<'_>) {
        // SAFETY: `text_of` lends its text for the call.
        unsafe { &mut *context.cast::<String>() }.push_str(text.as_str());
    }
    let hex = || record.iter().map(|byte| format!("{byte:02x}")).collect();
    let Some(format) = format.0 else { return hex() };
    let mut text = String::new();
    let head = gristmill_abi::Head::of::<TraceText>();
    let sink = TraceText { head, context: (&raw mut text).cast(), write };
    let len = u32::try_from(record.len()).unwrap_or(0);
    // SAFETY: record and sink are good for the call.
    let status = unsafe { format(record.as_ptr(), len, &raw const sink) };
    assert!(status.is_ok(), "the record {} cannot be shown: {status:?}", hex());
    text
}

#[cfg(test)]
mod tests;
