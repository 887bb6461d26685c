//! `error-punt`: where packets go that are the operating system's.
#![expect(unsafe_code, reason = "runs in the graph, by the nodes' calling convention")]

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use gristmill_abi::{
    buffer::{Header, LINE_SHIFT, NO_INTERFACE},
    frame::{Frame, NodeRuntime, ThreadCtx},
    text::Opaque,
};

use crate::graph::{
    PlanNext, Severity,
    node::{Code, Maker},
    plan::INTERFACE_OUTPUT,
};

const OUTPUT: u16 = 0;
const NOT_SET: u16 = 1;

/// The interface that leads to the operating system.
#[derive(Debug)]
pub struct PuntState(AtomicU32);

impl Default for PuntState {
    fn default() -> Self {
        Self(AtomicU32::new(NO_INTERFACE))
    }
}

impl PuntState {
    /// The interface, if one is set.
    pub fn interface(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&index| index != NO_INTERFACE)
    }

    /// Sets it.
    pub fn set(&self, interface: Option<u32>) {
        self.0.store(interface.unwrap_or(NO_INTERFACE), Ordering::Relaxed);
    }
}

struct PuntMaker(Arc<PuntState>);

impl Maker for PuntMaker {
    fn make(&self, _: u32) -> Result<Opaque, String> {
        Ok(Arc::into_raw(Arc::clone(&self.0)).cast_mut().cast())
    }

    fn end(&self, state: Opaque) {
        // SAFETY: `make` made it, and the instance ends once.
        drop(unsafe { Arc::from_raw(state.cast::<PuntState>().cast_const()) });
    }
}

/// What `error-punt` runs, and its out-arcs.
pub fn error_punt(state: &Arc<PuntState>) -> (Code, Vec<PlanNext>) {
    let code = Code { entry: punt, maker: Arc::new(PuntMaker(Arc::clone(state))) };
    let not_set =
        PlanNext::Drop { reason: "punt-not-configured".to_owned(), severity: Severity::Info };
    (code, vec![PlanNext::Node(INTERFACE_OUTPUT.to_owned()), not_set])
}

/// Sends the packets of its frame, from their layer-2 header on, out of the punt interface.
unsafe extern "C" fn punt(ctx: *mut ThreadCtx, node: *mut NodeRuntime, frame: *mut Frame) -> u32 {
    // SAFETY: the host dispatches this node with what `make` made.
    let state = unsafe { (*node).state };
    // SAFETY: as above.
    let state = unsafe { &*state.cast::<PuntState>() };
    let Some(interface) = state.interface() else { return NOT_SET.into() };
    // SAFETY: the host lent the frame for the dispatch.
    let raw = unsafe { &mut *frame };
    // SAFETY: a frame has `n` indices.
    let packets = unsafe { std::slice::from_raw_parts(raw.indices, raw.n as usize) };
    // SAFETY: the host lent the context for the dispatch.
    let base = unsafe { (*ctx).buffer_base };
    for &packet in packets {
        let header = base.wrapping_add((packet as usize) << LINE_SHIFT).cast::<Header>();
        // SAFETY: the packet is in the frame of this dispatch.
        let header = unsafe { &mut *header };
        header.tx_interface = interface;
        if header.l2_off != 0 && header.l2_off <= header.data_off {
            header.len += header.data_off - header.l2_off;
            header.data_off = header.l2_off;
        }
    }
    OUTPUT.into()
}
