//! What a host costs that has little to do, and how fast it answers all the same.

use std::{fs, time::Duration};

use crate::{lab::Lab, netns::Netns};

/// What a thread used since it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Time on a processor.
    pub ran: Duration,
    /// Times that it waited for something: as often it was woken.
    pub waited: u64,
}

/// Of each of a host's forwarding threads, main first.
///
/// # Panics
/// If a thread has ended.
pub fn used(lab: &Lab) -> Vec<Used> {
    let threads = lab.run("show threads");
    threads.rows().iter().map(|row| of_thread(lab.pid(), row.count("TID"))).collect()
}

fn of_thread(pid: u32, tid: u64) -> Used {
    let read = |name: &str| {
        let path = format!("/proc/{pid}/task/{tid}/{name}");
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let (schedstat, status) = (read("schedstat"), read("status"));
    let ran = schedstat.split(' ').next().and_then(|ran| ran.parse().ok());
    let waited = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
        .and_then(|count| count.trim().parse().ok());
    Used {
        ran: Duration::from_nanos(ran.expect("the kernel counts in nanoseconds")),
        waited: waited.expect("the kernel counts switches"),
    }
}

/// How long answers to pings took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoundTrips {
    /// The shortest, in microseconds.
    pub least_us: f64,
    /// On average.
    pub average_us: f64,
    /// The longest.
    pub most_us: f64,
}

/// Pings an address so often, each so long after the other; all must be answered.
///
/// # Panics
/// If one is not.
pub fn ping(from: &Netns, address: &str, count: u32, apart: Duration) -> RoundTrips {
    let apart = apart.as_secs_f64();
    let deadline = apart * f64::from(count) + 20.0;
    let told = from.run(&format!("ping -q -n -c {count} -i {apart} -w {deadline:.0} {address}"));
    assert!(told.contains(&format!(" {count} received, 0% packet loss")), "{told}");
    // rtt min/avg/max/mdev = 0.090/0.811/2.957/1.239 ms
    let times = told.lines().find_map(|line| line.strip_prefix("rtt ")?.split(" = ").nth(1));
    let times = times.unwrap_or_else(|| panic!("ping does not say how long it took: {told}"));
    let times: Vec<f64> = times
        .split(['/', ' '])
        .filter_map(|time| time.parse::<f64>().ok())
        .map(|ms| ms * 1e3)
        .collect();
    RoundTrips { least_us: times[0], average_us: times[1], most_us: times[2] }
}
