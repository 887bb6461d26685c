//! What a trace record is made of: values in a fixed number of bytes.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{
    InterfaceIndex,
    wire::{EtherType, MacAddress},
};

/// A field of a [`TraceRecord`](crate::TraceRecord), in [`SIZE`](Self::SIZE) bytes whatever its value.
pub trait TraceField: Sized {
    /// Bytes.
    const SIZE: usize;

    /// Writes it to the begin of `room`, which then begins behind it.
    fn put(&self, room: &mut &mut [u8]);

    /// Reads it from the begin of `bytes`, which then begin behind it; `None` if it is not there.
    fn take(bytes: &mut &[u8]) -> Option<Self>;
}

impl<const N: usize> TraceField for [u8; N] {
    const SIZE: usize = N;

    fn put(&self, room: &mut &mut [u8]) {
        if let Some((to, rest)) = std::mem::take(room).split_first_chunk_mut::<N>() {
            *to = *self;
            *room = rest;
        }
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let (value, rest) = bytes.split_first_chunk::<N>()?;
        *bytes = rest;
        Some(*value)
    }
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl TraceField for $number {
            const SIZE: usize = size_of::<Self>();

            fn put(&self, room: &mut &mut [u8]) {
                self.to_ne_bytes().put(room);
            }

            fn take(bytes: &mut &[u8]) -> Option<Self> {
                TraceField::take(bytes).map(Self::from_ne_bytes)
            }
        }
    )*};
}

numbers! { u8 u16 u32 u64 i8 i16 i32 i64 }

/// Fields that are carried as another type: that, how to make it, and how to read it.
macro_rules! carried {
    ($($type:ty as $other:ty, $to:expr, $from:expr;)*) => {$(
        impl TraceField for $type {
            const SIZE: usize = <$other as TraceField>::SIZE;

            fn put(&self, room: &mut &mut [u8]) {
                let to: fn(&Self) -> $other = $to;
                to(self).put(room);
            }

            fn take(bytes: &mut &[u8]) -> Option<Self> {
                let from: fn($other) -> Self = $from;
                TraceField::take(bytes).map(from)
            }
        }
    )*};
}

carried! {
    bool as u8, |value| u8::from(*value), |byte| byte != 0;
    Ipv4Addr as [u8; 4], Ipv4Addr::octets, Ipv4Addr::from;
    Ipv6Addr as [u8; 16], Ipv6Addr::octets, Ipv6Addr::from;
    MacAddress as [u8; 6], |mac| mac.0, MacAddress;
    EtherType as u16, |ethertype| ethertype.0, EtherType;
    InterfaceIndex as u32, |index| index.0, InterfaceIndex;
    Option<InterfaceIndex> as u32,
        |index| index.map_or(u32::MAX, |index| index.0),
        |index| (index != u32::MAX).then_some(InterfaceIndex(index));
}
