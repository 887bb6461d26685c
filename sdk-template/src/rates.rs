//! Packets a second of each class, taken by a timer.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use plugin_api::{Error, Timer, TimerKind};

use crate::{
    AcmeDpi,
    class::Class,
    totals::{Seen, Totals},
};

/// Rates of the last interval.
#[derive(Debug, Default)]
pub struct Rates {
    timer: OnceLock<Timer>,
    /// When rates were last taken, and the packets of each class up to then. The timer alone
    /// writes them; atomics because its function is `Fn`.
    before_ns: AtomicU64,
    before: [AtomicU64; Class::ALL.len()],
    per_second: [AtomicU64; Class::ALL.len()],
}

/// Starts the timer.
///
/// # Errors
/// If the host has no timers.
pub fn start(plugin: &Arc<AcmeDpi>) -> Result<(), Error> {
    // Weak, or the plugin would hold on to itself.
    let weak = Arc::downgrade(plugin);
    let function = move |now_ns| {
        if let Some(plugin) = weak.upgrade() {
            plugin.rates.take(now_ns, &plugin.totals);
            plugin.rates.start_at(now_ns + plugin.settings.interval_ns);
        }
    };
    let timer = plugin.host.timer("acme-dpi-rates", TimerKind::default(), function)?;
    plugin.rates.timer.get_or_init(|| timer);
    let now_ns = plugin.host.now_ns();
    plugin.rates.before_ns.store(now_ns, Relaxed);
    plugin.rates.start_at(now_ns + plugin.settings.interval_ns);
    Ok(())
}

impl Rates {
    fn start_at(&self, expires_ns: u64) {
        if let Some(timer) = self.timer.get() {
            timer.modify(expires_ns);
        }
    }

    /// Stops the timer; its function does not run when this returns.
    pub fn stop(&self) {
        if let Some(timer) = self.timer.get() {
            // It fails only where the timer's own function waits for itself.
            let _ = timer.delete_and_wait();
        }
    }

    /// Takes the rates since the last time. Time is an argument, so a test brings its own.
    fn take(&self, now_ns: u64, totals: &Totals) {
        let seen: Seen = totals.read();
        let elapsed_ns = now_ns.saturating_sub(self.before_ns.swap(now_ns, Relaxed)).max(1);
        for class in Class::ALL {
            let [packets, _] = seen.of(class);
            let more = packets.saturating_sub(self.before[class as usize].swap(packets, Relaxed));
            let rate = u128::from(more) * 1_000_000_000 / u128::from(elapsed_ns);
            let rate = u64::try_from(rate).unwrap_or(u64::MAX);
            self.per_second[class as usize].store(rate, Relaxed);
        }
    }

    /// Packets a second of a class. Any thread.
    pub fn per_second(&self, class: Class) -> u64 {
        self.per_second[class as usize].load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_since_the_last_time() {
        let (rates, totals) = (Rates::default(), Totals::default());
        let mut seen = Seen::default();
        (0..30).for_each(|_| seen.add(Class::Dns, 64));
        totals.add(&seen);

        rates.take(10_000_000, &totals);
        assert_eq!(rates.per_second(Class::Dns), 3_000);

        totals.add(&seen);
        rates.take(30_000_000, &totals);
        assert_eq!(rates.per_second(Class::Dns), 1_500);

        rates.take(40_000_000, &totals);
        assert_eq!(rates.per_second(Class::Dns), 0);
        assert_eq!(rates.per_second(Class::Tls), 0);
    }
}
