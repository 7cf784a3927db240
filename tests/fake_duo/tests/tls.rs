//! Certificates and doors are as bad as they say.

#![allow(clippy::unwrap_used)]

mod client;

use client::{Call, Client};
use fake_duo::{FakeDuo, Shape, TLS_VARIANTS, Tls};

/// What a careful client says of this variant; empty if it is content.
fn complaint(tls: Tls) -> String {
    let duo = FakeDuo::builder().tls(tls).start();
    match Client::connect(&duo) {
        Ok(mut client) => {
            client.call(&Call::preauth("push")).response();
            assert_eq!(duo.handshakes(), 1);
            String::new()
        }
        Err(error) => {
            assert_eq!(duo.handshakes(), 0);
            assert_eq!(duo.connections(), 1);
            format!("{:?}", error.get_ref().unwrap())
        }
    }
}

#[test]
fn each_variant_fails_for_its_own_reason() {
    for (name, tls, _) in TLS_VARIANTS {
        let expected = match tls {
            Tls::Good | Tls::SelfSignedTrusted | Tls::Tls12Only | Tls::Tls13Only => "",
            Tls::WrongHost => "NotValidForName",
            Tls::SelfSigned | Tls::UnknownCa => "UnknownIssuer",
            Tls::CaAsServer => "CaUsedAsEndEntity",
            Tls::Expired => "Expired",
            Tls::NotYetValid => "NotValidYet",
            Tls::Tls11 => "ServerDoesNotSupportTls12Or13",
            Tls::Alert => "AlertReceived(HandshakeFailure)",
            Tls::Plain => "InvalidMessage",
        };
        let found = complaint(*tls);
        assert!(found.contains(expected), "{name}: {found}");
        assert_eq!(found.is_empty(), expected.is_empty(), "{name}: {found}");
        assert_eq!(Tls::named(name), Some(*tls));
    }
}

#[test]
fn plain_http_is_served_to_those_who_speak_it() {
    let duo = FakeDuo::builder()
        .tls(Tls::Plain)
        .shape(Shape::Devices)
        .start();
    Client::plain(&duo).call(&Call::preauth("push")).response();
    assert_eq!(duo.handshakes(), 0);
}

#[test]
fn addresses_stand_in_the_certificate() {
    for address in ["127.0.0.2", "::1"] {
        let duo = match FakeDuo::builder().bind(&[address]).try_start() {
            Ok(duo) => duo,
            Err(error) if address == "::1" => {
                eprintln!("no IPv6 here: {error}");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        Client::new(&duo).call(&Call::preauth("push")).response();
    }
}
