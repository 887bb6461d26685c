//! What travels: packet buffers, one mapped region for all threads.

mod cache;
mod marks;
mod pool;

pub use cache::Cache;
pub use marks::Marks;
pub use pool::{Pool, PoolError};
