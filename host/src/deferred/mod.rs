//! WHAT CAN WAIT: work that a node, a timer or a command leaves for later.

pub mod work;
