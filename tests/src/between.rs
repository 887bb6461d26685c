//! A host between two networks, which it forwards between.
//!
//! ```text
//!  left                         host                        right
//!  10.0.1.2 ── TAP or veth ── 10.0.1.1  10.0.2.1 ── TAP or veth ── 10.0.2.2
//! ```

use std::time::Duration;

use serde_json::Value;

use crate::{answer::Row, lab::Lab, netns::Netns};

/// What links get to come up.
const PATIENCE: Duration = Duration::from_secs(10);

/// The left side's address.
pub const LEFT: &str = "10.0.1.2";
/// The host's address on the left.
pub const HOST_LEFT: &str = "10.0.1.1";
/// The host's address on the right.
pub const HOST_RIGHT: &str = "10.0.2.1";
/// The right side's address.
pub const RIGHT: &str = "10.0.2.2";

/// What the host's interfaces are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// TAPs, whose kernel sides are in the namespaces; the host is in none.
    Tap,
    /// Ends of veth pairs by `af-packet`; the host is in a third namespace.
    Veth,
}

impl Link {
    /// What the host calls its interfaces, the left one first.
    pub fn interfaces(self) -> [&'static str; 2] {
        match self {
            Self::Tap => ["tap0", "tap1"],
            Self::Veth => ["host-to-left", "host-to-right"],
        }
    }
}

/// How the host is to be started.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Its interfaces.
    pub link: Link,
    /// Its threads besides main.
    pub workers: u32,
    /// The MTU of the right side; the left side's is 1500.
    pub right_mtu: u32,
}

impl Shape {
    /// One worker, and links of 1500 bytes.
    pub fn of(link: Link) -> Self {
        Self { link, workers: 1, right_mtu: 1500 }
    }
}

/// The host and both networks. The kernel's interfaces are called `left` and `right`.
#[derive(Debug)]
pub struct Between {
    // The host ends before its interfaces do.
    /// The host.
    pub lab: Lab,
    /// The network on the left.
    pub left: Netns,
    /// The network on the right.
    pub right: Netns,
    /// Where the host is, if not in the namespace of the test.
    pub middle: Option<Netns>,
    /// Its interfaces.
    pub link: Link,
}

impl Between {
    /// Starts the host with its interfaces up and addressed, and routes on either side.
    ///
    /// # Panics
    /// If it cannot.
    pub fn start(shape: Shape) -> Self {
        let (left, right) = (Netns::new("left"), Netns::new("right"));
        let options = Lab::options().workers(shape.workers);
        let (lab, middle) = match shape.link {
            Link::Tap => {
                let script = with_addresses(&taps(&left, &right, shape), shape.link);
                let options = options.plugins(&["ethernet", "ip4", "tap", "pcap"]);
                (options.script(&script).start(), None)
            }
            Link::Veth => {
                let middle = veths(&left, &right, shape);
                let create = "create host-interface name to-left\n\
                              create host-interface name to-right\n";
                let options = options.plugins(&["ethernet", "ip4", "af-packet", "pcap"]);
                let options = options.script(&with_addresses(create, shape.link));
                (options.inside(&middle).start(), Some(middle))
            }
        };
        let mut between = Self { lab, left, right, middle, link: shape.link };
        between.route();
        // The kernel takes up to a second to say that a new link is up.
        let up = between.lab.eventually(PATIENCE, |lab| {
            let shown = lab.run("show interface");
            shape.link.interfaces().iter().all(|name| shown.the("Name", name).text("State") == "up")
        });
        assert!(up, "the links do not come up: {}", between.lab.run("show interface").json());
        between
    }

    /// Sets the routes by the host anew; the kernel forgets them when an interface goes down.
    ///
    /// # Panics
    /// If it cannot.
    pub fn route(&self) {
        self.left.ip(&format!("route replace default via {HOST_LEFT}"));
        self.right.ip(&format!("route replace default via {HOST_RIGHT}"));
    }

    /// A host's interface, as `show interface` has it.
    ///
    /// # Panics
    /// If there is none.
    pub fn interface<T>(&self, name: &str, read: impl FnOnce(Row<'_>) -> T) -> T {
        read(self.lab.run("show interface").the("Name", name))
    }

    /// Packets that the host dropped in a node for a reason.
    ///
    /// # Panics
    /// If the host does not say.
    pub fn dropped(&self, node: &str, reason: &str) -> u64 {
        let errors = self.lab.run("show errors");
        let rows = errors.rows();
        let wanted =
            rows.iter().find(|row| row.text("Node") == node && row.text("Reason") == reason);
        wanted.map_or(0, |row| row.count("Count"))
    }

    /// Ends the host, and then the networks.
    ///
    /// # Panics
    /// If it does not end well.
    pub fn finish(self) {
        self.lab.finish();
    }
}

fn taps(left: &Netns, right: &Netns, shape: Shape) -> String {
    let (left, right, mtu) = (left.name(), right.name(), shape.right_mtu);
    format!(
        "create tap id 0 host-if-name left host-ns {left} host-ip4-addr {LEFT}/24\n\
         create tap id 1 host-if-name right host-ns {right} host-ip4-addr {RIGHT}/24 \
         host-mtu-size {mtu}\n"
    )
}

fn veths(left: &Netns, right: &Netns, shape: Shape) -> Netns {
    let middle = Netns::new("middle");
    left.join("left", &middle, "to-left");
    right.join("right", &middle, "to-right");
    left.ip(&format!("addr add {LEFT}/24 dev left"));
    right.ip(&format!("addr add {RIGHT}/24 dev right"));
    right.ip(&format!("link set right mtu {}", shape.right_mtu));
    middle.ip(&format!("link set to-right mtu {}", shape.right_mtu));
    middle
}

fn with_addresses(create: &str, link: Link) -> String {
    let [left, right] = link.interfaces();
    format!(
        "{create}set interface state {left} up\n\
         set interface state {right} up\n\
         set interface ip address {left} {HOST_LEFT}/24\n\
         set interface ip address {right} {HOST_RIGHT}/24\n"
    )
}

/// The hardware address of a kernel's interface.
///
/// # Panics
/// If there is no such interface.
pub fn mac(namespace: &Netns, interface: &str) -> String {
    let links = namespace.ip(&format!("-j link show dev {interface}"));
    let links: Value = serde_json::from_str(&links).expect("ip speaks JSON");
    links[0]["address"].as_str().expect("an interface has an address").to_owned()
}
