//! A long way to Duo: a TCP relay that holds every byte back for a while in
//! each direction, as a distance does, whatever the amount.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Relays from `at` to `to` until the process ends; each byte arrives `delay`
/// later. (The connection itself is not held back: the kernel makes it.)
pub fn start(at: &str, to: String, delay: Duration) -> io::Result<()> {
    let listener = TcpListener::bind(at)?;
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(&to) else {
                continue;
            };
            for (from, into) in [(&near, &far), (&far, &near)] {
                let _ = into.set_nodelay(true);
                if let (Ok(from), Ok(into)) = (from.try_clone(), into.try_clone()) {
                    carry(from, into, delay);
                }
            }
        }
    });
    Ok(())
}

/// One direction: what is read is timed, and written when its time has come.
fn carry(mut from: TcpStream, mut into: TcpStream, delay: Duration) {
    let (send, due) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut chunk = [0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut chunk) {
            let _ = send.send((Instant::now() + delay, chunk[..length].to_vec()));
        }
    });
    thread::spawn(move || {
        for (at, bytes) in due {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if into.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = into.shutdown(Shutdown::Write);
    });
}
