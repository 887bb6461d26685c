//! What the control client and the host share, so that neither can drift from the other.
//!
//! * [`protocol`]: the length-prefixed JSON on the control socket;
//! * [`place`]: where the control socket is;
//! * [`words`]: how a line becomes words;
//! * [`client`]: a connection as the client sees it.

pub mod client;
pub mod place;
pub mod protocol;
pub mod words;
