//! `pam-duo-helper`: see the crate `duo-helper`.

fn main() -> std::process::ExitCode {
    duo_helper::run()
}
