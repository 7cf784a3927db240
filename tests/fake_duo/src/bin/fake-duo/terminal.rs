//! The terminal, as it was before another program had it.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, tcgetpgrp, tcsetpgrp};
use std::io;

/// A terminal whose settings and foreground process group are put back when this is dropped: a program that is killed at a
/// password leaves the echo off, and one in namespaces leaves a group that nobody outside has.
pub struct Terminal {
    settings: Termios,
    foreground: Pid,
}

impl Terminal {
    /// What stdin is.
    ///
    /// # Errors
    /// It is no terminal.
    pub fn keep() -> io::Result<Self> {
        Ok(Self {
            settings: tcgetattr(io::stdin())?,
            foreground: tcgetpgrp(io::stdin())?,
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Else the kernel would stop us, who are not in the foreground.
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTTOU);
        let is_blocked = signals.thread_block().is_ok();
        // A terminal that is gone needs nothing.
        if is_blocked {
            let _ = tcsetpgrp(io::stdin(), self.foreground);
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.settings);
            let _ = signals.thread_unblock();
        }
    }
}
