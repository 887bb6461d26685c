//! How calls are sent, and how main runs them.

use std::sync::atomic::Ordering;

use gristmill_abi::host::{CALL_CANCELLED, CALL_LATE};

use super::{Call, Reason, Refused, count};
use crate::{
    engine::Caller,
    graph::Owner,
    host::{Host, current_thread},
};

/// Calls that main runs in one turn at most, so that packets go on.
pub(super) const PER_TURN: usize = 64;

impl Host {
    /// Has main run a call: at once if this is main outside of nodes, else by leaving it in the
    /// queue. If that is full and the caller `waits`, this waits for room, unless the thread
    /// forwards packets.
    ///
    /// Context: any.
    ///
    /// # Errors
    /// The call, and why it was not taken.
    pub fn call_main(&self, mut call: Call, waits: bool) -> Result<(), Refused> {
        let rpc = &self.rpc;
        let on_main = self.is_main();
        if self.may_control() && (call.awaited || rpc.own.load(Ordering::Relaxed) == 0) {
            return self.call_directly(call);
        }
        call.sent = self.now();
        call.of_main = on_main;
        if on_main {
            rpc.own.fetch_add(1, Ordering::Relaxed);
        }
        let refused = match rpc.push(call) {
            Err(Refused { call, reason: Reason::Full }) if waits && self.may_wait() => {
                rpc.push_when_there_is_room(call)
            }
            pushed => pushed,
        };
        refused.inspect_err(|refused| {
            rpc.taken(&refused.call);
            if matches!(refused.reason, Reason::Full) {
                count(&rpc.counters.full);
            }
        })
    }

    /// Whether this thread may wait for main: it is not main, and forwards nothing.
    pub fn may_wait(&self) -> bool {
        current_thread().is_none() && !self.is_main()
    }

    fn call_directly(&self, call: Call) -> Result<(), Refused> {
        count(&self.rpc.counters.direct);
        if !call.at_barrier {
            self.run_call(call);
            return Ok(());
        }
        let owner = call.owner;
        let mut call = Some(call);
        let run = |_: &_| call.take().map(|call| self.run_call(call));
        let stopped = self.stop_workers(Caller::of(owner, "call to main"), run);
        match (stopped, call) {
            (Err(error), Some(call)) => Err(Refused { call, reason: error.into() }),
            _ => Ok(()),
        }
    }

    /// Runs calls that wait, so many as fit into a turn; returns how many. One load if there are
    /// none.
    ///
    /// Context: main, outside of nodes.
    #[inline]
    pub fn serve_calls(&self) -> usize {
        if self.rpc.is_empty() { 0 } else { self.serve_some(PER_TURN) }
    }

    #[cold]
    fn serve_some(&self, most: usize) -> usize {
        self.rpc.longest.fetch_max(self.rpc.len(), Ordering::Relaxed);
        let mut served = 0;
        while served < most
            && let Some((call, gone)) = self.rpc.take(|_| true)
        {
            served += 1;
            if gone {
                self.rpc.drop_call(call, CALL_CANCELLED);
            } else if !call.at_barrier {
                self.run_queued(call);
            } else if !self.run_at_barrier(call, &mut served, most) {
                break; // The workers do not come: packets first.
            }
        }
        self.rpc.tell_of_room();
        served
    }

    /// Stops the workers and runs `first` and the calls behind it that want them stopped; `false`
    /// if they did not stop.
    fn run_at_barrier(&self, first: Call, served: &mut usize, most: usize) -> bool {
        let owner = first.owner;
        let mut first = Some(first);
        let stopped = self.stop_workers(Caller::of(owner, "call to main"), |_| {
            let mut next = first.take();
            while let Some(call) = next {
                self.run_queued(call);
                next = None;
                if *served < most
                    && let Some((call, gone)) = self.rpc.take(|call| call.at_barrier)
                {
                    *served += 1;
                    if gone {
                        self.rpc.drop_call(call, CALL_CANCELLED);
                    } else {
                        next = Some(call);
                    }
                }
            }
        });
        if let (Err(error), Some(call)) = (&stopped, first) {
            let plugin = self.owner_name(call.owner);
            self.log.error("rpc", format!("a call of {plugin} to main did not run: {error}"));
            self.rpc.drop_call(call, CALL_LATE);
        }
        stopped.is_ok()
    }

    fn run_queued(&self, call: Call) {
        self.rpc.latency.add(self.now().since(call.sent));
        self.run_call(call);
    }

    fn run_call(&self, call: Call) {
        if call.at_barrier {
            count(&self.rpc.counters.at_barrier);
        }
        let owner = call.owner;
        if !call.run().is_ok() {
            count(&self.rpc.counters.panicked);
            let plugin = self.owner_name(owner);
            self.log.error("rpc", format!("a call of {plugin} to main panicked"));
        }
    }

    /// Takes no more calls of `owner` and drops those that wait: from here on none of its threads
    /// waits for main. What it calls on main itself still runs.
    ///
    /// Context: main, outside of nodes.
    pub fn close_calls(&self, owner: Owner) {
        self.rpc.admission.close(owner.0);
        self.rpc.discard(|call| call.owner == owner);
    }

    /// Drops what waits of a generation that is gone, now and from now on.
    ///
    /// Context: main, outside of nodes.
    pub fn forget_caller(&self, owner: Owner) {
        self.rpc.end.lock().gone.insert(owner);
        self.rpc.admission.open(owner.0);
        self.rpc.discard(|call| call.owner == owner);
    }

    /// Takes no more calls, and drops those that wait: the host ends.
    ///
    /// Context: main, outside of nodes.
    pub fn end_calls(&self) {
        self.rpc.admission.close_for_all();
        self.rpc.discard(|_| true);
    }
}
