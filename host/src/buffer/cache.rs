//! A thread's buffers at hand.

use std::sync::{Arc, atomic::Ordering};

use super::pool::{BATCH, Pool};

/// Above this many, whole batches go back to the pool.
const HIGH: usize = 512;

/// Free buffers of one thread: no locks, no shared writes while there are enough.
#[derive(Debug)]
pub struct Cache {
    pool: Arc<Pool>,
    thread: usize,
    /// Last freed, first used.
    free: Vec<u32>,
}

impl Cache {
    /// The cache of thread `thread`.
    ///
    /// # Panics
    /// If `thread` is beyond [`Pool::THREADS`].
    pub fn new(pool: Arc<Pool>, thread: usize) -> Self {
        assert!(thread < Pool::THREADS, "thread {thread} can have no buffer cache");
        Self { pool, thread, free: Vec::with_capacity(HIGH + 8 * BATCH) }
    }

    /// The pool behind it.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Fills `indices` from the front with fresh, empty buffers; returns how many there were.
    pub fn alloc(&mut self, indices: &mut [u32]) -> usize {
        while self.free.len() < indices.len() {
            match self.pool.take_batch() {
                Some(batch) => self.free.extend_from_slice(&batch),
                None => {
                    let missing = indices.len() - self.free.len();
                    self.pool.take_stragglers(missing, &mut self.free);
                    break;
                }
            }
        }
        let got = indices.len().min(self.free.len());
        let rest = self.free.len() - got;
        for (to, from) in indices.iter_mut().zip(self.free.drain(rest..).rev()) {
            *to = from;
            self.pool.reset(from);
        }
        self.publish();
        got
    }

    /// Frees packets with their chains.
    pub fn free(&mut self, indices: &[u32]) {
        if self.pool.marks.any() {
            self.pool.end_traces(indices);
        }
        for &index in indices {
            self.pool.unchain(index, &mut self.free);
        }
        while self.free.len() > HIGH {
            let rest = self.free.len() - BATCH;
            let mut batch = [0; BATCH];
            batch.copy_from_slice(&self.free[rest..]);
            self.free.truncate(rest);
            self.pool.give_batch(batch);
        }
        self.publish();
    }

    fn publish(&self) {
        #[expect(clippy::cast_possible_truncation, reason = "a few hundred")]
        let count = self.free.len() as u32;
        self.pool.cached[self.thread].store(count, Ordering::Relaxed);
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.pool.give_stragglers(&self.free);
        self.free.clear();
        self.publish();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_buffer_is_given_out_once_and_comes_back() {
        let pool = Arc::new(Pool::new(1000).unwrap());
        let mut cache = Cache::new(Arc::clone(&pool), 0);
        let mut all = vec![0; 2000];
        let got = cache.alloc(&mut all);
        assert_eq!(got, pool.buffers());
        let distinct: HashSet<_> = all[..got].iter().collect();
        assert_eq!(distinct.len(), got);
        assert_eq!(pool.in_use(), got);
        assert_eq!(cache.alloc(&mut [0]), 0, "an empty pool gives nothing");

        cache.free(&all[..got]);
        assert_eq!(pool.in_use(), 0);
        drop(cache);
        assert_eq!(pool.free_shared(), pool.buffers());
    }

    #[test]
    fn the_last_freed_is_the_first_used() {
        let pool = Arc::new(Pool::new(64).unwrap());
        let mut cache = Cache::new(pool, 0);
        let mut two = [0; 2];
        assert_eq!(cache.alloc(&mut two), 2);
        cache.free(&[two[1]]);
        let mut again = [0];
        cache.alloc(&mut again);
        assert_eq!(again[0], two[1]);
    }

    #[test]
    fn a_chain_is_freed_with_its_packet_unless_someone_shares_it() {
        let pool = Arc::new(Pool::new(64).unwrap());
        let mut cache = Cache::new(Arc::clone(&pool), 0);
        let mut chain = [0; 3];
        cache.alloc(&mut chain);
        link(&pool, chain[0], chain[1]);
        link(&pool, chain[1], chain[2]);
        share(&pool, chain[1]);

        cache.free(&[chain[0]]);
        assert_eq!(pool.in_use(), 2, "the shared rest stays");
        cache.free(&[chain[1]]);
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn buffers_survive_threads_that_pass_them_on() {
        let pool = Arc::new(Pool::new(4096).unwrap());
        let (to, from) = std::sync::mpsc::sync_channel::<Vec<u32>>(4);
        let consumer = std::thread::spawn({
            let mut cache = Cache::new(Arc::clone(&pool), 1);
            move || from.iter().for_each(|indices| cache.free(&indices))
        });
        let mut cache = Cache::new(Arc::clone(&pool), 0);
        for _ in 0..2_000 {
            let mut indices = vec![0; 100];
            let got = cache.alloc(&mut indices);
            indices.truncate(got);
            to.send(indices).unwrap();
        }
        drop(to);
        consumer.join().unwrap();
        drop(cache);
        assert_eq!(pool.in_use(), 0);
    }

    #[expect(unsafe_code, reason = "writes header fields as a node would")]
    fn link(pool: &Pool, from: u32, to: u32) {
        let header = pool.header(from);
        // SAFETY: the test owns the buffer.
        unsafe { (*header).flags |= gristmill_abi::buffer::FLAG_NEXT };
        // SAFETY: as above.
        unsafe { (*header).next_buffer = to };
    }

    #[expect(unsafe_code, reason = "writes header fields as a node would")]
    fn share(pool: &Pool, index: u32) {
        // SAFETY: the test owns the buffer.
        unsafe { &(*pool.header(index)).ref_count }.store(2, Ordering::Relaxed);
    }
}
