//! Streams: how packets are made.

use std::{net::Ipv4Addr, sync::Arc, sync::atomic::Ordering::Relaxed};

use plugin_api::RxFrame;

use crate::{device::Next, flow::Flow, pace::Bucket, tag::Magic, template::Template};

/// How a stream goes through its destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// In turn.
    Cycled,
    /// At random.
    Random,
}

/// What the operator asked of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Source address.
    pub source: Ipv4Addr,
    /// The first destination address.
    pub destination: Ipv4Addr,
    /// How many consecutive addresses are sent to, at least 1.
    pub destinations: u32,
    /// In which order.
    pub order: Order,
    /// Source and destination of the Ethernet header.
    pub macs: [[u8; 6]; 2],
    /// Bytes of a packet, least and most, [`SHORTEST`](crate::tag::SHORTEST) to 2048.
    pub sizes: [u16; 2],
    /// Packets per second; `None`: flat out.
    pub pps: Option<f64>,
    /// Packets to send once started; `None`: until stopped.
    pub count: Option<u64>,
}

impl Settings {
    /// The part of queue `at` of `queues`: its share of the rate and of the count.
    pub fn share(&self, at: u64, queues: u64) -> Self {
        let part = |count: u64| count / queues + u64::from(at < count % queues);
        #[expect(clippy::cast_precision_loss, reason = "few queues")]
        let pps = self.pps.map(|pps| pps / queues as f64);
        Self { pps, count: self.count.map(part), ..self.clone() }
    }
}

/// A stream on one receive queue.
#[derive(Debug)]
pub struct Stream {
    flow: Arc<Flow>,
    settings: Settings,
    template: Template,
    bucket: Option<Bucket>,
    /// The next packet's number.
    sequence: u64,
    /// Packets still to be sent; 0: it is done, or was not started.
    remaining: u64,
    running: bool,
}

impl Stream {
    /// A stream that is stopped.
    pub fn new(flow: Arc<Flow>, settings: Settings, magic: Magic) -> Self {
        let template = Template::new(&settings, magic, flow.id);
        Self { flow, settings, template, bucket: None, sequence: 0, remaining: 0, running: false }
    }

    /// Number of the flow it sends.
    pub fn flow(&self) -> u16 {
        self.flow.id
    }

    /// Takes the place of another stream of the flow: goes on with the numbers where that stopped.
    pub fn succeed(&mut self) {
        self.sequence = self.flow.sent();
        self.flow.sender.running.store(false, Relaxed);
    }

    /// Starts to send, or goes on after a stop.
    pub fn start(&mut self) {
        if self.remaining == 0 {
            self.remaining = self.settings.count.unwrap_or(u64::MAX);
        }
        if !self.running {
            self.bucket = self.settings.pps.map(Bucket::new);
        }
        self.set_running(self.remaining > 0);
    }

    /// Stops; what is still to be sent stays so.
    pub fn stop(&mut self) {
        self.set_running(false);
    }

    /// Whether it sends.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Whether it has a rate.
    pub fn is_paced(&self) -> bool {
        self.settings.pps.is_some()
    }

    fn set_running(&mut self, running: bool) {
        self.running = running;
        self.flow.sender.running.store(running, Relaxed);
    }

    /// Puts packets into the frame, at most `most`, as the rate and the count allow.
    pub fn fill(&mut self, frame: &mut RxFrame<'_, Next>, most: u64) {
        let now_ns = frame.now_ns();
        let due = self.bucket.as_mut().map_or(u64::MAX, |bucket| bucket.due(now_ns));
        let wanted = due.min(most).min(self.remaining);
        self.template.set_time(now_ns);
        let (template, first) = (&mut self.template, self.sequence);
        let mut sequence = first;
        while sequence - first < wanted {
            let made = frame.fill(|room| {
                let len = template.write(room, sequence)?;
                Some((len, Next::Ethernet))
            });
            if !made {
                break;
            }
            sequence += 1;
        }
        self.sent(sequence - first);
    }

    fn sent(&mut self, packets: u64) {
        if packets == 0 {
            return;
        }
        self.sequence += packets;
        self.flow.sender.sent.store(self.sequence, Relaxed);
        if let Some(bucket) = &mut self.bucket {
            bucket.take(packets);
        }
        if self.settings.count.is_some() {
            self.remaining -= packets;
            if self.remaining == 0 {
                self.set_running(false);
            }
        }
    }
}
