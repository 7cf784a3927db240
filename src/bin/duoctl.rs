//! `duoctl`: see the crate of that name.

fn main() -> std::process::ExitCode {
    duoctl::run(login_duo::converse)
}
