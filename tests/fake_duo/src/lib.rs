//! A Duo service for tests, **and for tests only**: its keys are printed in its source.
//!
//! It is a real HTTPS service on the loopback, with a CA of its own made at start. It verifies date, host, parameters and
//! signature of each request as Duo does, answers by script (users by name), keeps a log of requests, and can be made to
//! fail in every way that a network or a service fails.
//!
//! ```
//! use fake_duo::{Endpoint, FakeDuo, Fault, Script, Times};
//! use std::time::Duration;
//!
//! let duo = FakeDuo::builder().user("alice", Script::PushManual).start();
//! duo.fault(Endpoint::Preauth, Fault::Bare { status: 503 }, Times::First(1));
//! let dir = std::env::temp_dir();
//! # let dir = dir.join(format!("fake-duo-doc-{}", std::process::id()));
//! # std::fs::create_dir(&dir)?;
//! let config = duo.write_config(&dir, "failmode = secure")?;
//! // … run the client with this configuration, then:
//! let asked = duo.wait_until(
//!     |requests| requests.iter().any(|request| request.endpoint() == "auth_status"),
//!     Duration::ZERO,
//! );
//! assert!(!asked, "no client in this example: {}", config.display());
//! duo.stop();
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok::<(), std::io::Error>(())
//! ```
#![forbid(unsafe_code)]

mod attempt;
mod background;
mod blackhole;
mod builder;
mod clock;
mod credentials;
mod details;
mod duo;
mod factor;
mod fault;
mod http;
mod log;
mod phone;
mod preauth;
mod proxy;
mod refusal;
mod rest_v1;
mod rules;
mod script;
mod server;
mod service;
mod setting;
mod spoil;
mod tls;
mod transaction;
mod wire;

pub mod signing;

pub use blackhole::BlackHole;
pub use builder::Builder;
pub use duo::FakeDuo;
pub use fault::{Endpoint, Fault, RetryAfter, Setting, Stage, Times};
pub use log::Request;
pub use phone::{Card, Kind, Outcome, Passcode, Screen};
pub use proxy::{Connect, FakeProxy, ProxyBuilder, ProxyFault};
pub use rules::Shape;
pub use script::{HOSTILE_TEXT, PASSCODE, SMS_PASSCODE, Script, USERS, VERIFICATION_CODE};
pub use setting::{FAULTS, STAGES};
pub use tls::{TLS_VARIANTS, Tls};
