//! `login_duo`: see the library's [`run`](login_duo::run).

fn main() -> std::process::ExitCode {
    login_duo::run()
}
