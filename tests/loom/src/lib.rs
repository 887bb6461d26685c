//! Models of the host's lock-free parts: loom tries every order of their steps.
//!
//! The files are the host's own, compiled here with `cfg(loom)`; their modules have the host's
//! names, so that their paths mean the same.

#[path = "../../../host/src/sync.rs"]
pub mod sync;

/// What is put off.
#[path = "../../../host/src/deferred"]
pub mod deferred {
    pub mod pending;

    /// Once for each scheduling.
    pub mod tasklet {
        pub mod list;
        pub mod state;
    }
}

/// Who runs.
#[path = "../../../host/src/engine"]
pub mod engine {
    #[path = "rpc/admission.rs"]
    pub mod admission;
    pub mod gate;
    pub mod interrupts;
    pub mod ring;
    pub mod sleep;
}

/// Who waits.
#[path = "../../../host/src/process"]
pub mod process {
    pub mod signals;
}

#[cfg(test)]
mod loom_admission;
#[cfg(test)]
mod loom_deferred;
#[cfg(test)]
mod loom_doorbell;
#[cfg(test)]
mod loom_gate;
#[cfg(test)]
mod loom_interrupts;
#[cfg(test)]
mod loom_ring;
#[cfg(test)]
mod loom_signals;
