//! Which servers are refused, and the text of each refusal.

use std::sync::Arc;

use duo_policy::config::{Failmode, MinTls};
use duo_wire::Outcome;
use fake_duo::{FakeDuo, Tls};

use super::{FixedNames, Scenario, service_error, whatever_failmode};

#[test]
fn each_refusal_reads_as_what_it_is() {
    let unknown = "the server's certificate is not signed by a trusted root, but by";
    for (tls, words) in [
        (
            Tls::WrongHost,
            "the server's certificate is for 'elsewhere.example', not 'localhost'".to_owned(),
        ),
        (Tls::SelfSigned, format!("{unknown} itself")),
        (
            Tls::UnknownCa,
            format!("{unknown} 'fake-duo CA that nobody trusts'"),
        ),
        (
            Tls::CaAsServer,
            "the server's certificate is a CA; make one with CA:FALSE and subjectAltName".into(),
        ),
        (
            Tls::Expired,
            "the server's certificate expired 3 days ago, on ".into(),
        ),
        (
            Tls::NotYetValid,
            "the server's certificate is not valid before ".into(),
        ),
        (
            Tls::Tls11,
            "the server speaks neither TLS 1.2 nor TLS 1.3".into(),
        ),
        (
            Tls::Alert,
            "the server ended it with the TLS alert HandshakeFailure".into(),
        ),
        (Tls::Plain, "the answer is not TLS".into()),
    ] {
        let make = |failmode| Scenario::new(FakeDuo::builder().tls(tls), failmode);
        service_error("push", make, |report| {
            let start = "Couldn't connect to localhost:";
            assert!(report.detail.starts_with(start), "{report:?}");
            assert!(report.detail.contains(&words), "{tls:?}: {report:?}");
            assert_eq!(report.paths.len(), 0);
            if matches!(tls, Tls::Expired | Tls::NotYetValid) {
                assert!(report.detail.contains("(this machine's clock says "));
                assert_eq!(report.detail.matches(" GMT").count(), 2, "{report:?}");
            }
        });
    }
}

#[test]
fn what_the_roots_vouch_for_is_let_in_by_tls_12_and_by_13() {
    for tls in [
        Tls::Good,
        Tls::Tls12Only,
        Tls::Tls13Only,
        Tls::SelfSignedTrusted,
    ] {
        let make = |failmode| Scenario::new(FakeDuo::builder().tls(tls), failmode);
        whatever_failmode("push", Outcome::Successful, make, |report| {
            assert_eq!((report.count("preauth"), report.count("auth")), (1, 1));
        });
    }
}

#[test]
fn min_tls_13_refuses_a_server_that_has_12_alone_and_says_so() {
    for (tls, refused) in [(Tls::Tls12Only, true), (Tls::Tls13Only, false)] {
        let make = |failmode| {
            let mut scenario = Scenario::new(FakeDuo::builder().tls(tls), failmode);
            scenario.config.min_tls = MinTls::Tls13;
            scenario
        };
        if refused {
            service_error("push", make, |report| {
                let words = "the server does not speak TLS 1.3, as min_tls wants";
                assert!(report.detail.contains(words), "{report:?}");
            });
        } else {
            whatever_failmode("push", Outcome::Successful, make, |_| {});
        }
    }
}

#[test]
fn a_certificate_for_addresses_is_told_with_them_as_they_are_written() {
    let make = |failmode| {
        let mut scenario = Scenario::new(FakeDuo::builder(), failmode);
        scenario.config.host.name = "duo.example".to_owned();
        scenario.names = Arc::new(FixedNames(Some(vec!["127.0.0.1"])));
        scenario
    };
    service_error("push", make, |report| {
        let words = "'127.0.0.1', '::1', not 'duo.example'";
        assert!(report.detail.contains(words), "{report:?}");
    });
}

#[test]
fn the_pinned_roots_vouch_for_nobody_else() {
    let make = |failmode| {
        let mut scenario = Scenario::new(FakeDuo::builder(), failmode);
        scenario.config.cafile = None;
        scenario
    };
    service_error("push", make, |report| {
        let words = "not signed by a trusted root, but by 'fake-duo CA, for tests only'";
        assert!(report.detail.contains(words), "{report:?}");
        assert_eq!(report.paths.len(), 0);
    });
}

#[test]
fn noverify_lets_in_whoever_it_is_but_not_without_tls() {
    let make = |tls| {
        move |failmode| {
            let mut scenario = Scenario::new(FakeDuo::builder().tls(tls), failmode);
            scenario.config.noverify = true;
            scenario
        }
    };
    for tls in [
        Tls::WrongHost,
        Tls::SelfSigned,
        Tls::UnknownCa,
        Tls::CaAsServer,
        Tls::Expired,
        Tls::NotYetValid,
    ] {
        whatever_failmode("push", Outcome::Successful, make(tls), |_| {});
    }
    for tls in [Tls::Plain, Tls::Tls11, Tls::Alert] {
        service_error("push", make(tls), |report| {
            assert_eq!(report.paths.len(), 0)
        });
    }
}

#[test]
fn a_cafile_may_be_a_system_bundle_and_must_be_usable() {
    let with = |failmode, bytes: Option<&[u8]>| {
        let mut scenario = Scenario::new(FakeDuo::builder(), failmode);
        let path = scenario.sandbox.path().join("bundle.pem");
        if let Some(bytes) = bytes {
            std::fs::write(&path, bytes).unwrap();
        }
        scenario.config.cafile = Some(path);
        scenario
    };
    // A system's bundle has comments, unusable certificates, and many roots; ours is the last.
    let roots = include_bytes!("../../../crates/duo-net/src/roots.pem");
    for failmode in [Failmode::Safe, Failmode::Secure] {
        let scenario = with(failmode, None);
        let ca = scenario.duo().ca_pem().as_bytes().to_vec();
        let bundle = [
            b"# comment\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &roots[..],
            &ca,
        ]
        .concat();
        std::fs::write(scenario.config.cafile.as_ref().unwrap(), bundle).unwrap();
        assert_eq!(scenario.log_in("push").outcome, Outcome::Successful);
    }
    for (bytes, words) in [
        (None, "no such file or directory"),
        (Some(&b""[..]), "holds no usable certificate in PEM form"),
        (
            Some(b"\0\xffgarbage"),
            "holds no usable certificate in PEM form",
        ),
    ] {
        // This is a mistake in the configuration, so `safe` lets the login in.
        service_error(
            "push",
            |failmode| with(failmode, bytes),
            |report| {
                assert!(
                    report.detail.contains("bundle.pem") && report.detail.contains(words),
                    "{report:?}"
                );
                assert_eq!(report.paths.len(), 0);
            },
        );
    }
}
