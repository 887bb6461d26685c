//! Whether the kernel took a thread off its processor, so that a figure is of what else runs.

use std::fs;

use gristmill::host::Host;

/// How often each forwarding thread was taken off, main first.
#[derive(PartialEq, Eq)]
pub(crate) struct Disturbance(Vec<u64>);

impl Disturbance {
    /// Up to now.
    pub(crate) fn now(host: &Host) -> Self {
        let tid = |thread: &gristmill::sync::Arc<gristmill::engine::ThreadShared>| {
            thread.tid.load(std::sync::atomic::Ordering::Relaxed)
        };
        Self(host.threads().iter().map(tid).map(taken_off).collect())
    }
}

fn taken_off(tid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/self/task/{tid}/status")).unwrap_or_default();
    let count = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}
