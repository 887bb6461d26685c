//! Packets that are accounted for, number by number, while a test does something to the host.
//!
//! ```text
//! generator0 ─→ ethernet-input ─→ generator1 (counts)
//! ```

use std::time::Duration;

use crate::lab::{Lab, pause};

/// Plugins that traffic needs.
pub const PLUGINS: [&str; 2] = ["ethernet", "generator"];

const SET_UP: [&str; 5] = [
    "create generator id 0",
    "create generator id 1",
    "set interface state generator0 up",
    "set interface state generator1 up",
    "set interface l2 xconnect generator0 generator1",
];

/// What became of the packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Packets that entered the graph.
    pub sent: u64,
    /// Of those, how many arrived.
    pub received: u64,
    /// Of those, how many did not.
    pub lost: u64,
    /// Arrivals of packets that had arrived before.
    pub duplicated: u64,
}

/// Traffic through a host, until it is stopped.
#[derive(Debug)]
pub struct Traffic<'a> {
    lab: &'a Lab,
    /// What was accounted for before it began.
    before: Account,
}

impl<'a> Traffic<'a> {
    /// Starts packets flowing, flat out, through a host that has [`PLUGINS`].
    ///
    /// # Panics
    /// If none arrive.
    pub fn flat_out(lab: &'a Lab) -> Self {
        Self::start(lab, "")
    }

    /// Starts packets flowing, so many in a second.
    ///
    /// # Panics
    /// If none arrive.
    pub fn paced(lab: &'a Lab, packets_per_second: u32) -> Self {
        Self::start(lab, &format!("rate {packets_per_second}"))
    }

    /// Starts packets flowing, with further options of `generator stream`.
    ///
    /// # Panics
    /// If none arrive.
    pub fn start(lab: &'a Lab, options: &str) -> Self {
        if lab.run("show interface").find("Name", "generator0").is_none() {
            for command in SET_UP {
                lab.run(command);
            }
        }
        lab.run(&format!("generator stream generator0 name flow {options}"));
        let mut traffic = Self { lab, before: Account::default() };
        traffic.before = traffic.account();
        lab.run("generator start generator0");
        traffic.flows();
        traffic
    }

    /// What became of its packets up to now; those under way count as lost.
    ///
    /// # Panics
    /// If the host does not say.
    pub fn account(&self) -> Account {
        let answer = self.lab.run("show generator");
        let flow = answer.the("stream", "flow");
        let [sent, received, lost, duplicated] =
            ["sent", "received", "lost", "duplicated"].map(|column| flow.count(column));
        Account {
            sent: sent - self.before.sent,
            received: received - self.before.received,
            lost: lost - self.before.lost,
            duplicated: duplicated - self.before.duplicated,
        }
    }

    /// Waits until more packets arrive than have up to now.
    ///
    /// # Panics
    /// If none do.
    pub fn flows(&self) {
        let before = self.account().received;
        for _ in 0..500 {
            if self.account().received > before {
                return;
            }
            pause(Duration::from_millis(2));
        }
        panic!("no packet arrives: {:?}\n{}", self.account(), self.lab.log());
    }

    /// Stops the packets and waits for those under way.
    ///
    /// # Panics
    /// If the host does not say.
    pub fn stop(self) -> Account {
        self.lab.run("generator stop generator0");
        // The sources see it at their next turn; after that what they sent crosses within one.
        let mut last = self.account();
        for _ in 0..10 {
            pause(Duration::from_millis(20));
            let account = self.account();
            if account == last {
                break;
            }
            last = account;
        }
        last
    }

    /// Stops the packets, of which none may be missing and none doubled; gives how many they were.
    ///
    /// # Panics
    /// If one is missing or doubled.
    pub fn stop_whole(self) -> u64 {
        let lab = self.lab;
        let account = self.stop();
        let whole = Account { sent: account.sent, received: account.sent, lost: 0, duplicated: 0 };
        assert_eq!(account, whole, "{}", lab.run("show errors").json());
        account.sent
    }
}
