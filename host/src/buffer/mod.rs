//! What travels: packet buffers, one mapped region for all threads.

mod cache;
mod pool;

pub use cache::Cache;
pub use pool::{Pool, PoolError};
