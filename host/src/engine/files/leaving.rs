//! What becomes of descriptors when their thread or their plugin goes.

use std::{os::fd::AsFd, sync::Arc, thread};

use super::{File, FileFunctions, FileId, FileReport, FileSpec, Files, Place};
use crate::graph::Owner;

impl Files {
    /// Has `heir` watch all descriptors of this thread, which serves them no more; what each was and
    /// what it is now. One that the system does not let it watch is closed, and told so.
    pub fn hand_on(&self, heir: &Self) -> Vec<(FileId, FileId)> {
        let all: Vec<(FileId, File)> = {
            let mut table = self.table.lock();
            let ids = (0..).zip(&table.places).filter(|(_, place)| place.file.is_some());
            let ids = ids.map(|(at, Place { generation, .. })| FileId {
                place: at,
                generation: *generation,
            });
            let ids: Vec<FileId> = ids.collect();
            ids.into_iter().filter_map(|id| Some((id, table.take(id)?))).collect()
        };
        let moved = all.into_iter().filter_map(|(id, File { fd, functions, report, .. })| {
            let _ = self.watch.remove(fd.as_fd()); // Its poller ends with its thread.
            let FileReport { name, owner, interest, .. } = report;
            let spec = FileSpec { name, owner, interest, functions: Arc::clone(&functions) };
            let added = heir.add(fd.as_fd(), spec);
            if added.is_err() {
                functions.close();
            }
            Some((id, added.ok()?))
        });
        moved.collect()
    }

    /// Removes those of `owner`; how many there were.
    pub fn remove_owner(&self, owner: Owner) -> usize {
        let own: Vec<_> = {
            let mut table = self.table.lock();
            let places = table.places.iter_mut().zip(0..);
            let own = places.filter_map(|(Place { generation, file }, place)| {
                let file = file.as_ref().filter(|file| file.report.owner == owner)?;
                Some((FileId { place, generation: *generation }, Arc::clone(&file.functions)))
            });
            own.collect()
        };
        own.into_iter().filter(|(id, functions)| self.close(*id, functions)).count()
    }

    /// Removes a descriptor and tells so; whoever removes it meanwhile waits until that is over.
    fn close(&self, id: FileId, functions: &Arc<dyn FileFunctions>) -> bool {
        self.table.lock().closing = Some((id, thread::current().id()));
        let removed = self.remove(id);
        if removed {
            functions.close();
        }
        self.table.lock().closing = None;
        self.ended.notify_all();
        removed
    }
}
