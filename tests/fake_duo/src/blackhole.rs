//! An address that swallows connections: its queue is full, so that the kernel drops whoever knocks.

use crate::background::Background;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// How long a connection on the loopback may take before it counts as swallowed.
const PROOF: Duration = Duration::from_millis(100);

/// An address and port where connecting neither succeeds nor fails. Dropping it frees them.
pub struct BlackHole {
    background: Background,
}

impl BlackHole {
    /// Swallows at this loopback address and port.
    ///
    /// # Panics
    /// Where it cannot, with the reason: a test can only fail then.
    #[must_use]
    pub fn start(address: &str, port: u16) -> Self {
        match Self::try_start(address, port) {
            Ok(hole) => hole,
            Err(error) => panic!("the black hole at {address}:{port} cannot start: {error}"),
        }
    }

    fn try_start(address: &str, port: u16) -> io::Result<Self> {
        let address: IpAddr = address.parse().map_err(io::Error::other)?;
        let place = SocketAddr::new(address, port);
        let (tell, filled) = std::sync::mpsc::sync_channel(1);
        let background = Background::start(move || {
            let socket = if address.is_ipv4() {
                TcpSocket::new_v4()
            } else {
                TcpSocket::new_v6()
            }?;
            socket.set_reuseaddr(true)?;
            socket.bind(place)?;
            // Never accepted from; kept, as are those who fill its queue.
            let listener = socket.listen(1)?;
            Ok(async move {
                let queue = fill(place).await;
                let _ = tell.send(queue.is_ok());
                std::future::pending::<()>().await;
                drop((listener, queue));
            })
        })?;
        match filled.recv() {
            Ok(true) => Ok(Self { background }),
            _ => Err(io::Error::other("its queue cannot be filled")),
        }
    }

    /// Frees address and port; who was waiting is refused.
    pub fn stop(&self) {
        self.background.stop();
    }
}

/// Connects until the queue takes no more.
async fn fill(place: SocketAddr) -> io::Result<Vec<TcpStream>> {
    let mut queue = Vec::new();
    while let Ok(connected) = tokio::time::timeout(PROOF, TcpStream::connect(place)).await {
        queue.push(connected?);
    }
    Ok(queue)
}
