//! placeholder while merging
use std::os::fd::{AsFd, BorrowedFd};
#[derive(Debug)] pub struct LinkWatcher(std::os::fd::OwnedFd);
#[derive(Debug)] pub struct LinkChange { pub kernel_index: u32, pub name: String, pub up: bool, pub deleted: bool }
impl LinkWatcher { pub fn open() -> std::io::Result<Self> { Err(std::io::Error::other("x")) } pub fn read(&mut self, _: &mut Vec<LinkChange>) -> std::io::Result<()> { Ok(()) } }
impl AsFd for LinkWatcher { fn as_fd(&self) -> BorrowedFd<'_> { self.0.as_fd() } }
