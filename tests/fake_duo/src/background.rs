//! A runtime in a thread of its own, so that the callers of this library need none.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// A thread that runs one future until it is stopped or dropped.
pub struct Background(Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>);

impl Background {
    /// Starts `main` and whatever it spawns.
    pub fn start<F>(main: impl FnOnce() -> io::Result<F> + Send + 'static) -> io::Result<Self>
    where
        F: Future<Output = ()>,
    {
        let (stop, stopped) = oneshot::channel();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (started, outcome) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("fake-duo".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    match main() {
                        Ok(future) => {
                            let _ = started.send(Ok(()));
                            tokio::select! {
                                () = future => {}
                                _ = stopped => {}
                            }
                        }
                        Err(error) => {
                            let _ = started.send(Err(error));
                        }
                    }
                });
                // Connections and listeners close here; a name lookup of the proxy's must not hold that up.
                runtime.shutdown_background();
            })?;
        outcome.recv().map_err(io::Error::other)??;
        Ok(Self(Mutex::new(Some((stop, thread)))))
    }

    /// Ends the thread; when this returns, all its sockets are closed.
    pub fn stop(&self) {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, thread)) = running {
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Listens on every address at one port; port 0 means one that is free on all of them.
pub fn listen(addresses: &[IpAddr], port: u16) -> io::Result<Vec<TcpListener>> {
    let mut result = listen_once(addresses, port);
    for _ in 0..20 {
        // What is free on the first address can be taken on the second.
        match &result {
            Err(error) if port == 0 && error.kind() == io::ErrorKind::AddrInUse => {
                result = listen_once(addresses, port);
            }
            _ => break,
        }
    }
    result
}

fn listen_once(addresses: &[IpAddr], mut port: u16) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        let place = SocketAddr::new(*address, port);
        let listener = TcpListener::bind(place).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {place}: {error}"))
        })?;
        listener.set_nonblocking(true)?;
        port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(listeners)
}
