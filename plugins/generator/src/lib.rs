//! `generator`: a device whose interfaces make numbered IPv4/UDP packets and account for each of
//! them where they end.
//!
//! ```text
//! commands ──► control ──orders──► source ─► template ─► packets … the graph … ─► sink
//!    ▲                               │                                             │
//!    └──────── flow: packets sent ◄──┘             tally, window: what arrived ◄───┘
//! ```

pub mod cli;
pub mod control;
pub mod device;
pub mod flow;
pub mod pace;
pub mod sink;
pub mod source;
pub mod stream;
pub mod tag;
pub mod tally;
pub mod template;
pub mod window;

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
};

use parking_lot::Mutex;
use plugin_api::{Config, Error, Host, Notice, Plugin, declare_plugin};

use crate::{control::Control, flow::Flows, tag::Magic};

/// The plugin.
#[derive(Debug)]
pub struct Generator {
    host: Host,
    flows: Arc<Flows>,
    control: Mutex<Control>,
}

impl Plugin for Generator {
    const NAME: &'static str = "generator";

    fn create(host: Host, _: &Config<'_>) -> Result<Self, Error> {
        let [high, low, ..] = RandomState::new().build_hasher().finish().to_be_bytes();
        let flows = Arc::new(Flows::new(Magic::new(u16::from_be_bytes([high, low]))));
        Ok(Self { host, flows, control: Mutex::default() })
    }

    fn notify(self: &Arc<Self>, notice: Notice) {
        if let Notice::InterfaceRemoved(index) = notice {
            self.control.lock().remove(index);
        }
    }
}

declare_plugin!(Generator);
