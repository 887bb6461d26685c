//! How many memory mappings the process has, and how many it may have.

use std::{fs, path::Path};

use super::error::LoadError;

/// Percentage of the mappings the kernel allows above which nothing more is loaded: the rest is
/// for the allocator, threads and devices, which fail badly without.
const LOAD_MAX_PERCENT: usize = 80;

/// Mappings of this process. Images are never unmapped, so each new content adds a few for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapUsage {
    /// Mappings there are.
    pub used: usize,
    /// Mappings the kernel allows (`vm.max_map_count`).
    pub limit: usize,
}

impl MapUsage {
    /// Counts; `None` without a mounted `/proc`. Cost: O(mappings), on the main thread.
    pub fn now() -> Option<Self> {
        let maps = fs::read("/proc/self/maps").ok()?;
        let limit = fs::read_to_string("/proc/sys/vm/max_map_count").ok()?;
        let used = maps.iter().filter(|&&byte| byte == b'\n').count();
        Some(Self { used, limit: limit.trim().parse().ok()? })
    }

    /// Refuses a load that would leave too few mappings for everything else.
    pub(super) fn check_room(self, path: &Path, more: usize) -> Result<(), LoadError> {
        let allowed = self.limit.saturating_mul(LOAD_MAX_PERCENT) / 100;
        if self.used.saturating_add(more) <= allowed {
            return Ok(());
        }
        Err(LoadError::TooManyMaps { path: path.to_path_buf(), used: self.used, limit: self.limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_would_pass_four_fifths_of_the_limit_is_refused() {
        let usage = MapUsage { used: 795, limit: 1000 };
        assert!(usage.check_room(Path::new("a.so"), 5).is_ok());
        let error = usage.check_room(Path::new("a.so"), 6).unwrap_err().to_string();
        assert_eq!(
            error,
            "a.so: the process has 795 of 1000 memory mappings and loading stops at 80 %: \
             restart the host, or raise vm.max_map_count"
        );
    }

    #[test]
    fn this_process_has_mappings_and_a_limit() {
        let usage = MapUsage::now().expect("/proc is mounted");
        assert!(usage.used > 10 && usage.limit > usage.used, "{usage:?}");
    }
}
