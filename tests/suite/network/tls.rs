//! Whom we do not take for Duo, and what the refusal reads like.

use std::sync::Arc;

use duo_policy::config::{Failmode, MinTls};
use duo_wire::Outcome;
use fake_duo::{FakeDuo, Tls};

use super::{Bench, Given, service_error, whatever_failmode};

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
        let make = |failmode| Bench::new(FakeDuo::builder().tls(tls), failmode);
        service_error("push", make, |came| {
            let start = "Couldn't connect to localhost:";
            assert!(came.detail.starts_with(start), "{came:?}");
            assert!(came.detail.contains(&words), "{tls:?}: {came:?}");
            assert_eq!(came.paths.len(), 0);
            if matches!(tls, Tls::Expired | Tls::NotYetValid) {
                assert!(came.detail.contains("(this machine's clock says "));
                assert_eq!(came.detail.matches(" GMT").count(), 2, "{came:?}");
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
        let make = |failmode| Bench::new(FakeDuo::builder().tls(tls), failmode);
        whatever_failmode("push", Outcome::Successful, make, |came| {
            assert_eq!((came.count("preauth"), came.count("auth")), (1, 1));
        });
    }
}

#[test]
fn min_tls_13_refuses_a_server_that_has_12_alone_and_says_so() {
    for (tls, refused) in [(Tls::Tls12Only, true), (Tls::Tls13Only, false)] {
        let make = |failmode| {
            let mut bench = Bench::new(FakeDuo::builder().tls(tls), failmode);
            bench.config.min_tls = MinTls::Tls13;
            bench
        };
        if refused {
            service_error("push", make, |came| {
                let words = "the server does not speak TLS 1.3, as min_tls wants";
                assert!(came.detail.contains(words), "{came:?}");
            });
        } else {
            whatever_failmode("push", Outcome::Successful, make, |_| {});
        }
    }
}

#[test]
fn a_certificate_for_addresses_is_told_with_them_as_they_are_written() {
    let make = |failmode| {
        let mut bench = Bench::new(FakeDuo::builder(), failmode);
        bench.config.host.name = "duo.example".to_owned();
        bench.names = Arc::new(Given(Some(vec!["127.0.0.1"])));
        bench
    };
    service_error("push", make, |came| {
        let words = "'127.0.0.1', '::1', not 'duo.example'";
        assert!(came.detail.contains(words), "{came:?}");
    });
}

#[test]
fn the_pinned_roots_vouch_for_nobody_else() {
    let make = |failmode| {
        let mut bench = Bench::new(FakeDuo::builder(), failmode);
        bench.config.cafile = None;
        bench
    };
    service_error("push", make, |came| {
        let words = "not signed by a trusted root, but by 'fake-duo CA, for tests only'";
        assert!(came.detail.contains(words), "{came:?}");
        assert_eq!(came.paths.len(), 0);
    });
}

#[test]
fn noverify_lets_in_whoever_it_is_but_not_without_tls() {
    let make = |tls| {
        move |failmode| {
            let mut bench = Bench::new(FakeDuo::builder().tls(tls), failmode);
            bench.config.noverify = true;
            bench
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
        service_error("push", make(tls), |came| assert_eq!(came.paths.len(), 0));
    }
}

#[test]
fn a_cafile_may_be_a_system_bundle_and_must_be_usable() {
    let with = |failmode, bytes: Option<&[u8]>| {
        let mut bench = Bench::new(FakeDuo::builder(), failmode);
        let path = bench.sandbox.path().join("bundle.pem");
        if let Some(bytes) = bytes {
            std::fs::write(&path, bytes).unwrap();
        }
        bench.config.cafile = Some(path);
        bench
    };
    // Comments, roots that are no use, and then ours, as in a system's bundle.
    let roots = include_bytes!("../../../crates/duo-net/src/roots.pem");
    for failmode in [Failmode::Safe, Failmode::Secure] {
        let bench = with(failmode, None);
        let ca = bench.duo().ca_pem().as_bytes().to_vec();
        let bundle = [
            b"# comment\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &roots[..],
            &ca,
        ]
        .concat();
        std::fs::write(bench.config.cafile.as_ref().unwrap(), bundle).unwrap();
        assert_eq!(bench.log_in("push").outcome, Outcome::Successful);
    }
    for (bytes, words) in [
        (None, "no such file or directory"),
        (Some(&b""[..]), "holds no usable certificate in PEM form"),
        (
            Some(b"\0\xffgarbage"),
            "holds no usable certificate in PEM form",
        ),
    ] {
        // A mistake in the configuration, and as such forgiven under safe.
        service_error(
            "push",
            |failmode| with(failmode, bytes),
            |came| {
                assert!(
                    came.detail.contains("bundle.pem") && came.detail.contains(words),
                    "{came:?}"
                );
                assert_eq!(came.paths.len(), 0);
            },
        );
    }
}
