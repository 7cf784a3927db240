//! A login through a proxy, and each way in which a proxy fails.

use duo_policy::config::{Failmode, Proxy};
use duo_wire::Outcome;
use fake_duo::{FakeDuo, FakeProxy, ProxyFault};

use super::{LoginReport, Scenario, service_error, side_by_side};
use crate::support::RefusedPort;

fn through(proxy: &FakeProxy, credentials: &str, failmode: Failmode) -> Scenario {
    let mut scenario = Scenario::new(FakeDuo::builder(), failmode);
    let text = format!("http://{credentials}{}/", proxy.address());
    scenario.config.http_proxy = Some(Proxy::parse(text.as_bytes()).unwrap());
    scenario
}

#[test]
fn a_login_goes_through_a_proxy_with_and_without_credentials() {
    for failmode in [Failmode::Safe, Failmode::Secure] {
        let proxy = FakeProxy::start();
        let scenario = through(&proxy, "", failmode);
        let report = scenario.log_in("push");
        assert_eq!(report.outcome, Outcome::Successful, "{report:?}");
        let connects = proxy.connects();
        assert_eq!(connects.len(), 1, "one tunnel serves the login");
        let target = format!("localhost:{}", scenario.duo().port());
        assert_eq!(
            (connects[0].target.as_str(), &connects[0].authorization),
            (target.as_str(), &None)
        );

        let proxy = FakeProxy::builder().credentials("user", "p@ss:%40").start();
        let scenario = through(&proxy, "user:p@ss:%40@", failmode);
        let report = scenario.log_in("push");
        assert_eq!(report.outcome, Outcome::Successful, "{report:?}");
        assert_eq!(proxy.connects().len(), 1);
    }
}

#[test]
fn a_proxy_that_fails_is_a_service_error_that_says_how() {
    let cases = [
        (ProxyFault::AuthRequired, "the proxy refused: HTTP 407"),
        (ProxyFault::Status(502), "the proxy refused: HTTP 502"),
        (ProxyFault::Status(403), "the proxy refused: HTTP 403"),
        (ProxyFault::Hang, "the proxy: timed out"),
        (ProxyFault::Garbage, "the proxy's answer is not HTTP"),
        (ProxyFault::Close, "the proxy: closed by the other side"),
        (ProxyFault::DeadTunnel, ": timed out ("),
    ];
    side_by_side(&cases, |(fault, words)| {
        let proxy = FakeProxy::builder().fault(*fault).start();
        let make = |failmode| through(&proxy, "user:hunter2@", failmode).impatient();
        service_error("push", make, |report| {
            says(report, &proxy.address(), words);
            assert_eq!(report.paths.len(), 0);
        });
        assert_eq!(proxy.connections(), 6, "three tries under each failmode");
    });
}

#[test]
fn wrong_credentials_are_a_407() {
    let proxy = FakeProxy::builder().credentials("user", "other").start();
    for credentials in ["", "user:hunter2@"] {
        let make = |failmode| through(&proxy, credentials, failmode);
        service_error("push", make, |report| {
            says(
                report,
                &proxy.address(),
                "HTTP 407, it wants other credentials",
            );
        });
    }
}

#[test]
fn a_proxy_that_is_down_is_a_service_error() {
    let port = RefusedPort::take();
    let nobody = format!("127.0.0.1:{}", port.number());
    let make = |failmode| {
        let mut scenario = Scenario::new(FakeDuo::builder(), failmode);
        scenario.config.http_proxy = Proxy::parse(nobody.as_bytes()).ok();
        scenario
    };
    service_error("push", make, |report| {
        says(report, &nobody, "connection refused");
        assert_eq!(report.paths.len(), 0);
    });
}

fn says(report: &LoginReport, proxy: &str, words: &str) {
    let through = format!(" through the proxy {proxy}: ");
    assert!(
        report.detail.starts_with("Couldn't connect to localhost:"),
        "{report:?}"
    );
    assert!(report.detail.contains(&through), "{report:?}");
    assert!(report.detail.contains(words), "{report:?}");
    assert!(
        report.detail.ends_with(&format!(" ({proxy})")),
        "{report:?}"
    );
    assert!(!report.detail.contains("hunter2"), "{report:?}");
}
