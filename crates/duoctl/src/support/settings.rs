//! What a report says of the configuration: which keys are set, and of their values only what is a
//! number, a switch or one of a few words. It is made by the child without privileges, and its type
//! has no place for a text.

use duo_policy::config::{self, Config, Failmode, Gecos, MinTls, Remember, Signature};
use duo_policy::groups::Sense;
use serde::{Deserialize, Serialize};

use super::fact::Facts;

/// A configuration without its texts.
#[derive(Debug, Serialize, Deserialize)]
pub struct Settings {
    ikey: Shape,
    skey: Shape,
    host: HostKind,
    port: u16,
    failmode: Failmode,
    patterns: Option<[usize; 2]>,
    pushinfo: bool,
    autopush: bool,
    verified_push: bool,
    prompts: u8,
    prompt_for_commands: bool,
    motd: bool,
    accept_env_factor: bool,
    fallback_local_ip: bool,
    https_timeout: Option<u64>,
    http_proxy: bool,
    cafile: bool,
    noverify: bool,
    tls13_only: bool,
    sha1: bool,
    remember_seconds: Option<u64>,
    gecos: GecosKind,
    warnings: usize,
}

/// Whether a key looks like one of Duo's.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Shape {
    AsDuoMakesThem,
    Other,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum HostKind {
    Duo,
    DuoFederal,
    Address,
    Other,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum GecosKind {
    No,
    Whole,
    Part,
}

/// A configuration as a report has it.
#[derive(Debug, Serialize, Deserialize)]
pub enum Read {
    /// Without mistakes.
    Good(Box<Settings>),
    /// The lines with mistakes; 0 for one of the whole file.
    Broken(Vec<usize>),
    /// It cannot be read.
    Unreadable,
}

impl Read {
    /// Of a file's bytes.
    pub fn of(bytes: &[u8]) -> Read {
        match config::parse(bytes) {
            Ok(parsed) => Read::Good(Box::new(Settings::of(
                &parsed.config,
                parsed.warnings.len(),
            ))),
            Err(broken) => {
                let problems = broken.problems.iter();
                Read::Broken(problems.map(|problem| problem.line.unwrap_or(0)).collect())
            }
        }
    }

    /// For the report.
    pub fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        match self {
            Read::Good(settings) => {
                facts.add("read", "good");
                settings.add_to(&mut facts);
            }
            Read::Broken(lines) => {
                facts.add("read", "broken");
                facts.add("lines_with_mistakes", lines.clone());
            }
            Read::Unreadable => facts.add("read", "unreadable"),
        }
        facts
    }
}

impl Settings {
    fn of(config: &Config, warnings: usize) -> Settings {
        let alphanumeric = |key: &[u8]| key.iter().all(u8::is_ascii_alphanumeric);
        let shape = |key: &[u8], length: usize, start: &[u8]| match key.len() == length
            && key.starts_with(start)
            && alphanumeric(key)
        {
            true => Shape::AsDuoMakesThem,
            false => Shape::Other,
        };
        Settings {
            ikey: shape(config.ikey.as_bytes(), 20, b"DI"),
            skey: shape(config.skey.expose(), 40, b""),
            host: match config.host.name.to_ascii_lowercase() {
                _ if config.host.address().is_some() => HostKind::Address,
                name if name.ends_with(".duosecurity.com") => HostKind::Duo,
                name if name.ends_with(".duofederal.com") => HostKind::DuoFederal,
                _ => HostKind::Other,
            },
            port: config.host.port,
            failmode: config.failmode,
            patterns: config.groups.as_ref().map(|groups| {
                let of = |wanted| {
                    let patterns = groups.patterns();
                    patterns.filter(|(sense, _)| *sense == wanted).count()
                };
                [of(Sense::Positive), of(Sense::Negated)]
            }),
            pushinfo: config.push_info,
            autopush: config.autopush,
            verified_push: config.verified_push,
            prompts: config.prompts,
            prompt_for_commands: config.prompt_for_commands,
            motd: config.motd,
            accept_env_factor: config.accept_env_factor,
            fallback_local_ip: config.fallback_local_ip,
            https_timeout: config.https_timeout.map(|timeout| timeout.as_secs()),
            http_proxy: config.http_proxy.is_some(),
            cafile: config.cafile.is_some(),
            noverify: config.noverify,
            tls13_only: config.min_tls == MinTls::Tls13,
            sha1: config.signature == Signature::Sha1,
            remember_seconds: match config.remember {
                Remember::Connection => Some(config.remember_max.as_secs()),
                Remember::No => None,
            },
            gecos: match config.gecos {
                Gecos::No => GecosKind::No,
                Gecos::Whole => GecosKind::Whole,
                Gecos::Part { .. } => GecosKind::Part,
            },
            warnings,
        }
    }

    fn add_to(&self, facts: &mut Facts) {
        let shape = |shape| match shape {
            Shape::AsDuoMakesThem => "as Duo makes them",
            Shape::Other => "other",
        };
        facts.add("ikey", shape(self.ikey));
        facts.add("skey", shape(self.skey));
        facts.add(
            "host",
            match self.host {
                HostKind::Duo => "*.duosecurity.com",
                HostKind::DuoFederal => "*.duofederal.com",
                HostKind::Address => "an address",
                HostKind::Other => "other",
            },
        );
        facts.add("port", u64::from(self.port));
        facts.add("failmode", self.failmode.word());
        if let Some([positive, negated]) = self.patterns {
            facts.add("groups_patterns", positive);
            facts.add("groups_negated_patterns", negated);
        }
        for (name, is_on) in [
            ("pushinfo", self.pushinfo),
            ("autopush", self.autopush),
            ("verified_push", self.verified_push),
            ("prompt_for_commands", self.prompt_for_commands),
            ("motd", self.motd),
            ("accept_env_factor", self.accept_env_factor),
            ("fallback_local_ip", self.fallback_local_ip),
            ("http_proxy_is_set", self.http_proxy),
            ("cafile_is_set", self.cafile),
            ("noverify", self.noverify),
            ("tls_1_3_only", self.tls13_only),
            ("signature_sha1", self.sha1),
        ] {
            facts.add(name, is_on);
        }
        facts.add("prompts", u64::from(self.prompts));
        facts.add_some("https_timeout", self.https_timeout);
        facts.add_some("remember_seconds", self.remember_seconds);
        facts.add(
            "gecos",
            match self.gecos {
                GecosKind::No => "no",
                GecosKind::Whole => "whole",
                GecosKind::Part => "a part",
            },
        );
        facts.add("warnings", self.warnings);
    }
}
