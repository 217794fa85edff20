//! A port that nobody else gets.
//!
//! A port that was found free and let go may be somebody else's a moment later: another test's server, or the near end
//! of a connection that is being opened. This one stays bound to a socket that does not listen, so the kernel gives it
//! to nobody who asks for any port, and refuses whoever connects.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// A port of 127.0.0.1; it is held until this is dropped.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    held: Option<Socket>,
}

impl Port {
    /// Connections to it are refused until a server [takes](Self::lend) it.
    pub(crate) fn reserve() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self { address, held: Some(socket) }
    }

    /// The port, for a server that binds it by number and sets `SO_REUSEADDR`, as servers do. On Linux it may, beside
    /// a socket that does not listen; elsewhere the port has to be free, for the moment in between too.
    pub(crate) fn lend(&mut self) -> u16 {
        if !cfg!(target_os = "linux") {
            self.held = None;
        }
        self.address.port()
    }
}
