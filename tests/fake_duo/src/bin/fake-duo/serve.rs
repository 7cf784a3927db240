//! `serve`: the service until it is stopped.

use crate::cli::Serve;
use crate::folder::Folder;
use crate::rendezvous::Rendezvous;
use crate::{browser, print, say};
use fake_duo::FakeDuo;
use std::io;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Serves until INT, TERM or HUP: each takes our files away.
pub fn run(options: Serve) -> io::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(options))
}

async fn serve(options: Serve) -> io::Result<ExitCode> {
    // Before anything is said, so that a script may stop us as soon as it has read that we are ready.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;

    let mut folder = match options.dir.clone() {
        Some(dir) => Folder::at(dir)?,
        None => Folder::fresh()?,
    };
    let duo = start(options)?;
    let config = folder.fill(&duo)?;
    say(
        "FOR TESTS ONLY: the keys of this service are public, and it lets people in. Stop it with Ctrl-C.",
    );
    let _rendezvous = duo.phone().and_then(|address| introduce_phone(&address));
    print(&format!(
        "ready host={} config={}",
        duo.host(),
        config.display()
    ));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Says where the phone is; the file by which `fake-duo phone` finds it, for as long as that is held.
fn introduce_phone(address: &str) -> Option<Rendezvous> {
    print(&format!("phone {address}"));
    browser::open(address);
    Rendezvous::keep(address)
}

fn start(options: Serve) -> io::Result<FakeDuo> {
    let addresses: Vec<&str> = options.addresses.iter().map(String::as_str).collect();
    let mut builder = FakeDuo::builder()
        .bind(&addresses)
        .port(options.port)
        .shape(options.shape)
        .tls(options.tls)
        .clock_offset(options.clock_offset)
        .push_delay(options.push_delay)
        .default_script(options.default_script)
        .observer(|request| print(&request.to_string()));
    if let Some(address) = options.phone {
        browser::warn_off_the_loopback(address);
        builder = builder.phone(address);
    }
    for name in &options.names {
        builder = builder.name(name);
    }
    for (name, script) in &options.users {
        builder = builder.user(name, *script);
    }
    for setting in options.faults {
        builder = builder.fault(setting.endpoint, setting.fault, setting.times);
    }
    builder.try_start()
}
