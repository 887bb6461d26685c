//! The first packet of each class, told by a process: a node does not write to the log, it signals.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use plugin_api::{Error, Events, LogLevel, ProcessHandle, ProcessOptions, Sender, event};

use crate::{AcmeDpi, class::Class, totals::Seen};

/// Which classes were seen, and the way to the process that tells.
#[derive(Debug)]
pub struct News {
    seen: [AtomicBool; Class::ALL.len()],
    sender: Sender<Class>,
    /// Until the process has them.
    events: Mutex<Option<Events<Class>>>,
    process: OnceLock<ProcessHandle>,
}

impl Default for News {
    fn default() -> Self {
        let (sender, events) = event();
        let (seen, process) = (Default::default(), OnceLock::new());
        Self { seen, sender, events: Mutex::new(Some(events)), process }
    }
}

impl News {
    /// Signals the classes that were seen for the first time. Any thread; a load for each class.
    pub fn tell(&self, seen: &Seen) {
        for class in Class::ALL {
            let is_new = seen.of(class) != [0, 0] && !self.seen[class as usize].load(Relaxed);
            if is_new && !self.seen[class as usize].swap(true, Relaxed) {
                let _ = self.sender.send(class); // A process that has ended has nothing to tell.
            }
        }
    }
}

/// Starts the process. It ends when the plugin is unloaded: its wait fails then, and `?` says so.
///
/// # Errors
/// If the host makes no process.
pub fn start(plugin: &Arc<AcmeDpi>) -> Result<(), Error> {
    let host = plugin.host;
    let events = plugin.news.events.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut events = events.ok_or("the process is started once")?;
    let process = host.spawn(ProcessOptions::new("acme-dpi-news"), move |process| {
        process.listen("first-packet", &mut events)?;
        loop {
            process.wait_for_event()?;
            for class in events.take(process) {
                host.log(LogLevel::Notice, &format!("the first packet of {}", class.name()));
            }
        }
    })?;
    plugin.news.process.get_or_init(|| process);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_news_once() {
        let news = News::default();
        let mut seen = Seen::default();
        seen.add(Class::Dns, 64);
        news.tell(&seen);
        news.tell(&seen);
        seen.add(Class::Tls, 64);
        news.tell(&seen);

        // The test bench has no processes; what was sent waits for one.
        let events = news.events.lock().unwrap().take().unwrap();
        assert_eq!(events.len(), 2);
    }
}
