//! A session as a process: it waits for its client, and its commands may wait too.

use std::os::fd::AsFd;

use super::session::{Next, Session};
use crate::{
    engine::watchdog,
    host::Host,
    log::Level,
    process::{Context, Request, WaitError},
};

/// The session's socket has changed, or it is time for the next reply of its live view.
const CHANGED: u64 = 1;

impl Session {
    /// Runs the session in a process of its own, which may hold main for as long as loading a plugin
    /// may.
    pub(crate) fn spawn(self, host: &'static Host) {
        let mut session = Some(self);
        let process = host.spawn("cli-session", watchdog::LOAD, move |process| {
            session.take().map_or(Ok(()), |session| session.serve(process))
        });
        host.processes.name_event(&process, 0, "client");
        host.processes.release(&process, || ()); // Once it has ended it is forgotten.
    }

    fn serve(mut self, process: &mut Context) -> Result<(), WaitError> {
        let refused = |process: &Context, error: rustix::io::Errno| {
            let text = format!("a session is not watched: {error}");
            process.host().log.write(Level::Error, "cli", text);
        };
        let _socket = match process.watch("cli-session", self.as_fd(), CHANGED) {
            Ok(watched) => watched,
            Err(error) => {
                refused(process, error);
                return Ok(());
            }
        };
        let mut timer = None;
        loop {
            let next = self.ready(process);
            let own = self
                .timer()
                .filter(|(view, _)| Some(*view) != timer.as_ref().map(|&(view, _)| view));
            if let Some((view, own)) = own {
                let watched = process.watch("cli-live-view", own.as_fd(), CHANGED);
                match watched {
                    Ok(watched) => timer = Some((view, watched)),
                    Err(error) => {
                        refused(process, error); // The client, which waits for more, sees the end.
                        return Ok(());
                    }
                }
            } else if self.timer().is_none() {
                timer = None;
            }
            match next {
                Next::Wait(_) => {
                    process.wait(Request { events: CHANGED, ..Request::default() })?;
                }
                Next::More => {
                    process.wait(Request::default())?; // The others first.
                }
                Next::End => return Ok(()),
            }
        }
    }
}
